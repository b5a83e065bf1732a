"""A run from plan to records: complete, with failed cases, and with repeated timings."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from rich.console import Console

from bench.executors.jobs import Failure, Job, TimeJob, TrainJob
from bench.machine.provenance import Checkout
from bench.plans.grid import cases
from bench.runner import resume, run
from bench.runner.run import Outcome, execute
from bench.training.model import build_model
from results import Store, history
from tests.bench.inline_executor import Inline, inline
from tests.bench.runs import like_a_worker, reproducible_content, request_for, run_quietly
from tests.bench.tiny import tiny_plan

__all__ = ["inline", "like_a_worker"]

PATIENCE_SECONDS = 120.0


def test_a_tiny_plan_runs_from_end_to_end(tmp_path: Path, inline: Inline) -> None:
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


def test_a_second_run_is_a_new_run_with_the_same_results(tmp_path: Path, inline: Inline) -> None:
    first = run_quietly(request_for(tmp_path))
    second = run_quietly(request_for(tmp_path))
    assert first.run.id != second.run.id
    assert [run.id for run in Store(tmp_path / "runs").runs()] == sorted([first.run.id, second.run.id])
    assert reproducible_content(first.run) == reproducible_content(second.run)
    assert len(inline.trained) == 8


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


def test_a_failed_timing_keeps_the_scores_but_the_run_is_not_complete(tmp_path: Path, inline: Inline) -> None:
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
        "bench.executors.timing_job.consistency_failure",
        lambda model, inputs: "step and scan differ" if len(model.layers) else None,
    )
    outcome = run_quietly(request_for(tmp_path))
    for record in outcome.records:
        assert (record.status, record.reason) == ("inconsistent", "step and scan differ")
        assert [m.metric for m in record.measurements if m.metric.endswith("_seconds")] == []
        assert len(record.of("accuracy")) == 2
    assert not outcome.complete


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


def test_records_have_spans_and_the_digests_of_their_artifacts(tmp_path: Path, inline: Inline) -> None:
    outcome = run_quietly(request_for(tmp_path, seeds=1))
    for record in outcome.records:
        assert [span.work for span in record.spans] == ["training", "timing"]
        assert record.spans[0].began <= record.spans[0].ended <= record.spans[1].began <= record.spans[1].ended
        content = (outcome.run.folder / record.artifacts["weights"]).read_bytes()
        assert record.artifact_digests == {"weights": hashlib.sha256(content).hexdigest()[:16]}
    first, second = (record.spans[1] for record in outcome.records)
    assert first == second, "both were timed by one process"


def test_repeated_timings_use_fresh_processes_in_rounds(tmp_path: Path, inline: Inline) -> None:
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


def test_durations_are_independent_of_the_wall_clock(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check that all durations are plausible although the wall clock jumps by years each time it is read."""
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


def test_a_clock_that_was_ahead_does_not_hide_newer_runs(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    for day in (2, 4, 3, 1):  # the clock was ahead during the second run, and behind during the last
        for module in (run, resume):
            monkeypatch.setattr(module, "now", lambda day=day: f"2026-01-{day:02}T03:04:05Z")
        runs.append(run_quietly(request_for(tmp_path, measure=("accuracy",), seeds=1)).run.id)
        assert Store(tmp_path / "runs").find("latest").id == runs[-1]
    store = Store(tmp_path / "runs")
    assert [each.id for each in store.in_order()] == runs
    for series in history((each.file(), each.read()[0].values()) for each in store.runs()):
        assert [point.run for point in series.points] == runs


def test_two_simultaneous_runs_in_one_store_lose_nothing(tmp_path: Path, inline: Inline) -> None:
    """Start one run while another is between two records, and check that both complete with the same results."""
    others: list[Outcome] = []

    def start_another(job: Job) -> None:
        if len(inline.trained) == 2 and not others:
            others.append(run_quietly(request_for(tmp_path)))

    inline.failing = start_another
    first = run_quietly(request_for(tmp_path))
    assert len(others) == 1
    assert others[0].run.id != first.run.id
    assert first.complete
    assert others[0].complete
    assert reproducible_content(first.run) == reproducible_content(others[0].run)
    assert len(inline.trained) == len(inline.timed) == 8


def test_a_store_without_locks_is_reported_in_one_line_and_used(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    console = Console(file=io.StringIO(), width=400)
    request = request_for(tmp_path)
    outcome = execute(request, console, quiet=True)
    assert outcome.complete
    line = f"cannot lock files in {request.store}: start no other run there until this run ends"
    assert console.file.getvalue().splitlines().count(line) == 1  # type: ignore[attr-defined]


def test_a_run_that_git_cannot_describe_says_so_in_one_line(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "git cannot be run here: the run does not record whether its code is modified"
    for checkout, lines in ((Checkout(commit="a" * 40), 1), (Checkout(commit="a" * 40, modified=False), 0)):
        monkeypatch.setattr(resume, "checkout", lambda checkout=checkout: checkout)
        console = Console(file=io.StringIO(), width=400)
        outcome = execute(request_for(tmp_path / str(lines)), console, quiet=True)
        assert (outcome.file.commit, outcome.file.modified) == (checkout.commit, checkout.modified)
        assert console.file.getvalue().splitlines().count(line) == lines  # type: ignore[attr-defined]
