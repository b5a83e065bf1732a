"""Tuning cases are trained first and once, and decide the learning rates of the reported cases."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import tasks
from bench.executors.jobs import Failure, Job, TrainJob
from bench.plugins.loader import install, load
from bench.runner.request import Request
from bench.runner.run import describe, execute
from reports import leaderboard
from results import TUNING_SEED, Run, Store, Tuning, chosen_rate, merge, rate_results, verify
from tests.bench.inline_executor import Inline, inline
from tests.bench.plugin_files import ARCH, TASK, write
from tests.bench.runs import like_a_worker, request_for, run_quietly, without_timings

__all__ = ["inline", "like_a_worker"]

TUNING = Tuning(learning_rates=(1e-3, 1e-2), seeds=2)
PROBES = ("accuracy",)


def tuned(folder: Path, **changes: Any) -> Request:
    """Return a request for the tiny plan with a grid of two rates: 8 tuning cases and 4 reported ones."""
    return request_for(folder, **({"tuning": TUNING, "measure": PROBES} | changes))


def is_tuning(key: str) -> bool:
    return f".s{TUNING_SEED}." in key or f".s{TUNING_SEED + 1}." in key


def stripped(run: Run) -> dict[str, Any]:
    return {key: without_timings(record) for key, record in run.read()[0].items()}


def test_tuning_comes_first_and_decides_the_rates(tmp_path: Path, inline: Inline) -> None:
    outcome = run_quietly(tuned(tmp_path))
    assert [is_tuning(key) for key in inline.trained] == [True] * 8 + [False] * 4
    assert outcome.complete
    by_key = {record.key: record for record in outcome.records}
    reported = [record for record in outcome.records if record.case.is_reported]
    for record in reported:
        assert record.training is not None
        assert record.training.learning_rate == chosen_rate(record.case, by_key)
        assert record.training.learning_rate_source == "tuned"
        assert record.of("accuracy")
    for record in outcome.records:
        if not record.case.is_reported:
            assert record.training is not None
            assert record.training.learning_rate == record.case.protocol.learning_rate
            assert (record.measurements, record.artifacts, record.probes) == ((), {}, {})
    assert verify(Store(tmp_path / "runs")).flaws == ()


def test_tuning_samples_no_test_data_and_times_nothing(
    tmp_path: Path, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[int, str]] = []
    generator = tasks.generator

    def noted(seed: int, split: Any) -> Any:
        read.append((seed, split))
        return generator(seed, split)

    monkeypatch.setattr(tasks, "generator", noted)
    run_quietly(tuned(tmp_path, measure=("accuracy", "latency")))
    assert {split for seed, split in read if seed >= TUNING_SEED} == {"train", "validation"}
    assert {split for seed, split in read if seed < TUNING_SEED} >= {"train", "validation", "test"}
    assert len(inline.timed) == 4
    assert not any(is_tuning(key) for key in inline.timed)


def test_a_rate_of_the_plan_is_stored_with_the_run_that_found_it(tmp_path: Path, inline: Inline) -> None:
    from bench.plans.override import Override

    override = Override(archs=("lstm",), protocol={"learning_rate": 0.25}, found_by="a long run")
    outcome = run_quietly(request_for(tmp_path, override=(override,), measure=PROBES))
    trainings = {record.case.arch: record.training for record in outcome.records}
    lstm, rnn = trainings["lstm"], trainings["rnn"]
    assert lstm is not None and rnn is not None
    found = [(each.learning_rate, each.learning_rate_source, each.learning_rate_found_by) for each in (lstm, rnn)]
    assert found == [(0.25, "plan", "a long run"), (1e-3, "plan", None)]


@pytest.mark.parametrize("stop_after", [0, 1, 5, 8, 9, 11])
def test_a_run_stopped_at_any_point_trains_no_case_twice(tmp_path: Path, inline: Inline, stop_after: int) -> None:
    reference = run_quietly(tuned(tmp_path / "reference"))
    inline.trained.clear()

    def stop(job: Job) -> Any:
        if len(inline.trained) > stop_after:
            raise KeyboardInterrupt
        return None

    inline.failing = stop
    with pytest.raises(KeyboardInterrupt):
        run_quietly(tuned(tmp_path))
    inline.trained.pop()  # it was interrupted
    inline.failing = lambda job: None
    outcome = run_quietly(tuned(tmp_path))
    assert len(inline.trained) == len(set(inline.trained)) == 12
    assert [run.id for run in Store(tmp_path / "runs").runs()] == [outcome.run.id]
    assert stripped(outcome.run) == stripped(reference.run)


def test_a_failed_rate_is_not_chosen_and_the_run_is_incomplete(tmp_path: Path, inline: Inline) -> None:
    def fail(job: Job) -> Failure | None:
        is_first_rate = job.cases[0].protocol.learning_rate == 1e-3 and not job.cases[0].is_reported
        return Failure("crashed", "planted") if is_first_rate else None

    inline.failing = fail
    outcome = run_quietly(tuned(tmp_path))
    rates = {record.training.learning_rate for record in outcome.records if record.case.is_reported and record.training}
    assert rates == {1e-2}
    assert not outcome.complete


def test_without_any_rate_the_case_fails_with_a_reason(tmp_path: Path, inline: Inline) -> None:
    def fail(job: Job) -> Failure | None:
        return Failure("timeout", "planted") if job.cases[0].arch == "rnn" else None

    inline.failing = fail
    outcome = run_quietly(tuned(tmp_path))
    failed = [record for record in outcome.records if record.case.is_reported and record.case.arch == "rnn"]
    assert [record.status for record in failed] == ["timeout"] * 2
    assert all("all 4 tuning cases failed" in (record.reason or "") for record in failed)
    assert all("planted" in (record.reason or "") for record in failed)
    trained_reported = [key for key in inline.trained if not is_tuning(key)]
    assert len(trained_reported) == 2
    assert all(key.startswith("lstm") for key in trained_reported)


def test_records_with_another_rate_than_the_chosen_one_are_replaced(tmp_path: Path, inline: Inline) -> None:
    """Check a run whose best tuning case crashed at first, and succeeds when the run is resumed."""
    reference = run_quietly(tuned(tmp_path / "reference"))
    best = {
        record.training.learning_rate for record in reference.records if record.case.is_reported and record.training
    }

    def fail_then_stop(job: Job) -> Failure | None:
        if isinstance(job, TrainJob) and not job.case.is_reported:
            return Failure("crashed", "planted") if job.case.protocol.learning_rate in best else None
        if sum(not is_tuning(key) for key in inline.trained) > 3:
            raise KeyboardInterrupt
        return None

    inline.failing = fail_then_stop
    with pytest.raises(KeyboardInterrupt):
        run_quietly(tuned(tmp_path))
    inline.failing = lambda job: None
    outcome = run_quietly(tuned(tmp_path))
    assert stripped(outcome.run) == stripped(reference.run)


def test_the_halves_of_a_run_merge(tmp_path: Path, inline: Inline) -> None:
    outcome = run_quietly(tuned(tmp_path))
    halves = [tmp_path / name for name in ("first", "second")]
    for number, half in enumerate(halves):
        copy = Store(half).create(outcome.file)
        for record in outcome.records[number::2]:
            copy.write(record.model_copy(update={"artifacts": {}, "artifact_digests": {}}))
    merged = Store(tmp_path / "merged")
    result = merge(halves, merged)
    assert (result.conflicts, result.left_out) == ([], [])
    assert verify(merged).flaws == ()
    records, _ = merged.find("latest").read()
    assert {key: record.training for key, record in records.items()} == {
        record.key: record.training for record in outcome.records
    }


def test_a_dry_run_counts_tuning_cases(tmp_path: Path, inline: Inline) -> None:
    out = io.StringIO()
    describe(tuned(tmp_path), Console(file=out, width=200))
    assert "tiny: 12 cases (8 of them to choose learning rates, about" in out.getvalue()
    assert inline.trained == []


def test_a_changed_grid_starts_a_new_run_and_says_why(tmp_path: Path, inline: Inline) -> None:
    def stop(job: Job) -> Any:
        raise KeyboardInterrupt

    inline.failing = stop
    with pytest.raises(KeyboardInterrupt):
        run_quietly(tuned(tmp_path))
    inline.failing = lambda job: None
    out = io.StringIO()
    wider = tuned(tmp_path, tuning=Tuning(learning_rates=(1e-3, 1e-2, 1e-1), seeds=2))
    execute(wider, Console(file=out, width=400), quiet=True)
    text = " ".join(out.getvalue().split())
    assert "plan changed: tuning learning_rates [0.001, 0.01] → [0.001, 0.01, 0.1]" in text


def test_an_architecture_is_reported_with_the_only_rate_at_which_it_learns(tmp_path: Path, inline: Inline) -> None:
    """Check a plugin that repeats a bit. The lowest two of four rates change nothing, and the highest overshoots."""
    files = [write(tmp_path, "scaled", ARCH), write(tmp_path, "first_bit", TASK)]
    protocol = {"steps": 200, "batch": 32, "evaluate_every": 200, "validation_sequences": 64, "schedule": "constant"}
    try:
        request = tuned(
            tmp_path,
            archs=("scaled",),
            tasks=("first_bit",),
            lengths=(2,),
            protocol=protocol,
            tuning=Tuning(learning_rates=(1e-9, 1e-8, 3e-2, 1e4), seeds=2),
        )
        outcome = run_quietly(replace(request, plugins=load(files).plugins))
    finally:
        install(())
    row = next(row for row in leaderboard(outcome.file, outcome.records) if row.arch == "scaled")
    assert (row.learning_rate, row.learning_rate_source) == (3e-2, "tuned")
    assert row.score is not None and row.score > 0.95
    by_key = {record.key: record for record in outcome.records}
    case = next(record.case for record in outcome.records if record.case.is_reported and record.case.arch == "scaled")
    scores = [result.mean_score for result in rate_results(case, by_key)]
    assert [score is not None and score > 0.7 for score in scores] == [False, False, True, False]


def test_the_record_says_where_the_rate_came_from(tmp_path: Path, inline: Inline) -> None:
    outcome = run_quietly(tuned(tmp_path))
    (path, *_) = [outcome.run.record_path(each.key) for each in outcome.records if each.case.is_reported]
    training = json.loads(path.read_bytes())["training"]
    assert (training["learning_rate"] in TUNING.learning_rates, training["learning_rate_source"]) == (True, "tuned")
