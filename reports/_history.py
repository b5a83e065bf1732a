"""Cases over all stored runs: a line for the terminal, a figure and a page, with the changes marked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from reports import _numbers as written
from reports._canvas import INK, PALE, Drawing, figure, finished, style
from results import FALSE_ALARMS, METRICS, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BARS = "▁▂▃▄▅▆▇█"
LONGEST_SPARK = 48
"""Runs of a series that a line shows; the newest are the ones that are asked about."""
MOST_PANELS = 24
PANEL_INCHES = 1.9
WIDTH_INCHES = 9.0


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
            place=each.place,
            environment=each.environment,
            runs=len(each.seen),
            spark=spark(each),
            last=value_with_interval(each, len(each.seen) - 1),
            changes=tuple(change_in_words(each, change) for change in each.changes),
        )
        for each in series
    ]


def spark(series: Series) -> str:
    """The values as bars from lowest to highest, a stroke where they change: `▁▁▂▁│▇█▇`."""
    values = [each.value.middle for each in series.seen]
    low, span = min(values), max(values) - min(values)
    first = max(0, len(values) - LONGEST_SPARK)
    bars = [
        ("│" if place in series.changes and place > first else "")
        + BARS[min(len(BARS) - 1, int(len(BARS) * (values[place] - low) / span)) if span > 0 else 0]
        for place in range(first, len(values))
    ]
    return ("…" if first else "") + "".join(bars)


def value_with_interval(series: Series, place: int) -> str:
    """The value of one run with its interval, where it has one."""
    value = series.seen[place].value
    middle, low, high = (_number(series, number) for number in (value.middle, value.low, value.high))
    return f"{middle} ({low}–{high})" if math.isfinite(value.low + value.high) else middle


def change_in_words(series: Series, change: int) -> str:
    """From which run on, and by how much: `0.912 → 0.874 (−4.2%) from 20260102-…`."""
    before, after = levels(series, change)
    share = f" ({(after - before) / abs(before):+.1%})".replace("-", "−") if before else ""
    return f"{_number(series, before)} → {_number(series, after)}{share} from {series.seen[change].run}"


def levels(series: Series, change: int) -> tuple[float, float]:
    """The middle value of the stretch before a change, and of the one after it."""
    values = [each.value.middle for each in series.seen]
    edges = [0, *series.changes, len(values)]
    here = edges.index(change)
    return median(values[edges[here - 1] : change]), median(values[change : edges[here + 1]])


def history_figure(series: Sequence[Series]) -> Drawing | None:
    """One panel a series: each run's value with its interval, the level between changes; None without series."""
    shown = list(series[:MOST_PANELS])
    if not shown:
        return None
    title = f"{_title(shown[0].metric)} over stored runs"
    with style():
        drawn = figure(WIDTH_INCHES, PANEL_INCHES * len(shown) + 0.4)
        panels = drawn.subplots(len(shown), 1, squeeze=False)[:, 0]
        for each, axes in zip(shown, panels, strict=True):
            _panel(each, axes)
        drawn.supxlabel("stored runs, oldest first", fontsize=9)
        told = "; ".join(
            f"{each.label}, {written.plural(len(each.seen), 'run')}: "
            + (", ".join(change_in_words(each, change) for change in each.changes) or "no change")
            for each in shown
        )
        return finished(
            drawn,
            name="history",
            title=title,
            told=told,
            how_to_read=(
                "A point is a run, its bar the 95% interval. The line is the median between changes; a dashed stroke "
                f"marks a change, which at most {FALSE_ALARMS:.0%} of series without one would show. "
                "Runs of another machine or torch stand in a panel of their own."
            ),
        )


def _panel(series: Series, axes: Axes) -> None:
    scale = 1e6 if _is_timing(series) else 1.0
    values = [scale * each.value.middle for each in series.seen]
    for place, each in enumerate(series.seen):
        if math.isfinite(each.value.low + each.value.high):
            axes.plot([place, place], [scale * each.value.low, scale * each.value.high], color=PALE, linewidth=1.2)
    axes.plot(range(len(values)), values, "o", color="#0072B2", markersize=4)
    edges = [0, *series.changes, len(values)]
    for first, end in itertools.pairwise(edges):
        axes.plot([first, end - 1], [median(values[first:end])] * 2, color=INK, linewidth=1)
    for change in series.changes:
        axes.axvline(change - 0.5, color="#D55E00", linestyle="--", linewidth=1.2)
    axes.set_xlim(-0.5, len(values) - 0.5)
    ticks = sorted({0, len(values) - 1, *series.changes})
    axes.set_xticks(ticks, labels=[series.seen[tick].created[:10] for tick in ticks], fontsize=7)
    axes.set_title(written.shortened(f"{series.label} {series.place} · {series.environment}", 110), fontsize=8)
    axes.set_ylabel(f"{written.shortened(series.metric, 24)}{', µs' if scale != 1.0 else ''}", fontsize=7)


def history_page(series: Sequence[Series]) -> str:
    """A small page of its own with the figure and a table. The same series give the same text."""
    import base64

    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawing = history_figure(series)
    image = None if drawing is None else base64.b64encode(drawing.svg.encode()).decode()
    title = "History" if drawing is None else drawing.title
    return templates.get_template("history.html.jinja").render(
        title=title,
        drawing=drawing,
        image=image,
        rows=history_rows(series),
        left_out=max(0, len(series) - MOST_PANELS),
    )


def _number(series: Series, value: float) -> str:
    if _is_timing(series):
        return f"{written.microseconds(value)} µs"
    return written.score(value) if series.metric in METRICS else written.significant(value)


def _is_timing(series: Series) -> bool:
    known = METRICS.get(series.metric)
    return known is not None and known.kind == "timing"


def _title(metric: str) -> str:
    known = METRICS.get(metric)
    title = metric if known is None else known.title
    return title[:1].upper() + title[1:]
