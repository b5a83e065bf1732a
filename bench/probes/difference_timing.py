"""Timing of compiled steps if compiled code cannot read the clock: calls of many steps and of few steps are compared.

Both calls are timed from Python, in turns. The difference between them is the time of the additional steps. A sample is
the median over several such pairs of calls. If the longer calls do not clearly take longer, more pairs are timed. If
this does not help, there is no sample.
"""

# Shape suffixes: R clock readings

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace

import torch

import arch
from bench.machine.timer import Clock
from bench.probes.loop_timing import max_untimed_steps
from bench.probes.timed_stream import MAX_BURST, TimedStream, without_garbage_collection

UNTIMED_STEPS = 32
"""Number of steps of the shorter call, unless the burst would leave its position. They warm up the code."""
MAX_STEPS, STEPS_SECONDS = 256, 2e-4
"""Largest number and desired duration of the additional steps of a recurrent model, whose cost does not depend on the
position. On a busy machine, a call of many milliseconds is always interrupted, and then seems to take twice as long."""
MIN_PAIRS, MAX_PAIRS = 9, 576
"""Smallest number of pairs of calls per sample, and the number from which on no more are timed."""
CLEAR_SHARE = 0.75
"""Smallest share of the pairs in which the longer call must take longer."""


@dataclass(frozen=True, slots=True)
class DifferenceTimer:
    """Timer of one batch of streams with a compiled step that cannot read the clock."""

    timed: TimedStream
    untimed: int
    """Number of steps of the shorter call."""
    steps: int
    """Number of additional steps of the longer call."""
    clock: Clock
    """A monotonic clock that returns nanoseconds."""

    def time(self, count: int) -> list[float]:
        """Take one sample that spans at least `count` steps, in seconds per step.

        The list is empty if the longer calls do not clearly take longer.
        """
        differences: list[int] = []
        with without_garbage_collection():
            while len(differences) < MAX_PAIRS:
                differences += [self._difference() for _ in range(max(len(differences), self._pairs(count)))]
                if sum(each > 0 for each in differences) >= CLEAR_SHARE * len(differences):
                    return [statistics.median(differences) / (1e9 * self.steps)]
        return []

    def steps_per_sample(self, count: int) -> int:
        """Return the smallest number of steps that one sample spans, if `time` is called with `count`."""
        return self._pairs(count) * self.steps

    def _difference(self) -> int:
        """Return the nanoseconds of the additional steps of the longer call."""
        nanoseconds = []
        for count in (self.untimed, self.untimed + self.steps):
            x, state = self.timed.next_inputs(count), arch.copy_state(self.timed.state)
            # With room for clock readings, a call packs its weights however short it is. So both run the same code.
            times_R = torch.zeros(2, dtype=torch.int64)
            started = self.clock()
            self.timed.subject.model.stream(x, state, times_R)
            nanoseconds.append(self.clock() - started)
        return nanoseconds[1] - nanoseconds[0]

    def _pairs(self, count: int) -> int:
        return max(MIN_PAIRS, -(-count // self.steps))


def difference_timer(timed: TimedStream, clock: Clock) -> DifferenceTimer:
    """Return a timer of a batch of streams with a compiled step, for compiled code that cannot read the clock.

    Args:
        timed: the batch of streams.
        clock: a monotonic clock that returns nanoseconds.
    """
    model = timed.subject.model
    timer = DifferenceTimer(timed, max_untimed_steps(timed, UNTIMED_STEPS), timed.burst_steps, clock)
    if not arch.have_constant_cost(model.layers) or model.max_length is not None:
        return timer
    trial = replace(timer, steps=MAX_BURST).time(1)
    needed = math.ceil(STEPS_SECONDS / max(1e-9, *trial)) if trial else MAX_STEPS
    return replace(timer, steps=max(timed.burst_steps, min(MAX_STEPS, needed)))
