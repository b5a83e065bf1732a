"""Sentences on how the cost of a streamed step grows with its position."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reports.analysis.streaming.growth import CrossoverRow, GrowthRow
from reports.analysis.streaming.step_costs import StepCost, marked
from reports.format.numbers import listed, microseconds, significant
from results import MAX_MISFIT, Growth, Interval

EXPLANATION = (
    "The cost is that of a step inside a compiled loop; of an architecture without a compiled step, it is that of a "
    "call from Python. Growth is the relative increase in cost per doubling of the position, from a line fitted to log "
    "cost against log position. A cost is growing if its growth is at least 2% and the 95% interval lies above 0. "
    "Otherwise it is flat if the interval ends below 10%, and undecided if not. If a measured cost is further than "
    f"{MAX_MISFIT:.0%} from the median of a flat cost, or further from the fit of a growing cost than this cost grows, "
    "growth cannot be told. The fitted cost is a + b · position; "
    "for attention with a window it is a + b · min(position, window). For such attention, growth is fitted from the "
    "window on, and the rise before the window with a line that bends there. Intervals are percentile bootstraps over "
    "the processes of all cases. With fewer than six of these, they are bootstraps over blocks, which leave out the "
    "variation between processes."
)


def growth_sentences(growths: Sequence[GrowthRow], crossovers: Sequence[CrossoverRow]) -> list[str]:
    """Return one sentence per row of `growths`, followed by sentences on the crossovers between architectures."""
    return [_growth_sentence(row) for row in growths] + _crossover_sentences(crossovers)


def verdict(row: GrowthRow) -> str:
    """Return how a cost grows: `flat`, `growing`, `undecided`, `cannot be told` or `grows up to its window of 64 …`."""
    if not row.growth.fits:
        return "cannot be told"
    if row.growth.verdict == "saturating":
        return f"grows up to its window of {row.window:,}, then flat"
    return row.growth.verdict


def brief_growth(costs: Sequence[StepCost], growth: Growth | None) -> str:
    """Return a few words on how the step cost grows, by the verdict that `growth_sentences` gives.

    Examples: `flat from position 1`, `6.5 times its cost at position 1` and `growth cannot be told`.
    The text is empty if nothing is known of the growth.
    """
    if growth is None or not costs:
        return ""
    if growth.verdict in ("flat", "saturating"):
        return f"flat from position {growth.first:,}"
    first, last = costs[0], costs[-1]
    if growth.verdict == "growing" and first.p50_seconds:
        return f"{last.p50_seconds / first.p50_seconds:.1f} times its cost at position {first.position:,}"
    if growth.verdict == "growing":
        return "growing"
    return "growth undecided" if growth.fits else "growth cannot be told"


def percent_interval(interval: Interval) -> str:
    """Return an interval of shares in percent: `0.3% (-0.2% to 0.9%)`.

    If the bounds are infinite, the text is `0.3% (no interval)`.
    """
    low, middle, high = (f"{round(100 * bound, 1) + 0.0:.1f}%" for bound in interval)  # + 0.0 turns -0.0 into 0.0
    return f"{middle} ({low} to {high})" if math.isfinite(interval.low) else f"{middle} (no interval)"


def nanoseconds_interval(interval: Interval) -> str:
    """Return an interval of seconds in nanoseconds: `45.1 (44.2 to 46.0)`.

    If the bounds are infinite, the text is `45.1 (no interval)`.
    """
    middle, low, high = (significant(1e9 * bound) for bound in (interval.middle, interval.low, interval.high))
    return f"{middle} ({low} to {high})" if math.isfinite(interval.low) else f"{middle} (no interval)"


def position_interval(row: CrossoverRow) -> str:
    """Return the position of a crossover: `612 (540 to 700)`, or `outside the measured range`.

    A bound that is not inside the measured range is written as `before 16` or `beyond 4,096`.
    """
    position = row.crossover.position
    if position is None:
        return "outside the measured range"
    low = f"{position.low:,.0f}" if position.low > row.first else f"before {row.first:,}"
    high = f"{position.high:,.0f}" if position.high < row.last else f"beyond {row.last:,}"
    return f"{position.middle:,.0f} ({low} to {high})"


def _growth_sentence(row: GrowthRow) -> str:
    arch = marked(row.arch, row.timing)
    positions = f"from position {row.growth.first:,} to {row.growth.last:,}"
    per_doubling = f"{percent_interval(row.growth.per_doubling)} per doubling of the position"
    if not row.growth.fits:
        return (
            f"{arch}: it cannot be told whether the step cost grows {positions}, because measured costs are up to "
            f"{row.growth.misfit:.0%} away from the fit: {per_doubling}."
        )
    if row.growth.verdict == "undecided":
        return f"{arch}: the interval is too wide to decide whether the step cost grows {positions}: {per_doubling}."
    if row.growth.rise is not None:
        rise, window = percent_interval(row.growth.rise), f"its window of {row.window:,}"
        if row.growth.verdict == "saturating":
            return f"{arch} grows by {rise} up to {window}, and is flat {positions}: {per_doubling}."
        if row.growth.verdict == "flat":
            return f"{arch} is flat {positions}: {per_doubling}; no growth detected up to {window}: {rise}."
    if row.growth.verdict == "flat":
        return f"{arch} is flat {positions}: {per_doubling}."
    start, slope = row.line.start_seconds.middle, row.line.seconds_per_step
    return (
        f"{arch} grows {positions}: {per_doubling}; a step costs {microseconds(start)} µs plus "
        f"{nanoseconds_interval(slope)} ns per position."
    )


def _crossover_sentences(rows: Sequence[CrossoverRow]) -> list[str]:
    sentences = [
        f"{row.arch} becomes {'cheaper' if row.crossover.dearer_first else 'more expensive'} than {row.other} at "
        f"position {position_interval(row)}."
        for row in rows
        if row.crossover.position is not None
    ]
    for dearer in (True, False):
        outside: dict[tuple[str, int, int], list[str]] = {}
        for row in rows:
            if row.crossover.position is None and row.crossover.dearer_first == dearer:
                outside.setdefault((row.arch, row.first, row.last), []).append(row.other)
        sentences += [
            f"{one} is {'more expensive' if dearer else 'cheaper'} than {listed(others)} at every position from "
            f"{first:,} to {last:,}: no crossover in the measured range."
            for (one, first, last), others in outside.items()
        ]
    return sentences
