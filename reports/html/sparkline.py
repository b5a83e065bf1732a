"""A sparkline of a series as lines of an inline SVG, in per cent of its width and height.

The page stretches the drawing to the width of its column, so the texts are beside it, not in it.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from statistics import median

from reports.text.history import number_of, run_rows
from results import Series

MARGIN = 8.0
"""Empty height above the top and below the bottom of the scale, in per cent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkPoint:
    """The value of a run."""

    x: float
    y: float
    low: float | None
    """With `high`, the ends of its interval, cut off at the edges; None if an end is infinite."""
    high: float | None
    title: str
    """The date, the commit, the value, the machine and the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparkline:
    """The drawing of a series. `y` grows downwards."""

    points: tuple[SparkPoint, ...]
    levels: tuple[tuple[float, float, float], ...]
    """Medians between changes: the left end, the right end and the height."""
    changes: tuple[float, ...]
    """Positions of the changes, between two runs."""
    largest: str
    smallest: str
    top: str
    """With `bottom`, the ends of the scale, which has room for intervals."""
    bottom: str
    first: str
    """The date of the first run."""
    last: str


def sparkline(series: Series) -> Sparkline:
    """Return the drawing of a series."""
    values = [point.value.middle for point in series.points]
    bottom, top = _scale(series)
    span = top - bottom
    width = 100 / len(values)

    def height(value: float) -> float:
        share = (value - bottom) / span if span > 0 else 0.5
        return min(max(100 - MARGIN - (100 - 2 * MARGIN) * share, 0.0), 100.0)

    rows = run_rows(series)
    points = []
    for index, (point, row) in enumerate(zip(series.points, rows, strict=True)):
        is_bounded = span > 0 and math.isfinite(point.value.low + point.value.high)
        parts = [row.date, row.commit and f"commit {row.commit}", row.value, row.host and f"host {row.host}", row.run]
        points.append(
            SparkPoint(
                x=(index + 0.5) * width,
                y=height(point.value.middle),
                low=height(point.value.low) if is_bounded else None,
                high=height(point.value.high) if is_bounded else None,
                title=" · ".join(filter(None, parts)),
            )
        )
    edges = itertools.pairwise([0, *series.changes, len(values)])
    return Sparkline(
        points=tuple(points),
        levels=tuple((first * width, end * width, height(median(values[first:end]))) for first, end in edges),
        changes=tuple(change * width for change in series.changes),
        largest=number_of(series, max(values)),
        smallest=number_of(series, min(values)),
        top=number_of(series, top),
        bottom=number_of(series, bottom),
        first=rows[0].date,
        last=rows[-1].date,
    )


def _scale(series: Series) -> tuple[float, float]:
    """Return the ends of the vertical scale, which spans the values and the finite intervals.

    If the values differ, intervals widen the scale at either end by at most the span of the values, so that a single
    wide interval does not hide a change.
    """
    values = [point.value.middle for point in series.points]
    smallest, largest = min(values), max(values)
    bounded = [point.value for point in series.points if math.isfinite(point.value.low + point.value.high)]
    low = min([smallest, *(value.low for value in bounded)])
    high = max([largest, *(value.high for value in bounded)])
    span = largest - smallest
    return (max(low, smallest - span), min(high, largest + span)) if span > 0 else (low, high)
