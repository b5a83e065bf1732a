"""Tests of steps that are timed in compiled code. Doubles of `stream` write clock readings, so results are exact."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

import arch
from bench.plans.plan import Timing
from bench.probes import deadline, streaming
from bench.probes.deadline import measure_deadline
from bench.probes.difference_timing import difference_timer
from bench.probes.loop_timing import LoopTimer, loop_timer
from bench.probes.subject import Subject
from bench.probes.timed_stream import TimedStream, open_stream
from results import Measurement
from tests.bench.doubles import LOADED_BLOCK, CountingClock, loaded_machine
from tests.bench.tiny import subject

EXACT = 1e-9
"""Relative tolerance for a few float64 operations."""
READING_SECONDS = 25e-9


class Loop:
    """A double of a model's `stream`. Step i of a call takes `first[i]` nanoseconds, and later steps `later`."""

    def __init__(self, one: Subject, *, first: tuple[int, ...] = (9000, 8000, 7500, 7100), later: int = 7000) -> None:
        self.first, self.later = first, later
        self.calls: list[tuple[torch.Tensor, Any, int | None]] = []
        self.model = one.model
        one.model.stream = self  # type: ignore[method-assign, assignment]

    def __call__(self, x: torch.Tensor, state: Any, times: torch.Tensor | None = None) -> tuple[torch.Tensor, Any]:
        T = x.shape[1]
        self.calls.append((x, state, None if times is None else len(times) - 1))
        if times is not None:
            durations = [*self.first, *[self.later] * T][:T]
            readings = torch.tensor([0, *durations]).cumsum(0)
            times.copy_(readings[:: T // (len(times) - 1)])
        return torch.zeros(len(x), T, 1), state


def measured(one: Subject, reading_seconds: float | None = READING_SECONDS, **timing: Any) -> list[Measurement]:
    settings = Timing(**{"positions": (16,), "steps": 10, "blocks": 1, "streams": (), "chunks": ()} | timing)
    return streaming.measure(
        [one], settings, random.Random(0), CountingClock(7_000), loaded_machine(), lambda: reading_seconds
    )[one.case.key]


def values(measurements: list[Measurement], metric: str) -> list[tuple[dict[str, int], tuple[float, ...]]]:
    return [(one.at, one.samples) for one in measurements if one.metric == metric]


def opened(one: Subject, position: int) -> TimedStream:
    with torch.inference_mode():
        return open_stream(one, position, 1)


def timer_of(one: Subject, position: int) -> LoopTimer:
    return loop_timer(opened(one, position), READING_SECONDS)


def test_samples_are_single_steps_after_the_slow_ones() -> None:
    one = subject()
    loop = Loop(one)
    measurements = measured(one, positions=(1, 16), steps=60, blocks=2)
    steps = [each for each in measurements if each.metric == "step_seconds"]
    assert [each.at for each in steps] == [{"position": 1}, {"position": 16}]
    assert [each.samples for each in steps] == [pytest.approx([7e-06] * 60, rel=EXACT)] * 2
    assert [each.blocks for each in steps] == [(LOADED_BLOCK,) * 2] * 2
    assert values(measurements, "steps_per_reading") == [({"position": 1}, (1.0,)), ({"position": 16}, (1.0,))]
    # Four untimed and four timed steps, after the trials of 64 steps.
    assert {(x.shape[1], readings) for x, _, readings in loop.calls} == {(8, 8), (4 + 64, 4 + 64)}


def test_calls_from_python_are_timed_beside_with_fewer_samples() -> None:
    one = subject()
    Loop(one)
    for steps, calls in ((10, 10), (100, 50), (1000, 200)):
        ((at, samples),) = values(measured(one, steps=steps), "call_step_seconds")
        assert (at, samples) == ({"position": 16}, (7e-06,) * calls)


def test_bursts_start_from_copies_of_the_state_of_the_position() -> None:
    one = subject("lstm", length=6)
    timed, loop = opened(one, 16), Loop(one)
    timer = loop_timer(timed, READING_SECONDS)
    loop.calls.clear()
    timer.time(20)
    expected = one.test_inputs(1, 6)[:, torch.arange(8) % 6]
    memory = {leaf.data_ptr() for leaf in tree_leaves(timed.state)}
    assert len(loop.calls) == 5
    for x, state, _ in loop.calls:
        assert torch.equal(x, expected)
        assert not memory & {leaf.data_ptr() for leaf in tree_leaves(state)}
        assert all(torch.equal(a, b) for a, b in zip(tree_leaves(state), tree_leaves(timed.state), strict=True))


@pytest.mark.parametrize(
    ("position", "nanoseconds", "every"),
    [(16, 250, 1), (16, 249, 2), (1024, 60, 5), (1024, 1, 64), (1024, 0, 64), (16, 10, 4)],
)
def test_steps_shorter_than_ten_readings_are_timed_together(position: int, nanoseconds: int, every: int) -> None:
    one = subject()
    loop = Loop(one, first=(), later=nanoseconds)
    measurements = measured(one, positions=(position,), steps=128)
    assert values(measurements, "steps_per_reading") == [({"position": position}, (float(every),))]
    ((_, samples),) = values(measurements, "step_seconds")
    assert samples == pytest.approx([nanoseconds * 1e-9] * 128, rel=EXACT)
    x, _, readings = loop.calls[-1]
    assert readings is not None and x.shape[1] == every * readings


@pytest.mark.parametrize(("nanoseconds", "untimed"), [(7000, 4), (900, 6), (260, 20)])
def test_short_steps_warm_up_for_some_microseconds(nanoseconds: int, untimed: int) -> None:
    """Check that the first steps, which take twice as long, are not timed."""
    one = subject()
    loop = Loop(one, first=(2 * nanoseconds,) * untimed, later=nanoseconds)
    timer = timer_of(one, 16)
    loop.calls.clear()
    assert (timer.untimed, set(timer.time(8))) == (untimed, {nanoseconds / 1e9})
    assert {x.shape[1] for x, *_ in loop.calls} == {untimed + 4}


def test_warm_up_has_a_maximum_of_steps() -> None:
    one = subject()
    Loop(one, first=(), later=40)
    assert timer_of(one, 16).untimed == 64


def test_warm_up_ends_within_the_maximum_length() -> None:
    one = subject("transformer:positions=learned,max_length=1098")
    loop = Loop(one, first=(), later=100)
    timer = timer_of(one, 1024)
    assert timer.untimed == 1098 - 1024 - 64
    assert max(x.shape[1] for x, *_ in loop.calls) == 4 + 64


@pytest.mark.parametrize("spec", ["transformer:heads=1", "transformer:heads=2,window=8"])
@pytest.mark.parametrize("position", [1, 8, 16, 32, 128, 500, 1024])
@pytest.mark.parametrize("nanoseconds", [3, 40, 250, 7000])
def test_steps_whose_cost_may_depend_on_the_position_stay_near_it(spec: str, position: int, nanoseconds: int) -> None:
    """Check the bound that docs/method.md states, for fast and slow steps."""
    one = subject(spec)
    timed, loop = opened(one, position), Loop(one, first=(), later=nanoseconds)
    timers = [loop_timer(timed, READING_SECONDS), difference_timer(timed, CountingClock(tick=1))]
    loop.calls.clear()
    for timer in timers:
        timer.time(20)
    assert max(x.shape[1] for x, *_ in loop.calls) <= max(8, position // 8 + 4)


def test_interpreted_models_have_only_calls_from_python() -> None:
    timing: dict[str, Any] = {"streams": (1, 8), "streams_position": 16, "deadline_seconds": 1e-6}
    names = {
        backend: {each.metric for each in measured(subject(f"gru:backend={backend}"), **timing)}
        for backend in ("fused", "reference")
    }
    loop = {"step_seconds", "stream_step_seconds", "steps_per_reading", "workspace_bytes", "loop_clock_seconds"}
    loop |= {"packed_weight_bytes", "late_share", "worst_step_seconds", "deadline_steps"}
    assert names["fused"] - names["reference"] == loop
    assert names["reference"] - names["fused"] == {"call_stream_step_seconds"}
    assert "call_step_seconds" in names["fused"] & names["reference"]


def test_streams_are_timed_in_compiled_code_up_to_the_limit_of_the_kernel() -> None:
    measurements = measured(subject(), streams=(1, 8, 65), streams_position=16)
    assert [at for at, _ in values(measurements, "stream_step_seconds")] == [
        {"position": 16, "streams": 1},
        {"position": 16, "streams": 8},
    ]
    assert [at for at, _ in values(measurements, "call_stream_step_seconds")] == [{"position": 16, "streams": 65}]
    (single,) = (samples for at, samples in values(measurements, "stream_step_seconds") if at["streams"] == 1)
    assert values(measurements, "step_seconds") == [({"position": 16}, single)]


@pytest.mark.parametrize("name", arch.names())
def test_compiled_steps_take_some_time(name: str) -> None:
    measurements = measured(subject(name), steps=100)
    ((_, samples),) = values(measurements, "step_seconds")
    assert len(samples) > 1 and all(sample > 0 for sample in samples)


def test_sizes_equal_values_computed_by_hand() -> None:
    """Check an LSTM of two layers of four units, with one real as input and two outputs."""
    measurements = measured(subject("lstm"))
    inputs, width, outputs = 1, 4, 2
    recurrent = 4 * width * (inputs + width + 1) + 4 * width * (2 * width + 1)
    expected = recurrent + outputs * (width + 1)
    assert values(measurements, "weight_bytes") == [({}, (4.0 * expected,))]
    assert values(measurements, "workspace_bytes") == [({"position": 16}, (4.0 * 2 * width,))]
    ((_, (packed,)),) = values(measurements, "packed_weight_bytes")
    with torch.inference_mode():
        model, x = subject("lstm").model.eval(), torch.zeros(1, 40, inputs)
        model.stream(x, model.init_state(1))
        program = model._stepper._program
    assert program is not None
    assert packed == 4.0 * sum(buffer.numel() for buffers in program.packed for buffer in buffers) > 0


def test_late_steps_and_the_worst_one_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check three bursts of four steps, and a last burst of two."""
    one = subject()
    Loop(one, first=(1, 1, 1, 99_000, 3_000, 5_001, 5_000, 7_000))
    monkeypatch.setattr(deadline, "MAX_STEPS", 14)
    monkeypatch.setattr(deadline, "BURST_STEPS", 4)
    share, worst, steps = measure_deadline(timer_of(one, 16), 5e-6)
    names = [each.metric for each in (share, worst, steps)]
    assert names == ["late_share", "worst_step_seconds", "deadline_steps"]
    assert [each.at for each in (share, worst, steps)] == [{"position": 16, "deadline_ns": 5000}] * 3
    assert steps.samples == (14.0,)
    assert share.samples == pytest.approx((7 / 14,), rel=EXACT)
    assert worst.samples == pytest.approx((7e-6,), rel=EXACT)


def test_a_deadline_test_ends_after_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "BURST_STEPS", 4)
    one, now = subject(), iter([0.0, 9.9, 10.1, 10.2])
    Loop(one)
    steps = measure_deadline(timer_of(one, 16), 5e-6, lambda: next(now))[-1]
    assert steps.samples == (8.0,)


@pytest.mark.parametrize("nanoseconds", [1, 3, 10, 50_000, 64_001])
def test_a_step_as_long_as_the_deadline_is_not_late(nanoseconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the last nanosecond, for which a comparison of seconds may round either way."""
    monkeypatch.setattr(deadline, "MAX_STEPS", 8)
    one = subject()
    Loop(one, first=(), later=nanoseconds)
    timer = timer_of(one, 16)
    shares = [measure_deadline(timer, each / 1e9)[0].samples for each in (nanoseconds, max(1, nanoseconds) - 0.6)]
    assert shares == [(0.0,), (1.0,)]
