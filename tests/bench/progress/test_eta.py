"""The estimated remaining time of a run, against values computed by hand and against bounds."""

from __future__ import annotations

import pytest

from bench.progress.eta import TIMING, EtaEstimator, JobKind
from tests.bench.doubles import SettableClock

LSTM: JobKind = ("training", "lstm")
RNN: JobKind = ("training", "rnn")


def test_before_any_job_the_expected_durations_are_the_estimate() -> None:
    expected: dict[JobKind, float] = {LSTM: 60.0, RNN: 40.0, TIMING: 30.0}
    assert EtaEstimator(expected, 2).remaining_seconds == pytest.approx(100 / 2 + 30)
    assert EtaEstimator(expected, 4, machines=2).remaining_seconds == pytest.approx(100 / 4 + 30 / 2)


def test_the_progress_of_running_jobs_corrects_the_estimate() -> None:
    """Check that running jobs correct the estimate, if each of four jobs takes three times as long as expected."""
    clock = SettableClock()
    eta = EtaEstimator({LSTM: 400.0}, 2, clock=clock)
    for worker in "ab":
        eta.assign(worker, LSTM, 100.0)
        eta.start(worker)
    clock.now = 150.0
    for worker in "ab":
        eta.advance(worker, 0.5)
    assert eta.remaining_seconds == pytest.approx(450.0, rel=0.1)
    clock.now = 300.0
    for worker in "ab":
        eta.finish(worker)
        eta.assign(worker, LSTM, 100.0)
    assert eta.remaining_seconds == pytest.approx(300.0, rel=0.1)


def test_startup_and_waiting_for_the_machine_do_not_count_as_slowdown() -> None:
    """Check that a wait of half a minute does not change the estimate.

    After the wait, the first job does a twentieth of its work at the expected speed.
    """
    clock = SettableClock()
    eta = EtaEstimator({LSTM: 4000.0}, 1, clock=clock)
    eta.assign("0", LSTM, 200.0)
    clock.now = 30.0
    assert eta.remaining_seconds == pytest.approx(4000.0)
    eta.start("0")
    clock.now = 40.0
    eta.advance("0", 0.05)
    assert eta.remaining_seconds == pytest.approx(3990.0)


def test_a_misjudged_architecture_corrects_the_others_by_the_square_root() -> None:
    """Check that if one architecture takes four times as long as expected, the other counts as twice as slow."""
    clock = SettableClock()
    eta = EtaEstimator({LSTM: 1e6 + 1.0, RNN: 100.0}, 1, clock=clock)
    eta.assign("0", LSTM, 1e6)
    eta.start("0")
    clock.now = 4e6
    eta.finish("0")
    assert eta.remaining_seconds == pytest.approx(4.0 + 2 * 100.0, rel=1e-3)


def test_the_first_moments_hardly_change_the_estimate() -> None:
    """Check that a first step of five times the expected duration adds less than an eighth to the estimate."""
    clock = SettableClock()
    eta = EtaEstimator({LSTM: 4000.0}, 2, clock=clock)
    for worker in "ab":
        eta.assign(worker, LSTM, 100.0)
        eta.start(worker)
    clock.now = 1.0
    for worker in "ab":
        eta.advance(worker, 0.002)
    assert 2000.0 < eta.remaining_seconds < 2250.0


def test_the_expected_work_of_a_kind_can_be_reduced() -> None:
    eta = EtaEstimator({TIMING: 30.0}, 1)
    eta.set_remaining(TIMING, 10.0)
    assert eta.remaining_seconds == 10.0


def test_the_longest_running_job_is_a_lower_bound() -> None:
    eta = EtaEstimator({LSTM: 110.0}, 10, clock=SettableClock())
    eta.assign("long", LSTM, 100.0)
    eta.assign("short", LSTM, 10.0)
    assert eta.remaining_seconds == pytest.approx(100.0)


def test_the_estimate_decreases_while_a_job_runs_and_ends_at_zero() -> None:
    clock = SettableClock()
    eta = EtaEstimator({LSTM: 50.0}, 1, clock=clock)
    eta.assign("0", LSTM, 50.0)
    eta.start("0")
    estimates = []
    for step in range(1, 10):
        clock.now = step * 7.0
        eta.advance("0", step / 10)
        estimates.append(eta.remaining_seconds)
    assert estimates == sorted(estimates, reverse=True)
    assert estimates[-1] == pytest.approx(7.0, rel=0.1)
    eta.finish("0")
    assert eta.remaining_seconds == 0.0


def test_processes_that_will_start_are_counted_until_they_have_begun() -> None:
    clock = SettableClock()
    eta = EtaEstimator(
        {LSTM: 100.0, TIMING: 10.0}, 2, starts={"training": 2, "timing": 3}, start_seconds=4.0, clock=clock
    )
    assert eta.remaining_seconds == pytest.approx(100 / 2 + 2 * 4 / 2 + 10 + 3 * 4)
    for worker in "ab":
        eta.assign(worker, LSTM, 50.0)
        eta.start(worker)
    assert eta.remaining_seconds == pytest.approx(100 / 2 + 10 + 3 * 4)
    for worker in "ab":
        eta.finish(worker)
    eta.assign("a", TIMING, 2.0)
    eta.start("a")
    assert eta.remaining_seconds == pytest.approx(10 + 2 * 4)
