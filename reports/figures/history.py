"""The history figure: one panel per series over all stored runs, with changes marked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from reports.figures.drawing.canvas import INK, PALE, Figure, empty_figure, figure_style, finish_figure
from reports.format import numbers
from reports.text.history import change_in_words, date_of, is_timing
from results import FALSE_ALARMS, METRICS, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_PANELS = 24
PANEL_INCHES = 1.9
WIDTH_INCHES = 9.0


def history_figure(series: Sequence[Series]) -> Figure | None:
    """Draw one panel for each of the first `MAX_PANELS` series. Returns None without series.

    A panel shows the value of each run with its interval, and the median value between changes.
    """
    shown = list(series[:MAX_PANELS])
    if not shown:
        return None
    title = f"{title_of(shown[0].metric)} over stored runs"
    changed = sum(bool(each.changes) for each in shown)
    with figure_style():
        figure = empty_figure(WIDTH_INCHES, PANEL_INCHES * len(shown) + 0.4)
        for each, axes in zip(shown, figure.subplots(len(shown), 1, squeeze=False)[:, 0], strict=True):
            _draw_panel(each, axes)
        figure.supxlabel("stored runs, oldest first (UTC)", fontsize=9)
        return finish_figure(
            figure,
            name="history",
            title=title,
            alternative=(
                f"{title} in {numbers.plural(len(shown), 'panel')}; {changed} of {len(shown)} series "
                f"{'shows' if changed == 1 else 'show'} a change."
            ),
            description="; ".join(
                f"{each.heading}, {numbers.plural(len(each.points), 'run')}: "
                + (", ".join(change_in_words(each, change) for change in each.changes) or "no change")
                for each in shown
            ),
            how_to_read=(
                "Each point is a run with its 95% interval. Horizontal lines are medians between changes, and dashed "
                f"vertical lines mark changes. A series without a change shows one with a probability of at most "
                f"{FALSE_ALARMS:.0%}. Runs that are not comparable, such as timings of two machines, have a panel of "
                "their own."
            ),
        )


def _draw_panel(series: Series, axes: Axes) -> None:
    scale = 1e6 if is_timing(series) else 1.0
    values = [scale * each.value.middle for each in series.points]
    for index, each in enumerate(series.points):
        if math.isfinite(each.value.low + each.value.high):
            axes.plot([index, index], [scale * each.value.low, scale * each.value.high], color=PALE, linewidth=1.2)
    axes.plot(range(len(values)), values, "o", color="#0072B2", markersize=4)
    edges = [0, *series.changes, len(values)]
    for first, end in itertools.pairwise(edges):
        axes.plot([first, end - 1], [median(values[first:end])] * 2, color=INK, linewidth=1)
    for change in series.changes:
        axes.axvline(change - 0.5, color="#D55E00", linestyle="--", linewidth=1.2)
    axes.set_xlim(-0.5, len(values) - 0.5)
    ticks = sorted({0, len(values) - 1, *series.changes})
    axes.set_xticks(ticks, labels=[date_of(series.points[tick]).replace(" ", "\n") for tick in ticks], fontsize=7)
    axes.set_title(numbers.shortened(f"{series.heading} {series.location} · {series.environment}", 110), fontsize=8)
    axes.set_ylabel(f"{numbers.shortened(series.metric, 24)}{', µs' if scale != 1.0 else ''}", fontsize=7)


def title_of(metric: str) -> str:
    """Return the title of a metric, with a capital letter."""
    known = METRICS.get(metric)
    title = metric if known is None else known.title
    return title[:1].upper() + title[1:]
