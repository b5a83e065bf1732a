"""Only a request for the same work resumes an interrupted run. No work is lost or repeated."""

from __future__ import annotations

import errno
import io
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from rich.console import Console

from bench.errors import UsageError
from bench.machine.environment import environment
from bench.runner import resume
from bench.runner.run import describe, execute
from results import Record, Run, Store, StoreError
from results.store import LOCK_FILE
from results.store.document import with_checksum
from tests.bench.inline_executor import Inline, inline
from tests.bench.runs import files_of, like_a_worker, reproducible_content, request_for, run_quietly
from tests.bench.tiny import tiny_plan

__all__ = ["inline", "like_a_worker"]


class StopAfter:
    """Patch of `Run.write`. After `count` writes, the next write raises `KeyboardInterrupt`, as Ctrl-C does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        self.left, self.original = count, Run.write
        monkeypatch.setattr(Run, "write", lambda run, record: self.write(run, record))

    def write(self, run: Run, record: Record) -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.original(run, record)


def interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch, written: int, **changes: Any) -> Run:
    """Return a run that was interrupted after `written` writes of a record.

    Args:
        folder: a folder for the plan and the store, without runs.
        monkeypatch: pytest's fixture.
        written: number of writes before the interruption.
        changes: changes of the request or its plan, as `request_for` takes them.
    """
    with monkeypatch.context() as patched:
        StopAfter(patched, written)
        with pytest.raises(KeyboardInterrupt):
            run_quietly(request_for(folder, **changes))
    (run,) = Store(folder / "runs").runs()
    return run


Uninterrupted = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def contents_by_repeat() -> dict[int, dict[str, Any]]:
    return {}


@pytest.fixture
def uninterrupted(tmp_path: Path, inline: Inline, contents_by_repeat: dict[int, dict[str, Any]]) -> Uninterrupted:
    """Return the reproducible content of a run that was not interrupted. All tests of a module share the run."""

    def content(repeat: int = 1) -> dict[str, Any]:
        if repeat not in contents_by_repeat:
            outcome = run_quietly(request_for(tmp_path / "other", repeat=repeat))
            contents_by_repeat[repeat] = reproducible_content(outcome.run)
        return contents_by_repeat[repeat]

    return content


@pytest.mark.parametrize("written", range(8))
def test_an_interrupted_run_resumes_where_it_stopped(
    tmp_path: Path, inline: Inline, uninterrupted: Uninterrupted, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Interrupt a run after `written` writes, and check that it resumes without repeating finished work.

    The whole run writes records eight times: four times after training, and four times after timing.
    """
    run = interrupted(tmp_path, monkeypatch, written)
    before, trained = files_of(run), len(inline.trained)
    assert len(before) == min(4, written)
    assert run.file().finished is None
    outcome = run_quietly(request_for(tmp_path))
    assert outcome.run.id == run.id
    assert outcome.complete
    assert outcome.run.file().finished is not None
    again = inline.trained[trained:]
    assert {f"{key}.json" for key in again}.isdisjoint(before)
    assert len(again) == 4 - len(before)
    whole = {name for name, (content, _) in before.items() if b"step_seconds" in content}
    assert {name: entry for name, entry in files_of(run).items() if name in whole} == {
        name: before[name] for name in whole
    }
    assert reproducible_content(outcome.run) == uninterrupted()


