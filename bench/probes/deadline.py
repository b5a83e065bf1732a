"""Deadlines: the share of steps in compiled code that take longer than a given time, and the longest step."""

from __future__ import annotations

import time
from collections.abc import Callable

import arch
from bench.probes.loop_timing import LoopTimer, burst
from bench.probes.timed_stream import without_garbage_collection
from results import Measurement

MAX_STEPS = 1_000_000
"""Maximum number of steps of one model."""
BURST_STEPS = 4096
"""Number of steps per burst of a recurrent model, whose cost does not depend on the position."""
MAX_SECONDS = 10.0
"""Time after which no further burst starts. With slow steps, fewer than `MAX_STEPS` run."""


def measure_deadline(
    timer: LoopTimer, deadline_seconds: float, now: Callable[[], float] = time.monotonic
) -> list[Measurement]:
    """Run up to a million steps in compiled code, and measure the late ones.

    Args:
        timer: a timer of one stream with a compiled step that can read the clock.
        deadline_seconds: the duration that a step should not exceed.
        now: a monotonic clock that returns seconds, to limit the duration.

    Returns:
        The share of late steps, the longest step, and the number of steps that ran.
    """
    timed, steps, late = timer.timed, 0, 0
    deadline_ns = round(deadline_seconds * 1e9)  # the clock counts nanoseconds, and the record names this number
    is_recurrent = arch.have_constant_cost(timed.subject.model.layers)
    burst_steps = BURST_STEPS if is_recurrent else timed.burst_steps
    worst, end = 0.0, now() + MAX_SECONDS
    with without_garbage_collection():
        while steps < MAX_STEPS and (steps == 0 or now() < end):
            seconds = burst(timed, timer.untimed, min(burst_steps, MAX_STEPS - steps))
            steps += len(seconds)
            late += sum(round(each * 1e9) > deadline_ns for each in seconds)
            worst = max(worst, *seconds)
    at = {"position": timed.position, "deadline_ns": deadline_ns}
    values = {"late_share": late / steps, "worst_step_seconds": worst, "deadline_steps": float(steps)}
    return [Measurement(metric=metric, at=at, samples=(value,)) for metric, value in values.items()]
