"""Cases over all stored runs: a line for the terminal, a figure and a page, with the changes marked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from reports.figures.canvas import INK, PALE, Figure, figure, finished, style
from reports.format import numbers
from results import FALSE_ALARMS, METRICS, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
from reports.text.history import change_in_words, is_timing

MAX_PANELS = 24
PANEL_INCHES = 1.9
WIDTH_INCHES = 9.0


def history_figure(series: Sequence[Series]) -> Figure | None:
    """One panel a series: each run's value with its interval, the level between changes; None without series."""
    shown = list(series[:MAX_PANELS])
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
            f"{each.label}, {numbers.plural(len(each.points), 'run')}: "
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
    scale = 1e6 if is_timing(series) else 1.0
    values = [scale * each.value.middle for each in series.points]
    for place, each in enumerate(series.points):
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
    axes.set_xticks(ticks, labels=[series.points[tick].created[:10] for tick in ticks], fontsize=7)
    axes.set_title(numbers.shortened(f"{series.label} {series.location} · {series.environment}", 110), fontsize=8)
    axes.set_ylabel(f"{numbers.shortened(series.metric, 24)}{', µs' if scale != 1.0 else ''}", fontsize=7)


def _title(metric: str) -> str:
    known = METRICS.get(metric)
    title = metric if known is None else known.title
    return title[:1].upper() + title[1:]
