"""Tests of compiled steps that are timed without a clock in compiled code, by differences between calls."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import arch
from arch.core.compiled.program import Program
from bench.executors.jobs import TimeJob, TrainJob
from bench.executors.timing_job import run_timing_job
from bench.executors.training_job import run_training_job
from bench.plans.plan import Timing
from bench.probes import difference_timing, streaming
from bench.probes.difference_timing import MAX_PAIRS, difference_timer
from bench.probes.subject import Subject
from bench.probes.timed_stream import open_stream
from results import Measurement
from tests.bench.doubles import CountingClock, loaded_machine
from tests.bench.tiny import TIMING, subject, tiny_case

EXACT = 1e-9
"""Relative tolerance for a few float64 operations."""
CALL_NANOSECONDS = 50_000


def plant(one: Subject, clock: CountingClock, nanoseconds: Callable[[int], int]) -> list[int]:
    """Make `stream` take so many nanoseconds for its number of steps. Return the list of numbers of steps."""
    calls: list[int] = []

    def stream(x: torch.Tensor, state: Any, times: torch.Tensor | None = None) -> tuple[torch.Tensor, Any]:
        calls.append(x.shape[1])
        clock.now += nanoseconds(x.shape[1])
        return x, state

    one.model.stream = stream  # type: ignore[method-assign, assignment]
    return calls


def measured(one: Subject, clock: CountingClock, **timing: Any) -> list[Measurement]:
    settings = Timing(**{"positions": (80,), "steps": 50, "blocks": 2, "streams": (), "chunks": ()} | timing)
    (measurements,) = streaming.measure(
        [one], settings, random.Random(0), clock, loaded_machine(), lambda: None
    ).values()
    return measurements


def values(measurements: list[Measurement], metric: str) -> list[tuple[dict[str, int], tuple[float, ...]]]:
    return [(one.at, one.samples) for one in measurements if one.metric == metric]


@pytest.mark.parametrize(
    ("spec", "calls", "spanned"),
    [("rnn", [32, 32 + 67], 9 * 67), ("transformer:heads=1", [4, 4 + 10], 9 * 10)],
)
def test_the_difference_between_long_and_short_calls_is_the_sample(spec: str, calls: list[int], spanned: int) -> None:
    one, clock = subject(spec), CountingClock(tick=0)
    lengths = plant(one, clock, lambda steps: CALL_NANOSECONDS + 3_000 * steps)
    measurements = measured(one, clock, deadline_seconds=1e-6)
    assert values(measurements, "step_seconds") == [({"position": 80}, pytest.approx((3e-06, 3e-06), rel=EXACT))]
    assert values(measurements, "steps_per_reading") == [({"position": 80}, (float(spanned),))]
    assert lengths[-2 * 9 * 2 :] == calls * 9 * 2  # after the trial, which finds that 67 steps take 0.2 ms
    assert not {one.metric for one in measurements} & {"loop_clock_seconds", "late_share"}


def test_disturbed_calls_do_not_change_the_sample() -> None:
    """Disturb every seventh call by 10 ms, so that some differences are far too long and some negative."""
    one, clock = subject(), CountingClock(tick=0)
    count = iter(range(1_000_000))
    plant(one, clock, lambda steps: CALL_NANOSECONDS + 100 * steps + (10_000_000 if next(count) % 7 == 6 else 0))
    ((_, samples),) = values(measured(one, clock), "step_seconds")
    assert samples == pytest.approx((1e-07, 1e-07), rel=EXACT)


def noise(unclear: int) -> Iterator[int]:
    """Yield additional nanoseconds of successive calls. So many of the first pairs of calls seem to take no time."""
    for pair in range(1_000_000):
        yield 10_000 if pair < unclear else 0
        yield 0


def test_more_pairs_are_timed_until_the_longer_calls_clearly_take_longer() -> None:
    one, clock, extra = subject(), CountingClock(tick=0), noise(unclear=4)
    with torch.inference_mode():
        timer = difference_timer(open_stream(one, 16, 1), clock)
    calls = plant(one, clock, lambda steps: CALL_NANOSECONDS + 10 * steps + next(extra))
    assert timer.time(1) == [pytest.approx(1e-8, rel=EXACT)]
    assert len(calls) == 2 * 18


@pytest.mark.parametrize("per_step", [0, -10])
def test_calls_that_take_no_longer_give_no_sample(per_step: int) -> None:
    one, clock = subject(), CountingClock(tick=0)
    calls = plant(one, clock, lambda steps: CALL_NANOSECONDS + per_step * steps)
    settings: dict[str, Any] = {"positions": (16,), "streams": (1, 8), "streams_position": 16}
    measurements = measured(one, clock, **settings)
    assert not {each.metric for each in measurements} & {"step_seconds", "stream_step_seconds"}
    assert values(measurements, "call_step_seconds")
    assert len(calls) == 2 * 2 * 3 * MAX_PAIRS  # two calls per pair, two numbers of streams, a trial and two blocks
    reason = streaming.limitation(one, Timing(**settings), measurements)
    assert reason is not None
    assert reason.endswith("no compiled step was timed at position 16; position 16, streams 8")


@pytest.mark.parametrize("name", arch.names())
def test_both_calls_run_packed_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = subject(name)
    monkeypatch.setattr(difference_timing, "MAX_PAIRS", 2)  # with this clock, no call ever takes longer
    with torch.inference_mode():
        timer = difference_timer(open_stream(one, 16, 1), CountingClock())
        packing: list[bool] = []
        original = Program.stream

        def stream(self: Program, *arguments: Any) -> Any:
            result = original(self, *arguments)
            packing.append(self.is_packing)
            return result

        monkeypatch.setattr(Program, "stream", stream)
        timer.time(1)
    assert packing and all(packing)


@pytest.mark.parametrize(
    ("spec", "reading_seconds", "reason"),
    [
        ("gru", None, "no deadline was tested: compiled code cannot read the clock on this machine"),
        ("gru:backend=reference", 25e-9, "no deadline was tested: the step is interpreted, and only compiled steps"),
        ("gru", 25e-9, None),
    ],
)
def test_the_record_says_why_a_deadline_was_not_tested(
    spec: str, reading_seconds: float | None, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.probes.deadline.MAX_STEPS", 10)
    original = streaming.measure
    monkeypatch.setattr(
        streaming, "measure", lambda *arguments: original(*arguments, reading_seconds=lambda: reading_seconds)
    )
    case = tiny_case(spec)
    weights = run_training_job(TrainJob(case=case), lambda done, total, score: None).weights
    timing = TIMING.model_copy(update={"deadline_seconds": 50e-6, "streams": (1,)})
    job = TimeJob(cases=(case,), weights=(weights,), probes=("latency", "streaming"), timing=timing)
    (timed,) = run_timing_job(job).values()
    assert {ran.status for ran in timed.probes.values()} == {"ok"}
    assert timed.probes["latency"].reason is None
    said = timed.probes["streaming"].reason
    assert said is reason or (said is not None and reason is not None and said.startswith(reason))
