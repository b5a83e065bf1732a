"""What is seen of a run: lines that hold, an estimate that uses what is known, nothing when quiet."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench._lane import Advance
from bench._pace import Pace
from bench._progress import PLAIN_EVERY_SECONDS, Progress, humanised
from tests.bench.tiny import tiny_case


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_durations_for_people() -> None:
    assert [humanised(seconds) for seconds in (-3, 8.4, 245, 7800)] == ["0 s", "8 s", "4 min 05 s", "2 h 10 min"]


def test_before_anything_is_seen_the_expectation_is_the_estimate() -> None:
    assert Pace(100.0, 30.0, 2).left_seconds == pytest.approx(100 / 2 + 30)
    assert Pace(100.0, 30.0, 4, timing_places=2).left_seconds == pytest.approx(100 / 4 + 30 / 2)


def test_jobs_under_way_count_by_what_they_have_done() -> None:
    """Four equal jobs on two lanes, three times slower than expected: known long before the first one ends."""
    clock = Clock()
    pace = Pace(400.0, 0.0, 2, clock=clock)
    for lane in "ab":
        pace.start(lane, "training", 100.0)
    clock.now = 150.0
    for lane in "ab":
        pace.advance(lane, 0.5)
    assert pace.left_seconds == pytest.approx(450.0, rel=0.05)
    clock.now = 300.0
    for lane in "ab":
        pace.finish(lane)
        pace.start(lane, "training", 100.0)
    assert pace.left_seconds == pytest.approx(300.0, rel=0.05)


def test_the_longest_running_job_bounds_the_estimate() -> None:
    clock = Clock()
    pace = Pace(110.0, 0.0, 10, clock=clock)
    pace.start("long", "training", 100.0)
    pace.start("short", "training", 10.0)
    assert pace.left_seconds == pytest.approx(100.0)


def test_the_estimate_falls_as_a_job_goes_on_and_ends_at_zero() -> None:
    clock = Clock()
    pace = Pace(50.0, 0.0, 1, clock=clock)
    pace.start("0", "training", 50.0)
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


def follow(console: Console, *, quiet: bool = False) -> None:
    """Two cases on two lanes: one ends after 30 seconds, one is half done after 40."""
    clock = Clock()
    first, second = tiny_case("rnn"), tiny_case("lstm", length=8)
    pace = Pace(120.0, 0.0, 2, clock=clock)
    with Progress(console, pace, quiet=quiet, clock=clock) as progress:
        progress.phase("training", 2)
        progress.start("0", (first,), "training", 60.0)
        progress.start("1", (second,), "training", 60.0)
        clock.now = PLAIN_EVERY_SECONDS / 2
        progress.advance(Advance("0", 1, 6, 0.25))
        clock.now = 30.0
        progress.finish("0")
        clock.now = 40.0
        for score in (0.9, 0.75):
            progress.advance(Advance("1", 200, 400, score))
        assert progress.running == ["lstm on first_last at 8, seed 0"]
        if console.is_terminal and not quiet:
            console.print(progress._view())


def test_plain_lines_count_done_running_and_left() -> None:
    console = Console(file=io.StringIO(), width=60)
    follow(console)
    # At 30 s one of 60 has ended in 30: the other is expected to take 60 x (30 + 5) / (60 + 5) = 32.3.
    # At 40 s it is half done, which says 80; the others say 60 x (70 + 5) / (90 + 5) = 47.4; half of the mean is left.
    assert shown(console).splitlines() == [
        "training: 1 of 2 cases done, 1 running, 0 left, 2.0 a minute; 30 s so far, about 2 s to go",
        "training: 1 of 2 cases done, 1 running, 0 left, 1.5 a minute; 40 s so far, about 32 s to go",
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
        follow(console, quiet=True)
        assert shown(console) == ""


def test_waiting_for_another_run_is_said_once() -> None:
    console = Console(file=io.StringIO(), width=60)
    with Progress(console, Pace(1.0, 1.0, 2), quiet=False) as progress:
        progress.phase("training", 2)
        for lane in "01":
            progress.start(lane, (tiny_case(),), "training", 1.0)
            progress.wait(lane, "training")
    assert shown(console) == "waiting for the timings of another run on this machine to end\n"
