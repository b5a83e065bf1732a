"""Word the history of a case: values, changes and sparklines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from reports.format import numbers
from results import METRICS, Series

if TYPE_CHECKING:
    pass

BARS = "▁▂▃▄▅▆▇█"

MAX_SPARK = 48
"""Runs of a series that a line shows; the newest are the ones that are asked about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """A series in words."""

    case: str
    place: str
    environment: str
    runs: int
    spark: str
    last: str
    changes: tuple[str, ...]


def history_rows(series: Sequence[Series]) -> list[HistoryRow]:
    """One row a series, as tables show it."""
    return [
        HistoryRow(
            case=each.label,
            place=each.location,
            environment=each.environment,
            runs=len(each.points),
            spark=spark(each),
            last=value_with_interval(each, len(each.points) - 1),
            changes=tuple(change_in_words(each, change) for change in each.changes),
        )
        for each in series
    ]


def spark(series: Series) -> str:
    """The values as bars from lowest to highest, a stroke where they change: `▁▁▂▁│▇█▇`."""
    values = [each.value.middle for each in series.points]
    low, span = min(values), max(values) - min(values)
    first = max(0, len(values) - MAX_SPARK)
    bars = [
        ("│" if place in series.changes and place > first else "")
        + BARS[min(len(BARS) - 1, int(len(BARS) * (values[place] - low) / span)) if span > 0 else 0]
        for place in range(first, len(values))
    ]
    return ("…" if first else "") + "".join(bars)


def value_with_interval(series: Series, place: int) -> str:
    """The value of one run with its interval, where it has one."""
    value = series.points[place].value
    middle, low, high = (_number(series, number) for number in (value.middle, value.low, value.high))
    return f"{middle} ({low}–{high})" if math.isfinite(value.low + value.high) else middle


def change_in_words(series: Series, change: int) -> str:
    """From which run on, and by how much: `0.912 → 0.874 (−4.2%) from 20260102-…`."""
    before, after = levels(series, change)
    share = f" ({(after - before) / abs(before):+.1%})".replace("-", "−") if before else ""
    return f"{_number(series, before)} → {_number(series, after)}{share} from {series.points[change].run}"


def levels(series: Series, change: int) -> tuple[float, float]:
    """The middle value of the stretch before a change, and of the one after it."""
    values = [each.value.middle for each in series.points]
    edges = [0, *series.changes, len(values)]
    here = edges.index(change)
    return median(values[edges[here - 1] : change]), median(values[change : edges[here + 1]])


def _number(series: Series, value: float) -> str:
    if is_timing(series):
        return f"{numbers.microseconds(value)} µs"
    return numbers.score(value) if series.metric in METRICS else numbers.significant(value)


def is_timing(series: Series) -> bool:
    """Return whether a series is of a timing metric."""
    known = METRICS.get(series.metric)
    return known is not None and known.kind == "timing"
