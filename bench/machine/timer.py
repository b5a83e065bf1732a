"""Waiting for a device, and timing on it: what is queued there is not done yet."""

from __future__ import annotations

import itertools
import statistics
import timeit
from collections.abc import Callable

import torch

Clock = Callable[[], int]
"""Nanoseconds on a monotonic clock."""

CLOCK_READINGS = 1001


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it; the processor always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_a_call(call: Callable[[], object], calls: int, device: torch.device) -> float:
    """The mean of `calls` calls in a row: by the processor's clock, or on a GPU between two events of its own."""
    if device.type != "cuda":
        # torch's own timer adds two untimed calls to each of these, which a probe makes only where they are needed.
        return timeit.timeit(call, number=calls) / calls
    began, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    synchronise(device)
    began.record()
    for _ in range(calls):
        call()
    ended.record()
    synchronise(device)
    return float(began.elapsed_time(ended)) / 1e3 / calls


def clock_overhead(clock: Clock) -> float:
    """Median seconds between two readings of the clock with nothing between them."""
    readings = [clock() for _ in range(CLOCK_READINGS)]
    return statistics.median(after - before for before, after in itertools.pairwise(readings)) / 1e9
