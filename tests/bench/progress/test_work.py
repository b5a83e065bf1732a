"""The work of a case: training, validation and tests, from lengths, sequences and FLOPs."""

from __future__ import annotations

import pytest

from bench.executors.jobs import TimeJob, TrainJob
from bench.progress.estimates import DurationEstimator
from bench.progress.work import SECONDS_PER_FLOP, SECONDS_PER_STEP, planned_tests, work_of
from bench.training.model import model_on_meta
from results import ProbeRun
from tasks import build
from tests.bench.progress.test_estimates import record_with
from tests.bench.tiny import TIMING, tiny_case

EXACT = 1e-9
"""Relative tolerance for sums of a few numbers."""


def test_the_work_is_that_of_the_equations() -> None:
    case = tiny_case("lstm", length=16, steps=20, batch=8, evaluate_every=6, evaluate_at=(16, "20..30", 70_000))
    model = model_on_meta(case, build(case.task))
    step, passes = (model.train_step_flops(8, 16), [model.forward_flops(8, length) for length in (16, 16, 25, 70_000)])
    assert step is not None
    flops = [SECONDS_PER_FLOP * (count or 0) for count in passes]
    steps = [length * SECONDS_PER_STEP / 3 for length in (16, 16, 25, 8 * 70_000)]  # one sequence per pass at 70,000
    work = work_of(case)
    assert work.testing == pytest.approx(sum(flops[1:]) + sum(steps[1:]), rel=EXACT)
    training = 20 * (16 * SECONDS_PER_STEP + step * SECONDS_PER_FLOP) + 4 * (flops[0] + steps[0])
    assert work.training == pytest.approx(training, rel=EXACT)


def test_a_step_of_guessing_is_an_evaluation_of_its_batch() -> None:
    guessing = {"optimizer": "guessing", "learning_rate": None}
    case = tiny_case("lstm", length=16, steps=20, batch=8, evaluate_every=6, **guessing)
    flops = model_on_meta(case, build(case.task)).forward_flops(8, 16)  # validation reads 8 sequences too
    evaluation = 16 * SECONDS_PER_STEP / 3 + SECONDS_PER_FLOP * (flops or 0)
    assert work_of(case).training == pytest.approx((20 + 4) * evaluation, rel=EXACT)


def test_more_lengths_take_more_time_and_a_bound_takes_less() -> None:
    few = tiny_case("transformer", length=64, test_sequences=1024)
    many = tiny_case("transformer", length=64, test_sequences=1024, evaluate_at=tuple(64 * n for n in range(1, 14)))
    bounded = tiny_case("transformer", length=64, test_sequences=1024, test_steps=1, evaluate_at=("1x", "2x", "4x"))
    seconds = [work_of(case).testing for case in (bounded, few, many)]
    assert seconds[2] > 5 * seconds[1] > 5 * 4 * seconds[0]
    assert [count for _, count in planned_tests(bounded)] == [128, 128, 128]


def test_tuning_cases_are_not_tested() -> None:
    case = tiny_case().model_copy(update={"purpose": "tuning"})
    assert planned_tests(case) == [] and work_of(case).testing == 0


def test_tests_are_a_measured_part_of_earlier_records() -> None:
    case = tiny_case(steps=100)
    record = record_with(case, 6.0)
    tested = record.model_copy(update={"probes": {"accuracy": ProbeRun(status="ok", seconds=2.0)}})
    estimator = DurationEstimator([tested])
    assert estimator.training_seconds(case.model_copy(update={"seed": 5})) == 8.0
    assert estimator.testing_seconds(case) == 2.0
    assert estimator.training_share(TrainJob(case=case)) == pytest.approx(0.75)
    assert estimator.training_share(TimeJob(cases=(case,), weights=(b"",), probes=(), timing=TIMING)) == 1.0


def test_another_number_of_test_lengths_is_another_duration() -> None:
    case, other = tiny_case(steps=100), tiny_case(steps=100, evaluate_at=tuple(range(4, 17)))
    estimator = DurationEstimator([record_with(case, 6.0)])
    assert estimator.training_seconds(other) != 6.0
