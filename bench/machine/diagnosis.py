"""Diagnosis of a machine before timing: calibration drift, clock, heat, quota and denormals."""

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
    """Repeat the calibration and observe the machine at the same time.

    Args:
        seconds: duration of the repetition in seconds; at least `MIN_CALIBRATIONS` calibrations are taken.
        calibration: runs one calibration and returns its seconds; None for `calibrate`.
        clock: returns the current time in seconds; for tests.
        machine: observes the calibrations; None for a new `Machine`.

    Returns:
        The seconds of each calibration, and the noise on the machine during all calibrations.
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
    """Return half the distance from the 10th to the 90th percentile of `times`, relative to their median."""
    ordered, last = sorted(times), len(times) - 1
    return (ordered[round(0.9 * last)] - ordered[round(0.1 * last)]) / 2 / statistics.median(times)


def drift_of(times: list[float]) -> float:
    """Return the relative increase of the median of `times` from the first third to the last third."""
    third = len(times) // 3
    return statistics.median(times[-third:]) / statistics.median(times[:third]) - 1


def counter_increase(before: int | None, after: int | None) -> int | None:
    """Return the increase of a counter, at least 0; None if one of the readings is None."""
    return None if before is None or after is None else max(0, after - before)


def vitals_of(times: list[float], block: Block, heat_events: int | None, quota_stops: int | None) -> Vitals:
    """Return the steadiness of this machine during `carousel doctor`.

    Args:
        times: seconds of each calibration.
        block: the noise on the machine during the calibrations.
        heat_events: thermal throttling events during the check, summed over the counters of all cores; None if unknown.
        quota_stops: number of times that the quota paused the container during the check; None if unknown.
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
