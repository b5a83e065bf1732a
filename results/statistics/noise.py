"""Which blocks of a timing something else disturbed: the one judgement, for all readers.

A disturbed block is kept and its case called noisy. Involuntary switches are stored and not judged:
what they cost is in the waiting share.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from results.schema.record import Block, Record

SLOW_CALIBRATION = 1.25
"""Times the median pulse. The pulse itself varies by a few per cent on a quiet machine; at a quarter more, something
else used the core, its memory or its clock."""
BUSY_LOAD = 0.10
"""Of the machine's cores. An idle system and the run's own display stay below 3%; one neighbour at work on one of
eight cores is 12%, and takes cache, bandwidth and clock rate even from a core that it does not use."""
STOLEN = 0.05
WAITED = 0.05
"""Of the block's time. A block that stood still for this share reads 5% too long: half of the least
effect that a comparison calls a regression."""


def disturbed(block: Block, median_calibration: float) -> str | None:
    """What disturbed a block, in words; None where nothing did. What the system did not tell is not held against it."""
    if block.calibration_seconds > SLOW_CALIBRATION * median_calibration:
        return f"the pulse was {block.calibration_seconds / median_calibration:.2f} times its median"
    if block.steal_share is not None and block.steal_share > STOLEN:
        return f"another machine had the processor for {block.steal_share:.0%} of the time"
    if block.waiting_share is not None and block.waiting_share > WAITED:
        return f"the measuring thread waited for {block.waiting_share:.0%} of the time"
    if block.load is not None and block.load > BUSY_LOAD:
        return f"other work kept {block.load:.0%} of the machine's cores busy"
    return None


def median_calibration(records: Iterable[Record]) -> float | None:
    """The pulse of a run: the median over all blocks of its records; None where nothing was timed."""
    pulses = [
        block.calibration_seconds
        for record in records
        for measurement in record.measurements
        for block in measurement.blocks
    ]
    return median(pulses) if pulses else None


def disturbances(record: Record, pulse: float) -> list[str]:
    """What disturbed each disturbed block of a record."""
    return [
        reason
        for measurement in record.measurements
        for block in measurement.blocks
        if (reason := disturbed(block, pulse)) is not None
    ]
