"""The share of worker time spent on training and measuring, against values computed by hand."""

from __future__ import annotations

from typing import Any

import pytest

from bench.executors.jobs import Failure, JobResult, TimeJob, TimingResult, TrainingResult, TrainJob
from bench.machine.lock import Work
from bench.plans.plan import Timing
from bench.progress.utilization import Utilization
from results import ProbeRun, Record, Span, Training
from tests.bench.tiny import tiny_case

CASE = tiny_case()
TRAIN = TrainJob(case=CASE)
TIME = TimeJob(cases=(CASE,), weights=(b"",), probes=("latency",), timing=Timing())


def result_of(work: Work, began: float, end: float, content: Any) -> JobResult:
    job = TRAIN if work == "training" else TIME
    span = Span(work=work, worker="0", began=began, ended=end)
    return JobResult(worker="0", job=job, result=content, span=span)


def trained(training_seconds: float, testing_seconds: float) -> TrainingResult:
    training = Training(
        steps=1,
        sequences=1,
        seconds=training_seconds,
        stopped="budget",
        threads=1,
        flushes_denormals=True,
        curve=(),
    )
    probes = {"accuracy": ProbeRun(status="ok", seconds=testing_seconds)}
    record = Record.model_validate(
        {"key": CASE.key, "case": CASE, "status": "ok", "training": training, "probes": probes}
    )
    return TrainingResult(record=record, weights=b"")


def timed(seconds: float) -> dict[str, TimingResult]:
    return {CASE.key: TimingResult(measurements=(), probes={"latency": ProbeRun(status="ok", seconds=seconds)})}


def test_without_jobs_there_is_no_share() -> None:
    assert Utilization().share(2) is None


def test_training_uses_one_worker_and_timing_uses_all_workers() -> None:
    """Check the share of two workers in 12 seconds.

    In the first 8 seconds, one worker trains for 6 and tests for 2, and the second trains for 4. In the next 4
    seconds, 3 seconds of timing count for both workers.
    """
    utilization = Utilization()
    utilization.add(result_of("training", 100.0, 108.0, trained(6.0, 2.0)))
    utilization.add(result_of("training", 100.0, 108.0, trained(4.0, 0.0)))
    utilization.add(result_of("timing", 108.0, 112.0, timed(3.0)))
    assert utilization.share(2) == pytest.approx((6 + 2 + 4 + 2 * 3) / (2 * 12))


def test_failed_jobs_count_with_their_duration_and_lost_jobs_do_not_count() -> None:
    utilization = Utilization()
    failed = Failure("timeout", "too slow")
    utilization.add(result_of("training", 50.0, 55.0, failed))
    utilization.add(result_of("timing", 55.0, 60.0, failed))
    utilization.add(result_of("training", 0.0, 0.0, failed))
    assert utilization.share(1) == pytest.approx(1.0)


def test_two_machines_time_in_parallel() -> None:
    utilization = Utilization()
    for _ in range(2):
        utilization.add(result_of("timing", 10.0, 20.0, timed(10.0)))
    assert utilization.share(8, 2) == pytest.approx(1.0)
