"""Measure what limits trust in timings: calibration drift, clock, heat, denormals."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import psutil

from bench.machine import hardware
from bench.machine.advice import Vitals
from bench.machine.denormals import can_flush
from bench.machine.environment import available_cores
from bench.machine.noise import Machine, pulse
from bench.machine.timer import clock_overhead
from results import SLOW_CALIBRATION, Block


def take_calibrations(
    seconds: float,
    *,
    beat: Callable[[], float] | None = None,
    clock: Callable[[], float] = time.perf_counter,
    machine: Machine | None = None,
) -> tuple[list[float], Block]:
    """Pulses one after the other for so many seconds, three at least, and what the machine did meanwhile."""
    beat = beat or pulse
    beat()  # the first one sets the library up

    def look() -> list[float]:
        beats: list[float] = []
        until = clock() + seconds
        while len(beats) < 3 or clock() < until:
            beats.append(beat())
        return beats

    return (machine or Machine(beat=beat)).around(look)


def spread_of(beats: list[float]) -> float:
    """Half the distance between the tenth and the ninetieth percentile, relative to the median."""
    ordered, last = sorted(beats), len(beats) - 1
    return (ordered[round(0.9 * last)] - ordered[round(0.1 * last)]) / 2 / statistics.median(beats)


def drift_of(beats: list[float]) -> float:
    """By how much the last third is slower than the first, medians, relative to it."""
    third = len(beats) // 3
    return statistics.median(beats[-third:]) / statistics.median(beats[:third]) - 1


def counter_increase(before: int | None, after: int | None) -> int | None:
    """Return how much a counter grew; None if it cannot be read."""
    return None if before is None or after is None else max(0, after - before)


def vitals_of(beats: list[float], block: Block, heat: int | None, stops: int | None) -> Vitals:
    """Summarise calibration times, a block of counters, heat events and quota stops."""
    median = statistics.median(beats)
    battery = getattr(psutil, "sensors_battery", lambda: None)()
    return Vitals(
        cores=available_cores(),
        spread=spread_of(beats),
        drift=drift_of(beats),
        slow_share=sum(beat > SLOW_CALIBRATION * median for beat in beats) / len(beats),
        load=block.load,
        steal=block.steal_share,
        waiting=block.waiting_share,
        clock_seconds=clock_overhead(time.perf_counter_ns),
        clock_source=hardware.clock_source(),
        governor=hardware.governor(),
        quota=hardware.quota_cores(),
        heat_events=heat,
        quota_stops=stops,
        virtual=hardware.virtual(),
        unplugged=battery is not None and not battery.power_plugged,
        flushes=can_flush(),
    )
