"""A run from plan to records: whole, interrupted, damaged, changed, and killed."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import os
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from filelock import FileLock
from rich.console import Console

from bench import _taking_up
from bench._build import build_model
from bench._errors import UsageError
from bench._lane import Failure
from bench._plan import cases
from bench._run import Outcome, describe, execute
from bench._work import Job, TimeJob, TrainJob
from results import Record, Run, Store, StoreError
from tests.bench.inline import Inline, inline
from tests.bench.runs import as_in_a_lane, everything, files_of, request_for, run_quietly
from tests.bench.tiny import tiny_plan

__all__ = ["as_in_a_lane", "inline"]

HOME = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 120.0


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


def test_a_tiny_plan_from_end_to_end(tmp_path: Path, inline: Inline) -> None:
    request = request_for(tmp_path)
    outcome = run_quietly(request)
    planned = cases(request.plan)
    assert outcome.complete
    assert [record.case for record in outcome.records] == planned
    records, damaged = outcome.run.read()
    assert damaged == []
    assert records == {record.key: record for record in outcome.records}
    file = outcome.run.file()
    assert file.finished is not None
    assert file.finished >= file.created
    assert (file.cases, file.plan, file.probes) == (tuple(planned), "tiny", request.plan.measure)
    assert inline.trained == [case.key for case in sorted(planned, key=lambda c: inline.trained.index(c.key))]
    assert len(inline.trained) == len(inline.timed) == len(planned) == 4
    for record in outcome.records:
        assert record.status == "ok"
        assert {probe: ran.status for probe, ran in record.probes.items()} == dict.fromkeys(request.plan.measure, "ok")
        assert [m.at for m in record.of("accuracy")] == [{"length": 4}, {"length": 8}]
        assert [m.at for m in record.of("step_seconds")] == [{"position": 1}, {"position": 8}]
        assert len(record.of("train_step_seconds")) == 1
        assert record.model is not None
        weights = safetensors.torch.load_file(outcome.run.folder / record.artifacts["weights"])
        model = build_model(record.case, __import__("tasks").build(record.case.task))
        model.load_state_dict(weights)
        assert sum(value.numel() for value in weights.values()) == record.model.parameters
    assert not list(outcome.run.folder.rglob(".*.json.*"))


def test_a_second_run_is_another_one_with_the_same_results(tmp_path: Path, inline: Inline) -> None:
    first = run_quietly(request_for(tmp_path))
    second = run_quietly(request_for(tmp_path))
    assert first.run.id != second.run.id
    assert [run.id for run in Store(tmp_path / "runs").runs()] == sorted([first.run.id, second.run.id])
    assert everything(first.run) == everything(second.run)
    assert len(inline.trained) == 8


@pytest.mark.parametrize("written", range(8))
def test_an_interrupted_run_is_taken_up_where_it_stopped(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Eight writes make the whole run: four of trained cases, four with their timings."""
    with monkeypatch.context() as patched:
        StopAfter(patched, written)
        with pytest.raises(KeyboardInterrupt):
            run_quietly(request_for(tmp_path))
    (run,) = Store(tmp_path / "runs").runs()
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


