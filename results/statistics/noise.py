"""Detect blocks of a timing that other activity on the machine disturbed.

Disturbed blocks stay in the data, and their case is marked as noisy. Involuntary context switches are stored but have
no threshold, since the waiting share includes their cost.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from results.schema.record import Block, Record

SLOW_CALIBRATION = 1.25
"""Maximum calibration time, relative to the run's median. On a quiet machine, calibration times vary by a few per cent.
If a calibration takes 25% longer, other work used the core or its memory, or the clock rate fell."""
BUSY_LOAD = 0.10
"""Maximum share of the machine's cores in use by other work. An idle system and the run's own display stay below 3%.
A process that keeps one of eight cores busy takes 12.5%. It also reduces the cache, bandwidth and clock rate of the
other cores."""
MAX_STEAL_SHARE = 0.05
"""Maximum share of the block's time in which the hypervisor ran other virtual machines."""
MAX_WAITING_SHARE = 0.05
"""Maximum share of the block's time in which the thread waited. At 5%, a timing is about 5% too long. That is half
of the smallest relevant effect of a comparison by default."""


def disturbed(block: Block, median_calibration: float) -> str | None:
    """Return the first reason why a block is disturbed, or None if the block is not disturbed.

    `median_calibration` is the median calibration time of the run in seconds. Values that the system does not report
    are ignored.
    """
    if block.calibration_seconds > SLOW_CALIBRATION * median_calibration:
        return f"calibration took {block.calibration_seconds / median_calibration:.2f} times its median"
    if block.steal_share is not None and block.steal_share > MAX_STEAL_SHARE:
        return f"the hypervisor ran other machines for {block.steal_share:.0%} of the time"
    if block.waiting_share is not None and block.waiting_share > MAX_WAITING_SHARE:
        return f"the measuring thread waited for {block.waiting_share:.0%} of the time"
    if block.load is not None and block.load > BUSY_LOAD:
        return f"other work kept {block.load:.0%} of the machine's cores busy"
    return None


def median_calibration(records: Iterable[Record]) -> float | None:
    """Return the median calibration time in seconds over all blocks of a run, or None if nothing was timed."""
    calibrations = [
        block.calibration_seconds
        for record in records
        for measurement in record.measurements
        for block in measurement.blocks
    ]
    return median(calibrations) if calibrations else None


def disturbances(record: Record, median_calibration: float) -> list[str]:
    """Return the reason for each disturbed block of a record.

    `median_calibration` is the median calibration time of the run in seconds.
    """
    return [
        reason
        for measurement in record.measurements
        for block in measurement.blocks
        if (reason := disturbed(block, median_calibration)) is not None
    ]
