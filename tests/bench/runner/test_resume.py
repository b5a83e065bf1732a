"""What an interrupted run leaves, and what takes it up: the same work only, nothing lost, nothing twice."""

from __future__ import annotations

import errno
import io
import itertools
import os
import shutil
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
from results.store.document import with_checksum
from tests.bench.inline_executor import Inline, inline
from tests.bench.runs import as_in_a_lane, everything, files_of, request_for, run_quietly
from tests.bench.tiny import tiny_plan

__all__ = ["as_in_a_lane", "inline"]


class StopAfter:
    """Ends the process, as Ctrl-C does, before the record after `count` is written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        self.left, self.really = count, Run.write
        monkeypatch.setattr(Run, "write", lambda run, record: self.write(run, record))

    def write(self, run: Run, record: Record) -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.really(run, record)


def interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch, written: int, **asked: Any) -> Run:
    """A run that ended after so many records were written."""
    with monkeypatch.context() as patched:
        StopAfter(patched, written)
        with pytest.raises(KeyboardInterrupt):
            run_quietly(request_for(folder, **asked))
    (run,) = Store(folder / "runs").runs()
    return run


@pytest.mark.parametrize("written", range(8))
def test_an_interrupted_run_is_taken_up_where_it_stopped(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Eight writes make the whole run: four of trained cases, four with their timings."""
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
    reference = run_quietly(request_for(tmp_path / "apart"))
    assert everything(outcome.run) == everything(reference.run)


def test_a_stopped_run_says_what_of_it_is_done(tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped with all trained and one timed; then, of another run, with one trained."""
    for written, says in (
        (5, "1 of 4 cases are done, 3 more trained but not timed\n"),
        (1, "0 of 4 cases are done, 1 more trained but not timed\n"),
        (0, "0 of 4 cases are done\n"),
    ):
        console = Console(file=io.StringIO(), width=1000)
        assert isinstance(console.file, io.StringIO)
        with monkeypatch.context() as patched:
            StopAfter(patched, written)
            with pytest.raises(KeyboardInterrupt):
                execute(request_for(tmp_path, resume=False), console, quiet=True)
        assert console.file.getvalue().endswith(says)


def test_what_was_trained_before_is_not_rewritten_by_training_the_rest(
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
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch, how: str
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
    assert everything(outcome.run) == everything(run_quietly(request_for(tmp_path / "apart")).run)


def test_a_run_with_a_newer_record_is_refused_and_left_as_it_is(
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
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch, what: str
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
    assert everything(outcome.run) == everything(run_quietly(request_for(tmp_path / "apart")).run)


@pytest.mark.parametrize("what", ["code", "environment", "plan", "timing", "probes", "repeat", "no_resume", "run.json"])
def test_a_run_of_something_else_is_not_taken_up(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    run = interrupted(tmp_path, monkeypatch, 2)
    before = files_of(run)
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
    said = {"timing": "plan", "probes": "plan", "repeat": "--repeat"}.get(what, what)
    expected = f"run {run.id} is unfinished, but of another {said}: a new run begins\n"
    assert console.file.getvalue() == ("" if what in ("no_resume", "run.json") else expected)
    assert len(Store(tmp_path / "runs").runs()) == 2


def test_a_run_that_another_process_works_on_is_left_alone(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupted(tmp_path, monkeypatch, 2)
    before = files_of(run)
    with FileLock(run.folder / ".lock"):
        outcome = run_quietly(request_for(tmp_path))
    assert outcome.run.id != run.id
    assert files_of(run) == before


def test_two_that_take_up_one_run_at_once_do_not_both_write(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupted(tmp_path, monkeypatch, 2)
    monkeypatch.setattr(resume, "_is_free", lambda run: True)  # both look before either locks
    with FileLock(run.folder / ".lock"), pytest.raises(UsageError, match="another process is working"):
        run_quietly(request_for(tmp_path))


@pytest.mark.parametrize("place", range(12))
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    """Of the writes of a run, whichever they are, the one at `place` finds the disk full."""
    counter = itertools.count()
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def guard(really: Any) -> Any:
        def guarded(*arguments: Any, **options: Any) -> Any:
            if next(counter) == place:
                raise full
            return really(*arguments, **options)

        return guarded

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", guard(os.fsync))
        patched.setattr(Path, "write_bytes", guard(Path.write_bytes))
        with pytest.raises(StoreError) as caught:
            run_quietly(request_for(tmp_path))
    assert str(tmp_path / "runs") in str(caught.value)
    assert "\n" not in str(caught.value)
    outcome = run_quietly(request_for(tmp_path))
    assert outcome.complete
    assert everything(outcome.run) == everything(run_quietly(request_for(tmp_path / "apart")).run)
    assert len(set(inline.trained)) == 4


@pytest.mark.parametrize("after", [1, 3, 4])
def test_a_run_whose_folder_is_taken_away_is_one_line_and_puts_nothing_there(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Four writes make this run; after the last one there is only its end to be written."""
    really, written = Run.write, itertools.count(1)

    def write(run: Run, record: Record) -> None:
        really(run, record)
        if next(written) == after:
            shutil.rmtree(run.folder)

    with monkeypatch.context() as patched:
        patched.setattr(Run, "write", write)
        with pytest.raises(StoreError, match="is gone, and what was in it; the same command begins anew"):
            run_quietly(request_for(tmp_path, measure=("accuracy",)))
    assert list((tmp_path / "runs").iterdir()) == []
    assert run_quietly(request_for(tmp_path, measure=("accuracy",))).complete


@pytest.mark.parametrize("written", [4, 7, 9])
def test_an_interrupted_run_goes_on_with_the_missing_repetitions(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Twelve writes: four of trained cases, and two rounds of timings for each."""
    run = interrupted(tmp_path, monkeypatch, written, repeat=2)
    before = {key: record.measurements for key, record in run.read()[0].items()}
    timed = len(inline.timed)
    outcome = run_quietly(request_for(tmp_path, repeat=2))
    assert outcome.run.id == run.id
    assert len(inline.timed) - timed == 8 - (written - 4)
    for record in outcome.records:
        assert record.repetitions == 2
        assert record.measurements[: len(before[record.key])] == before[record.key], "kept as they were"
        assert [m.process for m in record.by_process("step_seconds")] == [0, 0, 1, 1]
    assert everything(outcome.run) == everything(run_quietly(request_for(tmp_path / "apart", repeat=2)).run)


def test_describing_a_run_writes_nothing(tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), width=1000)
    assert isinstance(console.file, io.StringIO)
    describe(request_for(tmp_path), console)
    assert "4 cases, 0 done before, 4 to run on 1 lane" in console.file.getvalue()
    assert not (tmp_path / "runs").exists()
    run = interrupted(tmp_path, monkeypatch, 2)
    before = files_of(run)
    describe(request_for(tmp_path), console)
    assert "2 records" in console.file.getvalue() or f"taking up run {run.id}" in console.file.getvalue()
    assert files_of(run) == before
    assert inline.timed == []
