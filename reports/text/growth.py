"""Word how the cost of a step grows with the position in the stream."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reports.analysis.growth import CrossoverRow, GrowthRow
from reports.format.numbers import listed, microseconds, significant
from results import (
    Interval,
)

EXPLANATION = (
    "Growth is the cost's per doubling of the position, from a line through log cost against log position; flat "
    "means that its 95% interval contains 0 or that it is below 2%. Cost is a + b · position, with min(position, "
    "window) where attention has a window. There growth is that from the window on, and the rise until then is "
    "that of a line broken at the window, from the first position to it; a rise that may be none or is below 2% "
    "counts as none. Intervals are percentile bootstraps over fresh processes and cases, or over blocks where "
    "there are fewer than six, which leaves out what differs from process to process."
)


def growth_sentences(growths: Sequence[GrowthRow], crossovers: Sequence[CrossoverRow]) -> list[str]:
    """Each architecture flat or growing, then each crossover or that it lies outside; all with their intervals."""
    return [_told_growth(row) for row in growths] + _told_crossovers(crossovers)


def verdict(row: GrowthRow) -> str:
    """The verdict in a word or two."""
    if row.growth.verdict == "saturating":
        return f"grows up to its window of {row.window:,}, then flat"
    return row.growth.verdict


def percent_interval(interval: Interval) -> str:
    """`0.3% (-0.2% to 0.9%)`; without bounds where there are none."""
    low, middle, high = (f"{round(100 * bound, 1) + 0.0:.1f}%" for bound in interval)  # + 0.0 makes no -0.0
    return f"{middle} ({low} to {high})" if math.isfinite(interval.low) else f"{middle} (no interval)"


def nanoseconds_interval(interval: Interval) -> str:
    """Seconds as nanoseconds: `45.1 (44.2 to 46.0)`."""
    middle, low, high = (significant(1e9 * bound) for bound in (interval.middle, interval.low, interval.high))
    return f"{middle} ({low} to {high})" if math.isfinite(interval.low) else f"{middle} (no interval)"


def position_interval(row: CrossoverRow) -> str:
    """`612 (540 to 700)`, or that it lies outside."""
    found = row.crossover.position
    if found is None:
        return "outside the measured range"
    low = f"{found.low:,.0f}" if found.low > row.first else f"before {row.first:,}"
    high = f"{found.high:,.0f}" if found.high < row.last else f"beyond {row.last:,}"
    return f"{found.middle:,.0f} ({low} to {high})"


def _told_growth(row: GrowthRow) -> str:
    where = f"from position {row.growth.first:,} to {row.growth.last:,}"
    per_doubling = f"{percent_interval(row.growth.per_doubling)} per doubling of the position"
    if row.growth.verdict == "undecided":
        return f"{row.arch}: the interval is too wide to say whether a step's cost grows {where}: {per_doubling}."
    if row.growth.rise is not None:
        rise, window = percent_interval(row.growth.rise), f"its window of {row.window:,}"
        if row.growth.verdict == "saturating":
            return f"{row.arch} grows by {rise} up to {window}, and is flat {where}: {per_doubling}."
        if row.growth.verdict == "flat":
            return f"{row.arch} is flat {where}: {per_doubling}; no growth up to {window} is seen: {rise}."
    if row.growth.verdict == "flat":
        return f"{row.arch} is flat {where}: {per_doubling}."
    start, slope = row.line.start_seconds.middle, row.line.seconds_per_step
    return (
        f"{row.arch} grows {where}: {per_doubling}; {microseconds(start)} µs and "
        f"{nanoseconds_interval(slope)} ns for every step read."
    )


def _told_crossovers(rows: Sequence[CrossoverRow]) -> list[str]:
    told = [
        f"{row.arch} becomes {'cheaper' if row.crossover.dearer_first else 'dearer'} than {row.other} at position "
        f"{position_interval(row)}."
        for row in rows
        if row.crossover.position is not None
    ]
    for dearer in (True, False):
        outside: dict[tuple[str, int, int], list[str]] = {}
        for row in rows:
            if row.crossover.position is None and row.crossover.dearer_first == dearer:
                outside.setdefault((row.arch, row.first, row.last), []).append(row.other)
        told += [
            f"{one} is {'dearer' if dearer else 'cheaper'} than {listed(others)} at every position from {first:,} to "
            f"{last:,}: a crossover lies outside the measured range."
            for (one, first, last), others in outside.items()
        ]
    return told
