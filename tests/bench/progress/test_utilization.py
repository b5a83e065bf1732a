"""The share of the lanes' time that went into training and measuring, worked out by hand."""

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


def ended(work: Work, began: float, end: float, result: Any) -> JobResult:
    job = TRAIN if work == "training" else TIME
    return JobResult("0", job, result, Span(work=work, worker="0", began=began, ended=end))


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


def test_nothing_done_has_no_share() -> None:
    assert Utilization().share(2) is None


def test_trainings_use_a_lane_and_timings_all_of_them() -> None:
    """Two lanes: 6 + 2 of 8 seconds on one, 4 of 8 on the other; then 3 of 4 seconds of timing, on both."""
    use = Utilization()
    use.add(ended("training", 100.0, 108.0, trained(6.0, 2.0)))
    use.add(ended("training", 100.0, 108.0, trained(4.0, 0.0)))
    use.add(ended("timing", 108.0, 112.0, timed(3.0)))
    assert use.share(2) == pytest.approx((6 + 2 + 4 + 2 * 3) / (2 * 12))


def test_failed_jobs_count_as_long_as_they_ran_and_lost_ones_not_at_all() -> None:
    use = Utilization()
    failed = Failure("timeout", "too slow")
    use.add(ended("training", 50.0, 55.0, failed))
    use.add(ended("timing", 55.0, 60.0, failed))
    use.add(ended("training", 0.0, 0.0, failed))
    assert use.share(1) == pytest.approx(1.0)


def test_two_machines_time_at_once() -> None:
    use = Utilization()
    for _ in range(2):
        use.add(ended("timing", 10.0, 20.0, timed(10.0)))
    assert use.share(8, 2) == pytest.approx(1.0)
