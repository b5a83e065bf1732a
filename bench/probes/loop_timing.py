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
from bench.probes.timed_stream import MAX_BURST, WARM_UP_STEPS, TimedStream, without_garbage_collection

MIN_READINGS_PER_SAMPLE = 10
"""Smallest duration of a sample, in durations of a clock reading."""
TRIAL_BURSTS = 8
"""Number of untimed bursts that show about how long a step takes."""
WARM_UP_SECONDS = 5e-6
"""Duration of the untimed steps at the start of a burst, at least `WARM_UP_STEPS`. For two layers of eight units, the
first seven steps take 0.4 µs and the others 0.24 µs, because other code ran between the bursts."""
MAX_WARM_UP_STEPS = 64
BLIND_WARM_UP_STEPS = 16
"""Number of untimed steps at the start of a burst if compiled code cannot read the clock."""


@dataclass(frozen=True, slots=True)
class LoopTimer:
    """Timer of one batch of streams with a compiled step."""

    timed: TimedStream
    every: int
    """Number of steps per clock reading. 0 if compiled code cannot read the clock."""
    untimed: int
    """Number of untimed steps at the start of a burst."""
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
                samples += burst(self.timed, self.untimed, self.timed.burst_steps, self.every)[: count - len(samples)]
            return samples

    def steps_per_sample(self, count: int) -> int:
        """Return the number of steps whose mean is one sample, if `time` is called with `count`."""
        return self.every or self._bursts(count) * self.timed.burst_steps

    def _mean_seconds(self, steps: int) -> float:
        """Return the mean seconds of the steps after the untimed ones of each call."""
        nanoseconds, bursts = 0, self._bursts(steps)
        for _ in range(bursts):
            for count, sign in ((self.untimed, -1), (self.untimed + self.timed.burst_steps, 1)):
                x, state = self.timed.next_inputs(count), arch.copy_state(self.timed.state)
                started = self.clock()
                self.timed.subject.model.stream(x, state)
                nanoseconds += sign * (self.clock() - started)
        return max(0.0, nanoseconds / (bursts * self.timed.burst_steps) / 1e9)

    def _bursts(self, steps: int) -> int:
        return max(1, -(-steps // self.timed.burst_steps))


def loop_timer(timed: TimedStream, reading_seconds: float | None, clock: Clock) -> LoopTimer:
    """Return a timer of a batch of streams with a compiled step.

    Untimed bursts decide how many steps warm up, and how many steps a sample spans.

    Args:
        timed: the batch of streams.
        reading_seconds: duration of a clock reading in compiled code, or None if such code cannot read the clock.
        clock: a monotonic clock that returns nanoseconds, for compiled code that cannot read the clock.
    """
    if reading_seconds is None:
        return LoopTimer(timed, 0, _readable(timed, BLIND_WARM_UP_STEPS), clock)
    # A longer burst is typical of the code, if not of the position. A model of limited length may not read it.
    steps = timed.burst_steps if timed.subject.model.max_length is not None else MAX_BURST
    trials = (burst(timed, WARM_UP_STEPS, steps) for _ in range(TRIAL_BURSTS))
    step_seconds = max(1e-9, statistics.median(seconds for trial in trials for seconds in trial))
    untimed = _readable(timed, min(MAX_WARM_UP_STEPS, max(WARM_UP_STEPS, math.ceil(WARM_UP_SECONDS / step_seconds))))
    needed = math.ceil(MIN_READINGS_PER_SAMPLE * reading_seconds / step_seconds)
    return LoopTimer(timed, min(timed.burst_steps, needed), untimed, clock)


def burst(timed: TimedStream, untimed: int, steps: int, every: int = 1) -> list[float]:
    """Run a burst of steps from a copy of the state, and return the seconds per step between successive clock readings.

    Args:
        timed: a batch of streams with a compiled step.
        untimed: number of untimed steps at the start, rounded down to a multiple of `every`, but at least `every`.
        steps: number of timed steps, rounded down to a multiple of `every`.
        every: number of steps per clock reading.
    """
    untimed_readings, readings = max(1, untimed // every), steps // every
    times_R = torch.zeros(1 + untimed_readings + readings, dtype=torch.int64)
    x = timed.next_inputs((untimed_readings + readings) * every)
    timed.subject.model.stream(x, arch.copy_state(timed.state), times_R)
    seconds: list[float] = (times_R[untimed_readings:].diff().double() / (1e9 * every)).tolist()
    return seconds


def _readable(timed: TimedStream, untimed: int) -> int:
    """Reduce a number of untimed steps, so that the model can read them and a burst after the position."""
    max_length = timed.subject.model.max_length
    return untimed if max_length is None else min(untimed, max_length - timed.position - timed.burst_steps)
