"""What cases are expected to take: as those before them, else by their work and by what such guesses were off by."""

from __future__ import annotations

import pytest

from bench.progress.estimates import SECONDS_PER_TIMED_CASE, DurationEstimator
from results import Case, ProbeRun, Record, Training
from tests.bench.tiny import tiny_case


def taking(case: Case, seconds: float, *, share: float = 1.0, timing: float = 0.0, repetitions: int = 1) -> Record:
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


def test_a_case_takes_what_its_like_took() -> None:
    history = [taking(tiny_case(seed=seed), seconds) for seed, seconds in enumerate((3.0, 90.0, 4.0))]
    assert DurationEstimator(history).training_seconds(tiny_case(seed=7)) == 4.0


def test_longer_sequences_take_longer_in_proportion() -> None:
    short, long = (DurationEstimator().training_seconds(tiny_case(length=length)) for length in (16, 160))
    assert long == pytest.approx(10 * short)


def test_a_guess_is_corrected_by_what_guesses_were_off_by() -> None:
    """An lstm that took 7 times as long as guessed makes other lstms 7 times as long, and 3 times what is neither."""
    guess = DurationEstimator().training_seconds
    lstm, rnn = tiny_case("lstm", steps=100), tiny_case("rnn", steps=100)
    history = [taking(lstm, 7 * guess(lstm)), taking(rnn, 2 * guess(rnn)), taking(rnn, 3 * guess(rnn))]
    expect = DurationEstimator(history).training_seconds
    for name, factor in (("lstm:forget_bias=1", 7.0), ("rnn", 2.5), ("gru", 3.0)):
        other = tiny_case(name, length=64, steps=100)
        assert expect(other) == pytest.approx(factor * guess(other))


def test_training_that_stopped_early_tells_of_its_steps() -> None:
    guess = DurationEstimator().training_seconds
    early, other = tiny_case(steps=100), tiny_case(length=8, steps=100)
    assert DurationEstimator([taking(early, guess(early), share=0.25)]).training_seconds(other) == pytest.approx(
        4 * guess(other)
    )


def test_timings_are_expected_for_each_process() -> None:
    case = tiny_case()
    history = [taking(case, 1.0, timing=6.0, repetitions=3)]
    assert DurationEstimator(history).timing_seconds(case, ("streaming",)) == 2.0
    assert DurationEstimator().timing_seconds(case, ("streaming",)) == SECONDS_PER_TIMED_CASE
    assert DurationEstimator(history).timing_seconds(case, ("accuracy",)) == 0.0
