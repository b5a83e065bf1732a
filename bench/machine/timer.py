"""Timing of calls on a CPU or a GPU. A timing on a GPU ends when the queued work is finished."""

from __future__ import annotations

import itertools
import statistics
import timeit
from collections.abc import Callable

import torch

Clock = Callable[[], int]
"""A monotonic clock that returns nanoseconds."""

CLOCK_READINGS = 1001


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished its queued work. Do nothing on a CPU, because a CPU has no queue."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_per_call(call: Callable[[], object], calls: int, device: torch.device) -> float:
    """Return the mean seconds per call over `calls` successive calls.

    The CPU's clock measures calls on a CPU. Two CUDA events measure calls on a GPU.
    """
    if device.type != "cuda":
        # torch.utils.benchmark.Timer would add two untimed calls. Probes make such calls themselves where needed.
        return timeit.timeit(call, number=calls) / calls
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    synchronise(device)
    start.record()
    for _ in range(calls):
        call()
    end.record()
    synchronise(device)
    return float(start.elapsed_time(end)) / 1e3 / calls


def clock_overhead(clock: Clock) -> float:
    """Return the median seconds between two successive readings of the clock."""
    readings = [clock() for _ in range(CLOCK_READINGS)]
    return statistics.median(after - before for before, after in itertools.pairwise(readings)) / 1e9
