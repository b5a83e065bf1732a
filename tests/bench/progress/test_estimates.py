"""Tests of expected durations.

They are medians of similar records, or are derived from the amount of work. Derived training times are corrected by the
measured-to-derived ratio of earlier records.
"""

from __future__ import annotations

import pytest

from bench.machine.lock import Work
from bench.progress.estimates import SECONDS_PER_START, SECONDS_PER_TIMED_CASE, DurationEstimator
from bench.progress.work import work_of
from results import Case, ProbeRun, Record, Span, Training
from tests.bench.tiny import tiny_case

LONG = 1_000_000
"""Steps of a long training."""


def record_with(case: Case, seconds: float, *, share: float = 1.0, timing: float = 0.0, repetitions: int = 1) -> Record:
    assert case.protocol.steps is not None
    training = Training(
        steps=round(case.protocol.steps * share),
        sequences=1,
        seconds=seconds,
        stopped="budget",
        threads=1,
        flushes_denormals=True,
        curve=(),
    )
    probes = {"streaming": ProbeRun(status="ok", seconds=timing)} if timing else {}
    return Record.model_validate(
        {
            "key": case.key,
            "case": case,
            "status": "ok",
            "training": training,
            "probes": probes,
            "repetitions": repetitions,
        }
    )


def test_a_case_is_expected_to_take_the_median_of_similar_records() -> None:
    history = [record_with(tiny_case(seed=seed), seconds) for seed, seconds in enumerate((3.0, 90.0, 4.0))]
    assert DurationEstimator(history).training_seconds(tiny_case(seed=7)) == 4.0


def test_without_records_the_duration_is_proportional_to_the_length() -> None:
    short, long = (DurationEstimator().training_seconds(tiny_case(length=length)) for length in (16, 160))
    assert long == pytest.approx(10 * short)


def test_durations_by_work_are_corrected_by_earlier_errors() -> None:
    """Check the correction factor of three architectures.

    The factor is the median of the records of the same architecture: 7 for lstm and 2.5 for rnn. There is no record of
    gru, so its factor is the median of all records, 3. The records have no tests, so the factors are those of training.
    The trainings are so long that `PRIOR_SECONDS` hardly count.
    """
    lstm, rnn = tiny_case("lstm", steps=LONG), tiny_case("rnn", steps=LONG)
    factors = ((lstm, 7), (rnn, 2), (rnn, 3))
    history = [record_with(case, factor * work_of(case).training) for case, factor in factors]
    expected = DurationEstimator(history).training_seconds
    for name, factor in (("lstm:forget_bias=1", 7.0), ("rnn", 2.5), ("gru", 3.0)):
        other = tiny_case(name, length=64, steps=100)
        assert expected(other) == pytest.approx(factor * work_of(other).total, rel=0.05)


def test_a_short_training_says_little_about_a_long_one() -> None:
    short, long = tiny_case(steps=3), tiny_case(steps=LONG)
    assert work_of(short).total < 0.01 < 100 < work_of(long).total
    estimator = DurationEstimator([record_with(short, 1.5)])
    assert estimator.training_seconds(long) == pytest.approx(1.5 * work_of(long).total, rel=0.05)


def test_training_that_stopped_early_counts_by_its_steps() -> None:
    early, other = tiny_case(steps=LONG), tiny_case(length=8, steps=100)
    estimator = DurationEstimator([record_with(early, work_of(early).training, share=0.25)])
    assert estimator.training_seconds(other) == pytest.approx(4 * work_of(other).total, rel=0.05)


def test_timing_seconds_are_per_process() -> None:
    case = tiny_case()
    history = [record_with(case, 1.0, timing=6.0, repetitions=3)]
    assert DurationEstimator(history).timing_seconds(case, ("streaming",)) == 2.0
    assert DurationEstimator().timing_seconds(case, ("streaming",)) == SECONDS_PER_TIMED_CASE
    assert DurationEstimator(history).timing_seconds(case, ("accuracy",)) == 0.0


@pytest.mark.parametrize(
    ("kind", "amount"), [("params", 10_000), ("width", 64), ("state", 4096), ("step_flops", 20_000)]
)
def test_the_work_of_an_architecture_that_is_not_installed_follows_from_its_budget(kind: str, amount: int) -> None:
    small, large = (
        tiny_case("gone", steps=1_000, batch=1_000).model_copy(update={"width": None, kind: budget})
        for budget in (amount, 100 * amount)
    )
    seconds = DurationEstimator().training_seconds
    assert seconds(large) > 10 * seconds(small) > 0


def with_spans(record: Record, *spans: Span) -> Record:
    return record.model_copy(update={"spans": spans})


def span(work: Work, began: float, ended: float) -> Span:
    return Span(work=work, worker="0", began=began, ended=ended)


def test_a_start_takes_as_long_as_the_gap_between_training_and_timing_in_earlier_runs() -> None:
    assert DurationEstimator().start_seconds == SECONDS_PER_START
    first = with_spans(record_with(tiny_case(), 3.0), span("training", 100.0, 110.0), span("timing", 118.0, 119.0))
    parallel = with_spans(record_with(tiny_case(seed=1), 3.0), span("training", 101.0, 113.0))
    assert DurationEstimator([first, parallel]).start_seconds == 5.0


def test_a_run_that_waited_between_training_and_timing_says_nothing_about_a_start() -> None:
    waited = with_spans(record_with(tiny_case(), 3.0), span("training", 100.0, 110.0), span("timing", 910.0, 911.0))
    assert DurationEstimator([waited]).start_seconds == SECONDS_PER_START
