"""Timing of steps in a loop of compiled code, which reads the clock itself.

The clock is read after each step, so that every sample is a single step. If a step is shorter than ten readings, the
clock is read after several steps, and a sample is their mean. If compiled code cannot read the clock, whole calls are
timed from Python. The difference between calls of many and of few steps is then the time of the additional steps.
"""

# Shape suffixes: R clock readings

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

import torch

import arch
from bench.machine.timer import Clock
from bench.probes.timed_stream import WARM_UP_STEPS, TimedStream, without_garbage_collection

MIN_READINGS_PER_SAMPLE = 10
"""Smallest duration of a sample, in durations of a clock reading."""
TRIAL_BURSTS = 8
"""Number of untimed bursts that decide how many steps a sample spans."""


@dataclass(frozen=True, slots=True)
class LoopTimer:
    """Timer of one batch of streams with a compiled step."""

    timed: TimedStream
    every: int
    """Number of steps per clock reading, at least `WARM_UP_STEPS` if it exceeds 1. 0 if compiled code cannot read the
    clock."""
    clock: Clock
    """A monotonic clock that returns nanoseconds. It is used only if `every` is 0."""

    def time(self, count: int) -> list[float]:
        """Take `count` samples near the stream's position, in seconds per step.

        If compiled code cannot read the clock, take one sample that spans at least `count` steps.
        """
        with without_garbage_collection():
            if self.every == 0:
                return [self._mean_seconds(count)]
            samples: list[float] = []
            while len(samples) < count:
                samples += burst(self.timed, self.every)[: count - len(samples)]
            return samples

    def steps_per_sample(self, count: int) -> int:
        """Return the number of steps whose mean is one sample, if `time` is called with `count`."""
        return self.every or self._bursts(count) * self.timed.burst_steps

    def _mean_seconds(self, steps: int) -> float:
        """Return the mean seconds of the steps after the first `WARM_UP_STEPS` of each call."""
        nanoseconds, bursts = 0, self._bursts(steps)
        for _ in range(bursts):
            for count, sign in ((WARM_UP_STEPS, -1), (WARM_UP_STEPS + self.timed.burst_steps, 1)):
                x, state = self.timed.next_inputs(count), arch.copy_state(self.timed.state)
                started = self.clock()
                self.timed.subject.model.stream(x, state)
                nanoseconds += sign * (self.clock() - started)
        return max(0.0, nanoseconds / (bursts * self.timed.burst_steps) / 1e9)

    def _bursts(self, steps: int) -> int:
        return max(1, -(-steps // self.timed.burst_steps))


def loop_timer(timed: TimedStream, reading_seconds: float | None, clock: Clock) -> LoopTimer:
    """Return a timer of a batch of streams with a compiled step. Untimed bursts decide how many steps a sample spans.

    `reading_seconds` is the duration of a clock reading in compiled code, or None if such code cannot read the clock.
    """
    if reading_seconds is None:
        return LoopTimer(timed, 0, clock)
    step_seconds = statistics.median(seconds for _ in range(TRIAL_BURSTS) for seconds in burst(timed, 1))
    shortest = MIN_READINGS_PER_SAMPLE * reading_seconds
    if step_seconds >= shortest:
        return LoopTimer(timed, 1, clock)
    needed = math.ceil(shortest / max(step_seconds, 1e-9))
    return LoopTimer(timed, min(timed.burst_steps, max(WARM_UP_STEPS, needed)), clock)


def burst(timed: TimedStream, every: int, steps: int | None = None) -> list[float]:
    """Run a burst of steps from a copy of the state, and return the seconds per step between successive clock readings.

    The first `WARM_UP_STEPS` steps, rounded up to a multiple of `every`, are not timed.

    Args:
        timed: a batch of streams with a compiled step.
        every: number of steps per clock reading.
        steps: number of timed steps, rounded down to a multiple of `every`; None for those of a usual burst.
    """
    untimed, readings = -(-WARM_UP_STEPS // every), (steps or timed.burst_steps) // every
    times_R = torch.zeros(1 + untimed + readings, dtype=torch.int64)
    x = timed.next_inputs((untimed + readings) * every)
    timed.subject.model.stream(x, arch.copy_state(timed.state), times_R)
    seconds: list[float] = (times_R[untimed:].diff().double() / (1e9 * every)).tolist()
    return seconds
