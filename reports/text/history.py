"""The history of a case in words: values, changes and sparklines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from reports.format import numbers
from results import METRICS, Series

BARS = "▁▂▃▄▅▆▇█"
MAX_BARS = 48
"""The largest number of runs in a sparkline; older runs are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """A series as a table row."""

    case: str
    place: str
    """The coordinates of the measurement: `length 32`."""
    environment: str
    runs: int
    spark: str
    last: str
    """The value of the latest run."""
    changes: tuple[str, ...]
    differences: tuple[str, ...]
    """One text per run with other software, plugins or allowed fields than the run before it."""


def history_rows(series: Sequence[Series]) -> list[HistoryRow]:
    """Return one row per series, in the order of `series`."""
    return [
        HistoryRow(
            case=each.label,
            place=each.location,
            environment=each.environment,
            runs=len(each.points),
            spark=spark(each),
            last=value_with_interval(each, len(each.points) - 1),
            changes=tuple(change_in_words(each, change) for change in each.changes),
            differences=tuple(
                f"{', '.join(difference.phrase for difference in point.differences)} from {point.run}"
                for point in each.points
                if point.differences
            ),
        )
        for each in series
    ]


def spark(series: Series) -> str:
    """Return the values as a sparkline with a stroke before each change: `▁▁▂▁│▇█▇`.

    An ellipsis at the start stands for the values of older runs, if there are more than `MAX_BARS` runs.
    """
    values = [run.value.middle for run in series.points]
    low, span = min(values), max(values) - min(values)
    first = max(0, len(values) - MAX_BARS)
    bars = [
        ("│" if i in series.changes and i > first else "")
        + BARS[min(len(BARS) - 1, int(len(BARS) * (values[i] - low) / span)) if span > 0 else 0]
        for i in range(first, len(values))
    ]
    return ("…" if first else "") + "".join(bars)


def value_with_interval(series: Series, index: int) -> str:
    """Return the value of the run at `index` with its interval: `0.948 (0.921–0.975)`.

    The interval is left out if a bound is infinite.
    """
    value = series.points[index].value
    middle, low, high = (_number(series, number) for number in (value.middle, value.low, value.high))
    return f"{middle} ({low}–{high})" if math.isfinite(value.low + value.high) else middle


def change_in_words(series: Series, change: int) -> str:
    """Describe a change by its size and its first run: `0.912 → 0.874 (−4.2%) from 20260102-…`.

    `change` is the index of the first run after the change.
    """
    before, after = levels(series, change)
    share = f" ({(after - before) / abs(before):+.1%})".replace("-", "−") if before else ""
    return f"{_number(series, before)} → {_number(series, after)}{share} from {series.points[change].run}"


def levels(series: Series, change: int) -> tuple[float, float]:
    """Return the median values before and after a change, over the runs up to the neighbouring changes.

    `change` is the index of the first run after the change.
    """
    values = [run.value.middle for run in series.points]
    edges = [0, *series.changes, len(values)]
    i = edges.index(change)
    return median(values[edges[i - 1] : change]), median(values[change : edges[i + 1]])


def is_timing(series: Series) -> bool:
    """Return whether the metric of a series is a timing."""
    metric = METRICS.get(series.metric)
    return metric is not None and metric.kind == "timing"


def _number(series: Series, value: float) -> str:
    if is_timing(series):
        return f"{numbers.microseconds(value)} µs"
    return numbers.score(value) if series.metric in METRICS else numbers.significant(value)