def test_what_was_trained_before_is_not_rewritten_by_training_the_rest(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        StopAfter(patched, 2)
        with pytest.raises(KeyboardInterrupt):
            run_quietly(request_for(tmp_path, measure=("accuracy",)))
    (run,) = Store(tmp_path / "runs").runs()
    before = files_of(run)
    run_quietly(request_for(tmp_path, measure=("accuracy",)))
    after = files_of(run)
    assert len(before) == 2 < len(after) == 4
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("how", ["truncated", "a flipped bit", "emptied", "removed"])
def test_a_damaged_record_is_set_aside_and_its_case_runs_again(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    with monkeypatch.context() as patched:
        StopAfter(patched, 8 - 1)
        with pytest.raises(KeyboardInterrupt):
            run_quietly(request_for(tmp_path))
    (run,) = Store(tmp_path / "runs").runs()
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


@pytest.mark.parametrize("what", ["missing", "truncated"])
def test_lost_weights_are_trained_again_before_they_are_timed(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    with monkeypatch.context() as patched:
        StopAfter(patched, 4)
        with pytest.raises(KeyboardInterrupt):
            run_quietly(request_for(tmp_path))
    (run,) = Store(tmp_path / "runs").runs()
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


def interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    with monkeypatch.context() as patched:
        StopAfter(patched, 2)
        with pytest.raises(KeyboardInterrupt):
            run_quietly(request_for(folder))
    (run,) = Store(folder / "runs").runs()
    return run


@pytest.mark.parametrize("what", ["code", "environment", "plan", "timing", "probes", "repeat", "new", "run.json"])
def test_a_run_of_something_else_is_not_taken_up(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    run = interrupted(tmp_path, monkeypatch)
    before = files_of(run)
    changes: dict[str, Any] = {}
    match what:
        case "code":
            monkeypatch.setattr(_taking_up, "code_digest", lambda: "0000000000")
        case "environment":
            really = _taking_up.environment
            monkeypatch.setattr(
                _taking_up, "environment", lambda device: really(device).model_copy(update={"torch": "1.0"})
            )
        case "plan":
            changes = {"seeds": 3}
        case "timing":
            changes = {"timing": tiny_plan(tmp_path).timing.model_copy(update={"steps": 11})}
        case "probes":
            changes = {"measure": ("accuracy",)}
        case "repeat":
            changes = {"repeat": 2}
        case "new":
            changes = {"new": True}
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
    assert console.file.getvalue() == ("" if what in ("new", "run.json") else expected)
    assert len(Store(tmp_path / "runs").runs()) == 2


def test_a_run_that_another_process_works_on_is_left_alone(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupted(tmp_path, monkeypatch)
    before = files_of(run)
    with FileLock(run.folder / ".lock"):
        outcome = run_quietly(request_for(tmp_path))
    assert outcome.run.id != run.id
    assert files_of(run) == before


def test_two_that_take_up_one_run_at_once_do_not_both_write(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupted(tmp_path, monkeypatch)
    monkeypatch.setattr(_taking_up, "_is_free", lambda run: True)  # both look before either locks
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


@pytest.mark.parametrize("status", ["crashed", "timeout", "out_of_memory"])
def test_a_failed_case_is_recorded_with_its_reason_and_the_others_finish(
    tmp_path: Path, inline: Inline, status: Any
) -> None:
    inline.failing = lambda job: (
        Failure(status, "the reason") if isinstance(job, TrainJob) and job.case.arch == "rnn" else None
    )
    outcome = run_quietly(request_for(tmp_path))
    assert not outcome.complete
    assert [(record.status, record.reason) for record in outcome.records if record.case.arch == "rnn"] == [
        (status, "the reason")
    ] * 2
    for record in outcome.records:
        assert (record.training is None) is (record.case.arch == "rnn")
        assert bool(record.measurements) is (record.case.arch == "lstm")
    assert {key.partition(".")[0] for key in inline.timed} == {"lstm"}
    assert outcome.run.file().finished is not None


def test_a_failed_timing_keeps_the_scores_and_is_not_a_complete_run(tmp_path: Path, inline: Inline) -> None:
    inline.failing = lambda job: Failure("timeout", "no result within 1 s") if isinstance(job, TimeJob) else None
    outcome = run_quietly(request_for(tmp_path))
    for record in outcome.records:
        assert len(record.of("accuracy")) == 2
        assert record.of("step_seconds") == []
        for probe in ("latency", "streaming"):
            assert record.probes[probe].status == "failed"
            assert record.probes[probe].reason == "timeout: no result within 1 s"
    assert not outcome.complete


def test_a_refused_model_is_recorded_as_inconsistent_without_timings(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "bench._work.refusal", lambda model, inputs: "step and scan differ" if len(model.layers) else None
    )
    outcome = run_quietly(request_for(tmp_path))
    for record in outcome.records:
        assert (record.status, record.reason) == ("inconsistent", "step and scan differ")
        assert [m.metric for m in record.measurements if m.metric.endswith("_seconds")] == []
        assert len(record.of("accuracy")) == 2
    assert outcome.complete


def test_a_model_that_diverges_has_no_score_and_no_timings(tmp_path: Path, inline: Inline) -> None:
    plan = tiny_plan(tmp_path)
    protocol = dict(plan.protocol) | {"learning_rate": 1e38, "steps": 4}
    outcome = run_quietly(request_for(tmp_path, protocol=protocol))
    diverged = [record for record in outcome.records if record.status == "diverged"]
    assert diverged
    assert outcome.complete
    for record in diverged:
        assert record.measurements == ()
        assert record.reason is not None
        assert record.training is not None
        assert f"step {record.training.steps}" in record.reason
        assert record.key not in inline.timed


def test_describing_a_run_writes_nothing(tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), width=1000)
    assert isinstance(console.file, io.StringIO)
    describe(request_for(tmp_path), console)
    assert "4 cases, 0 done before, 4 to run on 1 lane" in console.file.getvalue()
    assert not (tmp_path / "runs").exists()
    run = interrupted(tmp_path, monkeypatch)
    before = files_of(run)
    describe(request_for(tmp_path), console)
    assert "2 records" in console.file.getvalue() or f"taking up run {run.id}" in console.file.getvalue()
    assert files_of(run) == before
    assert inline.timed == []


def test_a_run_says_when_each_case_was_worked_on_and_what_its_artifacts_hold(tmp_path: Path, inline: Inline) -> None:
    outcome = run_quietly(request_for(tmp_path, seeds=1))
    for record in outcome.records:
        assert [span.work for span in record.spans] == ["training", "timing"]
        assert record.spans[0].began <= record.spans[0].ended <= record.spans[1].began <= record.spans[1].ended
        content = (outcome.run.folder / record.artifacts["weights"]).read_bytes()
        assert record.artifact_digests == {"weights": hashlib.sha256(content).hexdigest()[:16]}
    first, second = (record.spans[1] for record in outcome.records)
    assert first == second, "both were timed in turns, by one process"


def test_repeated_timings_are_of_fresh_processes_in_rounds(tmp_path: Path, inline: Inline) -> None:
    outcome = run_quietly(request_for(tmp_path, repeat=3))
    assert outcome.complete
    assert outcome.file.repeat == 3
    assert inline.fresh == [True] * 6
    groups = [inline.timed[start : start + 2] for start in range(0, 12, 2)]
    assert groups[:2] == groups[2:4] == groups[4:], "every group once, then every group again"
    for record in outcome.records:
        assert record.repetitions == 3
        assert [span.work for span in record.spans] == ["training", "timing", "timing", "timing"]
        assert [m.process for m in record.by_process("step_seconds")] == [0, 0, 1, 1, 2, 2]
        assert [m.process for m in record.by_process("accuracy")] == [0, 0]
        assert [len(m.samples) for m in record.of("step_seconds")] == [30, 30]
    single = run_quietly(request_for(tmp_path / "single"))
    assert inline.fresh[6:] == [False] * 2
    assert {record.repetitions for record in single.records} == {1}


@pytest.mark.parametrize("written", [4, 7, 9])
def test_an_interrupted_run_goes_on_with_the_missing_repetitions(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Twelve writes: four of trained cases, and two rounds of timings for each."""
    with monkeypatch.context() as patched:
        StopAfter(patched, written)
        with pytest.raises(KeyboardInterrupt):
            run_quietly(request_for(tmp_path, repeat=2))
    (run,) = Store(tmp_path / "runs").runs()
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


def test_a_case_whose_timing_failed_is_not_timed_in_later_rounds(tmp_path: Path, inline: Inline) -> None:
    failed: list[str] = []

    def fail_once(job: Job) -> Failure | None:
        if isinstance(job, TimeJob) and not failed:
            failed.extend(case.key for case in job.cases)
            return Failure("timeout", "too slow")
        return None

    inline.failing = fail_once
    outcome = run_quietly(request_for(tmp_path, repeat=2))
    assert not outcome.complete
    assert sorted(inline.timed) == sorted(failed + 2 * [r.key for r in outcome.records if r.key not in failed])


def test_the_wall_clock_may_jump_and_durations_stay(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Days back and forth at every look: nothing that is a duration is taken from that clock."""
    jumps = itertools.cycle([1e9, 5.0, 2e9, 1.0])
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    outcome = run_quietly(request_for(tmp_path, repeat=2))
    assert outcome.complete
    for record in outcome.records:
        assert record.training is not None
        assert 0 <= record.training.seconds < PATIENCE_SECONDS
        assert all(0 <= ran.seconds < PATIENCE_SECONDS for ran in record.probes.values())
        assert all(0 <= span.ended - span.began < PATIENCE_SECONDS for span in record.spans)
        assert all(
            0 <= sample < PATIENCE_SECONDS
            for measurement in record.measurements
            if measurement.metric.endswith("_seconds")
            for sample in measurement.samples
        )


def test_two_runs_into_one_store_at_once_lose_nothing(tmp_path: Path, inline: Inline) -> None:
    """One begins while the other is between two records; both end whole, and neither has read half a file."""
    others: list[Outcome] = []

    def begin_another(job: Job) -> None:
        if len(inline.trained) == 2 and not others:
            others.append(run_quietly(request_for(tmp_path)))

    inline.failing = begin_another
    first = run_quietly(request_for(tmp_path))
    assert len(others) == 1
    assert others[0].run.id != first.run.id
    assert first.complete
    assert others[0].complete
    assert everything(first.run) == everything(others[0].run)
    assert len(inline.trained) == len(inline.timed) == 8
