"""Which timings other work on the machine disturbed, and how many of a run.

A *timing* is one measurement with timed blocks: a metric of a case at one location, by one process. It is *noisy* if at
least one of its blocks was disturbed. A number over several timings is noisy if at least half of them are: its median
may then rest on a disturbed one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from results import Measurement, Record, disturbed, median_calibration

MANY_NOISY = 0.25
"""The share of noisy timings above which a run is not called good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """The noise of a run."""

    timings: int
    noisy: int
    """The number of noisy timings."""
    cases: int
    """The number of cases with a noisy timing."""

    @property
    def share(self) -> float:
        """The share of noisy timings; 0 if nothing was timed."""
        return self.noisy / self.timings if self.timings else 0.0

    @property
    def is_high(self) -> bool:
        """Whether more than `MANY_NOISY` of the timings are noisy."""
        return self.share > MANY_NOISY


def noise(records: Sequence[Record]) -> Noise:
    """Return the noise of a run. `records` are all records of the run."""
    calibration = median_calibration(records)
    timings = noisy = cases = 0
    for record in records:
        verdicts = [is_noisy(each, calibration) for each in record.measurements if each.blocks]
        timings += len(verdicts)
        noisy += sum(verdicts)
        cases += any(verdicts)
    return Noise(timings=timings, noisy=noisy, cases=cases)


def is_noisy(measurement: Measurement, calibration: float | None) -> bool:
    """Return whether a block of a timing was disturbed.

    `calibration` is the median calibration time of the run in seconds; None if nothing was timed.
    """
    if calibration is None:
        return False
    return any(disturbed(block, calibration) is not None for block in measurement.blocks)


def is_mostly_noisy(noisy: Sequence[bool]) -> bool:
    """Return whether at least half of the timings of a number are noisy; False without timings."""
    return bool(noisy) and 2 * sum(noisy) >= len(noisy)