def test_an_interrupted_run_reports_how_many_cases_are_done(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check the message after three interruptions.

    The first run has trained all cases and timed one case. The second has trained one case, and the third no case.
    """
    for written, message in (
        (5, "1 of 4 cases done, 3 more trained but not timed\n"),
        (1, "0 of 4 cases done, 1 more trained but not timed\n"),
        (0, "0 of 4 cases done\n"),
    ):
        console = Console(file=io.StringIO(), width=1000)
        assert isinstance(console.file, io.StringIO)
        with monkeypatch.context() as patched:
            StopAfter(patched, written)
            with pytest.raises(KeyboardInterrupt):
                execute(request_for(tmp_path, resume=False), console, quiet=True)
        assert console.file.getvalue().endswith(message)


def test_resuming_does_not_rewrite_finished_records(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupted(tmp_path, monkeypatch, 2, measure=("accuracy",))
    before = files_of(run)
    run_quietly(request_for(tmp_path, measure=("accuracy",)))
    after = files_of(run)
    assert len(before) == 2 < len(after) == 4
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("how", ["truncated", "a flipped bit", "emptied", "removed"])
def test_a_damaged_record_is_set_aside_and_its_case_runs_again(
    tmp_path: Path, inline: Inline, uninterrupted: Uninterrupted, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    run = interrupted(tmp_path, monkeypatch, 8 - 1)
    path = sorted((run.folder / "records").iterdir())[0]
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(b'"samples"') + len('"samples": [\n    ')] ^= 1
    match how:
        case "truncated":
            path.write_bytes(whole[: len(whole) // 2])
        case "a flipped bit":
            path.write_bytes(flipped)
        case "emptied":
            path.write_bytes(b"")
        case "removed":
            path.unlink()
    before = len(inline.trained)
    console = Console(file=io.StringIO(), width=1000)
    outcome = execute(request_for(tmp_path), console, quiet=True)
    assert inline.trained[before:] == [path.stem]
    assert outcome.run.id == run.id
    assert outcome.complete
    aside = list((run.folder / "records").glob("*.damaged"))
    assert isinstance(console.file, io.StringIO)
    if how == "removed":
        assert aside == []
    else:
        assert [each.stem for each in aside] == [path.stem]
        assert "set aside" in console.file.getvalue()
        assert path.name in console.file.getvalue()
    assert reproducible_content(outcome.run) == uninterrupted()


def test_a_run_with_a_record_of_a_newer_version_is_refused_unchanged(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupted(tmp_path, monkeypatch, 2)
    newer, damaged = sorted((run.folder / "records").iterdir())[:2]
    newer.write_bytes(with_checksum(b'{\n "schema_version": 99,\n "unheard_of": []\n}'))
    damaged.write_bytes(b"half a rec")
    before = files_of(run)
    with pytest.raises(
        StoreError, match=r"newer version of Carousel \(schema 99\); update Carousel to read it, or .* --no-resume"
    ) as caught:
        run_quietly(request_for(tmp_path))
    assert str(newer) in str(caught.value)
    assert files_of(run) == before
    outcome = run_quietly(request_for(tmp_path, resume=False))
    assert outcome.complete
    assert files_of(run) == before


@pytest.mark.parametrize("what", ["missing", "truncated"])
def test_lost_weights_are_trained_again_before_they_are_timed(
    tmp_path: Path, inline: Inline, uninterrupted: Uninterrupted, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    run = interrupted(tmp_path, monkeypatch, 4)
    lost = inline.trained[0]
    weights = run.artifacts(lost) / "weights.safetensors"
    if what == "missing":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:-5])
    before = len(inline.trained)
    outcome = run_quietly(request_for(tmp_path))
    assert inline.trained[before:] == [lost]
    assert outcome.complete
    assert reproducible_content(outcome.run) == uninterrupted()


@pytest.mark.parametrize("what", ["code", "environment", "plan", "timing", "probes", "repeat", "no_resume", "run.json"])
def test_a_run_of_different_work_is_not_resumed(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    run = interrupted(tmp_path, monkeypatch, 2)
    before, file = files_of(run), run.file()
    changes: dict[str, Any] = {}
    match what:
        case "code":
            monkeypatch.setattr(resume, "code_digest", lambda: "0000000000")
        case "environment":
            monkeypatch.setattr(
                resume, "environment", lambda device: environment(device).model_copy(update={"torch": "1.0"})
            )
        case "plan":
            changes = {"seeds": 3}
        case "timing":
            changes = {"timing": tiny_plan(tmp_path).timing.model_copy(update={"steps": 11})}
        case "probes":
            changes = {"measure": ("accuracy",)}
        case "repeat":
            changes = {"repeat": 2}
        case "no_resume":
            changes = {"resume": False}
        case "run.json":
            (run.folder / "run.json").write_bytes((run.folder / "run.json").read_bytes()[:-30])
    console = Console(file=io.StringIO(), width=1000)
    assert isinstance(console.file, io.StringIO)
    outcome = execute(request_for(tmp_path, **changes), console, quiet=True)
    assert outcome.run.id != run.id
    assert outcome.complete
    assert files_of(run) == before
    change = {
        "plan": "plan changed: seed 0, 1 → 0, 1, 2",
        "timing": "plan changed: settings of probes, claims or names",
        "probes": f"plan changed: measure {', '.join(file.probes)} → accuracy",
        "repeat": "--repeat changed: 1 → 2",
        "environment": f"environment changed: torch {file.environment.torch} → 1.0",
        "code": f"code changed: {file.code} → 0000000000",
    }.get(what)
    expected = f"not resuming run {run.id} ({change}): starting a new run\n"
    assert console.file.getvalue() == ("" if what in ("no_resume", "run.json") else expected)
    assert len(Store(tmp_path / "runs").runs()) == 2


def test_a_run_in_use_by_another_process_is_not_resumed(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupted(tmp_path, monkeypatch, 2)
    before = files_of(run)
    with FileLock(run.folder / LOCK_FILE):
        outcome = run_quietly(request_for(tmp_path))
    assert outcome.run.id != run.id
    assert files_of(run) == before


def test_two_processes_that_resume_one_run_do_not_both_write(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupted(tmp_path, monkeypatch, 2)
    monkeypatch.setattr(resume, "is_in_use", lambda run: False)  # both check before either locks
    message = f"run {run.id} is in use by another process: wait, or pass --no-resume"
    with FileLock(run.folder / LOCK_FILE), pytest.raises(UsageError, match=message):
        run_quietly(request_for(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("failing_write", range(12))
def test_a_full_disk_is_a_one_line_error_and_the_run_resumes(
    tmp_path: Path, inline: Inline, uninterrupted: Uninterrupted, monkeypatch: pytest.MonkeyPatch, failing_write: int
) -> None:
    """Check the error and the resumed run if the disk is full at exactly one write."""
    counter = itertools.count()
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail_once(original: Any) -> Any:
        def patched_write(*arguments: Any, **options: Any) -> Any:
            if next(counter) == failing_write:
                raise full
            return original(*arguments, **options)

        return patched_write

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail_once(os.fsync))
        patched.setattr(Path, "write_bytes", fail_once(Path.write_bytes))
        with pytest.raises(StoreError) as caught:
            run_quietly(request_for(tmp_path))
    assert str(tmp_path / "runs") in str(caught.value)
    assert "\n" not in str(caught.value)
    outcome = run_quietly(request_for(tmp_path))
    assert outcome.complete
    assert reproducible_content(outcome.run) == uninterrupted()
    assert len(set(inline.trained)) == 4


@pytest.mark.parametrize("removed_after", [1, 3, 4])
def test_a_removed_run_folder_is_a_one_line_error_and_is_not_recreated(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch, removed_after: int
) -> None:
    """Check the error if the folder is removed after the first, third or last of four records.

    After the last record, only `run.json` is written again.
    """
    original, written = Run.write, itertools.count(1)

    def write(run: Run, record: Record) -> None:
        original(run, record)
        if next(written) == removed_after:
            shutil.rmtree(run.folder)

    with monkeypatch.context() as patched:
        patched.setattr(Run, "write", write)
        with pytest.raises(StoreError, match="has disappeared: rerun to start a new run"):
            run_quietly(request_for(tmp_path, measure=("accuracy",)))
    assert list((tmp_path / "runs").iterdir()) == []
    assert run_quietly(request_for(tmp_path, measure=("accuracy",))).complete


@pytest.mark.parametrize("written", [4, 7, 9])
def test_a_resumed_run_makes_only_the_missing_repetitions(
    tmp_path: Path, inline: Inline, uninterrupted: Uninterrupted, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Interrupt a run after `written` writes, and check that it resumes with exactly the missing timings.

    The whole run writes records twelve times: four after training, and four in each of two rounds of timings.
    """
    run = interrupted(tmp_path, monkeypatch, written, repeat=2)
    before = {key: record.measurements for key, record in run.read()[0].items()}
    timed = len(inline.timed)
    outcome = run_quietly(request_for(tmp_path, repeat=2))
    assert outcome.run.id == run.id
    assert len(inline.timed) - timed == 8 - (written - 4)
    for record in outcome.records:
        assert record.repetitions == 2
        assert record.measurements[: len(before[record.key])] == before[record.key], "unchanged"
        assert [m.process for m in record.by_process("step_seconds")] == [0, 0, 1, 1]
    assert reproducible_content(outcome.run) == uninterrupted(repeat=2)


def test_describing_a_run_writes_nothing(tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), width=1000)
    assert isinstance(console.file, io.StringIO)
    describe(request_for(tmp_path), console)
    assert "4 cases, 0 done, 4 to run on 1 worker, about" in console.file.getvalue()
    assert not (tmp_path / "runs").exists()
    run = interrupted(tmp_path, monkeypatch, 2)
    before = files_of(run)
    describe(request_for(tmp_path), console)
    assert f"resuming run {run.id}" in console.file.getvalue()
    assert files_of(run) == before
    assert inline.timed == []
