"""Timing of steps in a loop of compiled code, which reads the clock itself.

The clock is read after each step, so that every sample is a single step. If a step is shorter than ten readings, the
clock is read after several steps, and a sample is their mean. `difference_timing` is for compiled code that cannot read
the clock.
"""

# Shape suffixes: R clock readings

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

import torch

import arch
from bench.probes.timed_stream import MAX_BURST, WARM_UP_STEPS, TimedStream, without_garbage_collection

MIN_READINGS_PER_SAMPLE = 10
"""Smallest duration of a sample, in durations of a clock reading."""
TRIAL_BURSTS = 8
"""Number of untimed bursts that show about how long a step takes."""
WARM_UP_SECONDS = 5e-6
"""Duration of the untimed steps at the start of a burst, at least `WARM_UP_STEPS`. For two layers of eight units, the
first seven steps take 0.3 µs and the others 0.18 µs, because other code ran between the bursts."""
MAX_WARM_UP_STEPS = 64


@dataclass(frozen=True, slots=True)
class LoopTimer:
    """Timer of one batch of streams with a compiled step."""

    timed: TimedStream
    every: int
    """Number of steps per clock reading."""
    untimed: int
    """Number of untimed steps at the start of a burst."""

    def time(self, count: int) -> list[float]:
        """Take `count` samples near the stream's position, in seconds per step."""
        samples: list[float] = []
        with without_garbage_collection():
            while len(samples) < count:
                samples += burst(self.timed, self.untimed, self.timed.burst_steps, self.every)[: count - len(samples)]
        return samples

    def steps_per_sample(self, count: int) -> int:
        """Return the number of steps whose mean is one sample, for any `count` of samples."""
        return self.every


def loop_timer(timed: TimedStream, reading_seconds: float) -> LoopTimer:
    """Return a timer of a batch of streams with a compiled step.

    Untimed bursts decide how many steps warm up, and how many steps a sample spans.

    Args:
        timed: the batch of streams.
        reading_seconds: duration of a clock reading in compiled code.
    """
    # A longer burst is typical of the code, if not of the position. A model of limited length may not read it.
    steps = timed.burst_steps if timed.subject.model.max_length is not None else MAX_BURST
    trials = (burst(timed, WARM_UP_STEPS, steps) for _ in range(TRIAL_BURSTS))
    step_seconds = max(1e-9, statistics.median(seconds for trial in trials for seconds in trial))
    allowed = max_untimed_steps(timed, MAX_WARM_UP_STEPS)
    untimed = min(allowed, max(WARM_UP_STEPS, math.ceil(WARM_UP_SECONDS / step_seconds)))
    needed = math.ceil(MIN_READINGS_PER_SAMPLE * reading_seconds / step_seconds)
    # The untimed steps are a multiple of the steps per reading, so they must not exceed what is allowed either.
    return LoopTimer(timed, min(timed.burst_steps, needed, allowed), untimed)


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


def max_untimed_steps(timed: TimedStream, most: int) -> int:
    """Return how many steps of a burst may be untimed, at most `most`.

    The cost of a recurrent step does not depend on its position, so any number may warm it up. All other bursts stay
    near their position: they end at most eight steps, or an eighth of the position plus `WARM_UP_STEPS`, after it. So
    few untimed steps suffice there: of two layers of attention, the fourth step takes within 2% of the later ones. A
    model of limited length must be able to read the burst.
    """
    model, steps = timed.subject.model, timed.burst_steps
    if not arch.have_constant_cost(model.layers):
        most = min(most, max(WARM_UP_STEPS, timed.position // 8 + WARM_UP_STEPS - steps))
    return most if model.max_length is None else min(most, model.max_length - timed.position - steps)
