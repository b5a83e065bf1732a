"""Diagnosis of what limits trust in timings: calibration drift, clock, heat, quota and denormals."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import psutil

from bench.machine import hardware
from bench.machine.advice import Vitals
from bench.machine.denormals import can_flush
from bench.machine.environment import available_cores
from bench.machine.noise import Machine, calibrate
from bench.machine.timer import clock_overhead
from results import SLOW_CALIBRATION, Block

MIN_CALIBRATIONS = 3


def take_calibrations(
    seconds: float,
    *,
    calibration: Callable[[], float] | None = None,
    clock: Callable[[], float] = time.perf_counter,
    machine: Machine | None = None,
) -> tuple[list[float], Block]:
    """Repeat the calibration for a while and observe the machine meanwhile.

    Args:
        seconds: how long to repeat it; at least three calibrations are taken.
        calibration: runs one calibration and returns its seconds; for tests.
        clock: returns the current time in seconds; for tests.
        machine: observes the calibrations; for tests.

    Returns:
        The seconds of each calibration, and what happened on the machine during all of them.
    """
    calibration = calibration or calibrate
    calibration()  # the first product also initialises the matrix library

    def repeat() -> list[float]:
        times: list[float] = []
        deadline = clock() + seconds
        while len(times) < MIN_CALIBRATIONS or clock() < deadline:
            times.append(calibration())
        return times

    return (machine or Machine(calibration=calibration)).observe(repeat)


def spread_of(times: list[float]) -> float:
    """Return half the distance from the 10th to the 90th percentile, relative to the median."""
    ordered, last = sorted(times), len(times) - 1
    return (ordered[round(0.9 * last)] - ordered[round(0.1 * last)]) / 2 / statistics.median(times)


def drift_of(times: list[float]) -> float:
    """Return how much slower the median of the last third is than that of the first third, relative to the first."""
    third = len(times) // 3
    return statistics.median(times[-third:]) / statistics.median(times[:third]) - 1


def counter_increase(before: int | None, after: int | None) -> int | None:
    """Return how much a counter grew; None if it cannot be read."""
    return None if before is None or after is None else max(0, after - before)


def vitals_of(times: list[float], block: Block, heat_events: int | None, quota_stops: int | None) -> Vitals:
    """Summarise a check of the machine.

    Args:
        times: seconds of each calibration.
        block: what happened on the machine during the calibrations.
        heat_events: how often heat slowed the processor meanwhile; None if unknown.
        quota_stops: how often the quota paused the container meanwhile; None if unknown.
    """
    median = statistics.median(times)
    battery = getattr(psutil, "sensors_battery", lambda: None)()
    return Vitals(
        cores=available_cores(),
        spread=spread_of(times),
        drift=drift_of(times),
        slow_share=sum(seconds > SLOW_CALIBRATION * median for seconds in times) / len(times),
        load=block.load,
        steal=block.steal_share,
        waiting=block.waiting_share,
        clock_seconds=clock_overhead(time.perf_counter_ns),
        clock_source=hardware.clock_source(),
        governor=hardware.governor(),
        quota=hardware.quota_cores(),
        heat_events=heat_events,
        quota_stops=quota_stops,
        virtual=hardware.virtual(),
        unplugged=battery is not None and not battery.power_plugged,
        flushes=can_flush(),
    )
