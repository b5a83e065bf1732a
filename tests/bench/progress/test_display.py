"""What is seen of a run: lines that hold, an estimate that uses what is known, nothing when quiet."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench.executors.jobs import JobProgress, JobStarted
from bench.progress.display import LONG_WAIT_SECONDS, PLAIN_EVERY_SECONDS, Progress, humanised
from bench.progress.eta import EtaEstimator, Sort
from bench.runner.pending import TIMINGS
from tests.bench.tiny import tiny_case

LSTM: Sort = ("training", "lstm")
RNN: Sort = ("training", "rnn")
WAITS = "waiting for the timings of another run on this machine to end\n"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_durations_for_people() -> None:
    assert [humanised(seconds) for seconds in (-3, 8.4, 245, 7800)] == ["0 s", "8 s", "4 min 05 s", "2 h 10 min"]


def test_before_anything_is_seen_the_expectation_is_the_estimate() -> None:
    expected: dict[Sort, float] = {LSTM: 60.0, RNN: 40.0, TIMINGS: 30.0}
    assert EtaEstimator(expected, 2).left_seconds == pytest.approx(100 / 2 + 30)
    assert EtaEstimator(expected, 4, timing_places=2).left_seconds == pytest.approx(100 / 4 + 30 / 2)


def test_jobs_under_way_count_by_what_they_have_done() -> None:
    """Four equal jobs on two lanes, three times slower than expected: known long before the first one ends."""
    clock = Clock()
    pace = EtaEstimator({LSTM: 400.0}, 2, clock=clock)
    for worker in "ab":
        pace.start(worker, LSTM, 100.0)
        pace.begin(worker)
    clock.now = 150.0
    for worker in "ab":
        pace.advance(worker, 0.5)
    assert pace.left_seconds == pytest.approx(450.0, rel=0.1)
    clock.now = 300.0
    for worker in "ab":
        pace.finish(worker)
        pace.start(worker, LSTM, 100.0)
    assert pace.left_seconds == pytest.approx(300.0, rel=0.1)


def test_the_start_of_a_lane_and_a_wait_for_the_machine_say_nothing_of_the_pace() -> None:
    """Half a minute until the first job is taken up, then a twentieth of it at the expected pace."""
    clock = Clock()
    pace = EtaEstimator({LSTM: 4000.0}, 1, clock=clock)
    pace.start("0", LSTM, 200.0)
    clock.now = 30.0
    assert pace.left_seconds == pytest.approx(4000.0)
    pace.begin("0")
    clock.now = 40.0
    pace.advance("0", 0.05)
    assert pace.left_seconds == pytest.approx(3990.0)


def test_a_misjudged_architecture_moves_its_own_estimate_and_that_of_the_others_by_half() -> None:
    """Four times slower than expected, for long enough to be believed: the other is taken for twice as slow."""
    clock = Clock()
    pace = EtaEstimator({LSTM: 1e6 + 1.0, RNN: 100.0}, 1, clock=clock)
    pace.start("0", LSTM, 1e6)
    pace.begin("0")
    clock.now = 4e6
    pace.finish("0")
    assert pace.left_seconds == pytest.approx(4.0 + 2 * 100.0, rel=1e-3)


def test_the_first_moments_hardly_move_the_estimate() -> None:
    """A slow first step, five times what was expected, as caches are cold: no eighth more is expected of the run."""
    clock = Clock()
    pace = EtaEstimator({LSTM: 4000.0}, 2, clock=clock)
    for worker in "ab":
        pace.start(worker, LSTM, 100.0)
        pace.begin(worker)
    clock.now = 1.0
    for worker in "ab":
        pace.advance(worker, 0.002)
    assert 2000.0 < pace.left_seconds < 2250.0


def test_what_need_not_be_done_any_more_is_not_waited_for() -> None:
    pace = EtaEstimator({TIMINGS: 30.0}, 1)
    pace.expect(TIMINGS, 10.0)
    assert pace.left_seconds == 10.0


def test_the_longest_running_job_bounds_the_estimate() -> None:
    clock = Clock()
    pace = EtaEstimator({LSTM: 110.0}, 10, clock=clock)
    pace.start("long", LSTM, 100.0)
    pace.start("short", LSTM, 10.0)
    assert pace.left_seconds == pytest.approx(100.0)


def test_the_estimate_falls_as_a_job_goes_on_and_ends_at_zero() -> None:
    clock = Clock()
    pace = EtaEstimator({LSTM: 50.0}, 1, clock=clock)
    pace.start("0", LSTM, 50.0)
    pace.begin("0")
    seen = []
    for step in range(1, 10):
        clock.now = step * 7.0
        pace.advance("0", step / 10)
        seen.append(pace.left_seconds)
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == pytest.approx(7.0, rel=0.1)
    pace.finish("0")
    assert pace.left_seconds == 0.0


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def follow(console: Console, *, quiet: bool = False, errors: Console | None = None) -> None:
    """Two cases on two lanes: one ends after 30 seconds, one is half done after 40."""
    clock = Clock()
    first, second = tiny_case("rnn"), tiny_case("lstm", length=8)
    pace = EtaEstimator({RNN: 60.0, LSTM: 60.0}, 2, clock=clock)
    with Progress(console, pace, quiet=quiet, errors=errors, clock=clock) as progress:
        progress.phase("training", 2)
        for worker, case, sort in (("0", first, RNN), ("1", second, LSTM)):
            progress.start(worker, (case,), sort, 60.0)
            progress.begin(JobStarted(worker, 40.2))
        clock.now = PLAIN_EVERY_SECONDS / 2
        progress.advance(JobProgress("0", 1, 6, 0.25))
        clock.now = 30.0
        progress.finish("0")
        clock.now = 40.0
        for score in (0.9, 0.75):
            progress.advance(JobProgress("1", 200, 400, score))
        assert progress.running == ["lstm on first_last at 8, seed 0"]
        if console.is_terminal and not quiet:
            console.print(progress._view())


def test_plain_lines_count_done_running_and_left() -> None:
    console = Console(file=io.StringIO(), width=60)
    follow(console)
    # At 30 s one of 60 has ended in 30, trusted by 60 / (60 + 20): the common pace is exp(0.75 ln(0.5) / 1.75) = 0.743.
    # The other is expected to take 60 x 0.743 = 44.6, of which 30 are over.
    # At 40 s it is half done, which says 80. What lstms do is trusted by 0.6: 40 seconds for 30 are a pace of 1.333, so
    # the common pace is exp((0.75 ln(0.5) + 0.6 ln(1.333)) / 2.35) = 0.863 and theirs (40 + 20 x 0.863) / 50 = 1.145;
    # 60 x 1.145 = 68.7, and half of the mean of that and 80 is left.
    assert shown(console).splitlines() == [
        "kernels compiled in 40 s, once per machine",
        "training: 1 of 2 cases done, 1 running, 0 left, 2.0 a minute; 30 s so far, about 15 s to go",
        "training: 1 of 2 cases done, 1 running, 0 left, 1.5 a minute; 40 s so far, about 37 s to go",
    ]


def test_a_terminal_shows_what_each_lane_does_for_how_long_and_how_fast() -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    follow(console)
    text = shown(console)
    assert "lstm on first_last at 8, seed 0 40 s 5 steps/s score 0.750" in text
    assert "lstm on first_last best 0.900, latest 0.750" in text
    assert "rnn on first_last  best 0.250, latest 0.250" in text


def test_quiet_is_silent() -> None:
    for console in (
        Console(file=io.StringIO(), force_terminal=True),
        Console(file=io.StringIO(), force_terminal=False),
    ):
        errors = Console(file=io.StringIO())
        follow(console, quiet=True, errors=errors)
        assert shown(console) == shown(errors) == ""


def test_waiting_for_another_run_is_said_once() -> None:
    console = Console(file=io.StringIO(), width=60)
    with Progress(console, EtaEstimator({RNN: 1.0}, 2), quiet=False) as progress:
        progress.phase("training", 2)
        for worker in "01":
            progress.start(worker, (tiny_case(),), RNN, 1.0)
            progress.wait(worker, "training")
    assert shown(console) == WAITS


def test_a_quiet_run_says_what_it_waits_for_once_and_only_where_that_takes_long() -> None:
    console, errors, clock = Console(file=io.StringIO()), Console(file=io.StringIO(), width=60), Clock()
    with Progress(console, EtaEstimator({RNN: 1.0}, 1), quiet=True, errors=errors, clock=clock) as progress:
        for began in (0.0, 100.0):  # two short waits do not add up
            clock.now = began
            progress.start("0", (tiny_case(),), RNN, 1.0)
            progress.wait("0", "training")
            clock.now = began + LONG_WAIT_SECONDS - 1
            progress.wait("0", "training")
            progress.begin(JobStarted("0"))
            progress.finish("0")
        assert shown(errors) == ""
        progress.start("0", (tiny_case(),), RNN, 1.0)
        progress.wait("0", "training")
        for _ in range(2):
            clock.now += LONG_WAIT_SECONDS
            progress.wait("0", "training")
    assert shown(errors) == WAITS
    assert shown(console) == ""


def test_kernels_that_were_there_are_not_spoken_of() -> None:
    console = Console(file=io.StringIO())
    with Progress(console, EtaEstimator({RNN: 1.0}, 1), quiet=False) as progress:
        progress.phase("training", 1)
        progress.start("0", (tiny_case(),), RNN, 1.0)
        progress.begin(JobStarted("0", 0.0))
    assert shown(console) == ""
