"""The history of a case in words: values, changes and sparklines."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from reports.format import numbers
from results import METRICS, HistoryPoint, Series
from results.comparison import Difference

BARS = "▁▂▃▄▅▆▇█"
MAX_BARS = 48
"""The largest number of runs in a sparkline; older runs are left out."""
COMMIT_LETTERS = 10
"""Number of characters of a commit that are shown."""
MODIFIED = ", modified"
"""What follows a commit if the code of the run differed from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """A series as a table row."""

    case: str
    """The case, with the settings that distinguish it from those of other rows."""
    place: str
    """The coordinates of the measurement: `length 32`."""
    environment: str
    runs: int
    spark: str
    last: str
    """The value of the latest run."""
    changes: tuple[str, ...]
    machines: str
    """The machines with their numbers of runs, such as `a1b2 (15 runs), c3d4 (9 runs)`; empty for a single machine."""
    differences: tuple[str, ...]
    """One text per run with other software, plugins or allowed fields than the run before it. The host is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run of a series as a table row."""

    run: str
    date: str
    """When the run was created, in UTC, such as `2026-01-31 12:00`."""
    commit: str
    """The start of the commit, and whether the code differed from it; empty if the run recorded none."""
    host: str
    """The machine, as a digest; empty if it is unknown."""
    value: str
    units: int
    is_change: bool
    """Whether the value changed at this run."""
    differences: str
    """Other software, plugins or allowed fields than in the run before it; empty if nothing differs."""


def history_rows(series: Sequence[Series]) -> list[HistoryRow]:
    """Return one row per series, in the order of `series`."""
    return [
        HistoryRow(
            case=each.heading,
            place=each.location,
            environment=each.environment,
            runs=len(each.points),
            spark=spark(each),
            last=value_with_interval(each, len(each.points) - 1),
            changes=tuple(change_in_words(each, change) for change in each.changes),
            machines=_machines(each),
            differences=tuple(
                f"{phrases} from {point.run}" for point in each.points if (phrases := _phrases(point.differences))
            ),
        )
        for each in series
    ]


def _machines(series: Series) -> str:
    if len(series.hosts) == 1:
        return ""
    counts = Counter(point.host or "unknown" for point in series.points)
    return ", ".join(f"{host} ({numbers.plural(counts[host], 'run')})" for host in series.hosts)


def _phrases(differences: Sequence[Difference]) -> str:
    return ", ".join(each.phrase for each in differences if each.field != "host")


def run_rows(series: Series) -> list[RunRow]:
    """Return one row per run of a series, in their order."""
    return [
        RunRow(
            run=point.run,
            date=date_of(point),
            commit=_commit_of(point),
            host=point.host or "",
            value=value_with_interval(series, index),
            units=point.units,
            is_change=index in series.changes,
            differences=_phrases(point.differences),
        )
        for index, point in enumerate(series.points)
    ]


def _commit_of(point: HistoryPoint) -> str:
    if point.commit is None:
        return ""
    return f"{point.commit[:COMMIT_LETTERS]}{MODIFIED if point.is_modified else ''}"


def date_of(point: HistoryPoint) -> str:
    """Return when a run was created, in UTC and to the minute: `2026-01-31 12:00`.

    A text that is not a time is returned unchanged.
    """
    try:
        created = datetime.fromisoformat(point.created)
    except ValueError:
        return point.created
    return created.replace(tzinfo=created.tzinfo or UTC).astimezone(UTC).strftime("%Y-%m-%d %H:%M")


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
    middle, low, high = (number_of(series, number) for number in (value.middle, value.low, value.high))
    return f"{middle} ({low}–{high})" if math.isfinite(value.low + value.high) else middle


def change_in_words(series: Series, change: int) -> str:
    """Describe a change by its size and its first run: `0.912 → 0.874 (−4.2%) from 20260102-…`.

    If no machine measured both before and after the change, the text says so. `change` is the index of the first run
    after the change.
    """
    before, after = levels(series, change)
    share = f" ({(after - before) / abs(before):+.1%})".replace("-", "−") if before else ""
    text = f"{number_of(series, before)} → {number_of(series, after)}{share} from {series.points[change].run}"
    return f"{text}, on another machine" if _is_on_another_machine(series, change) else text


def _is_on_another_machine(series: Series, change: int) -> bool:
    edges = [0, *series.changes, len(series.points)]
    i = edges.index(change)
    before, after = series.points[edges[i - 1] : change], series.points[change : edges[i + 1]]
    return {point.host for point in before}.isdisjoint(point.host for point in after)


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


def number_of(series: Series, value: float) -> str:
    """Return a value of a series with its unit, such as `8.21 µs`."""
    if is_timing(series):
        return f"{numbers.microseconds(value)} µs"
    return numbers.score(value) if series.metric in METRICS else numbers.significant(value)
