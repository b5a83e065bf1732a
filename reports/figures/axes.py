"""What the panels of the figures share: their grid, their axes, and the lines that a score is held against."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, floor, isfinite, log10
from typing import TYPE_CHECKING, Literal

from reports.analysis.groups import Group
from reports.figures.canvas import INK, figure, line_labels
from reports.format import numbers
from reports.format.numbers import short_score
from results import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 8.2
"""Inches across, of a figure as wide as the page."""
WIDER = 10.2
"""Inches across, with three columns and more."""
PANEL_HEIGHT = 2.15
MAX_COLUMNS = 4
MIN_SPAN = 10
MAX_DECADES = 8
TICKS_IN_A_DECADE = {"x": (1, 3), "y": (1, 2, 5)}
"""As many as there is room for."""
LABEL_GAP = 0.15
"""The least distance between two line labels on the score axis: one of them has two rows."""


def grid(
    found: Sequence[Group], *, across: float | None = None, height: float = PANEL_HEIGHT
) -> tuple[Figure, dict[tuple[str, int], Axes]]:
    """A panel per task and length: tasks side by side where they fit, else lengths; `across` inches where given."""
    tasks = list(dict.fromkeys(group.task for group in found))
    lengths = sorted({group.length for group in found})
    across_tasks = len(tasks) <= MAX_COLUMNS
    columns, rows = (len(tasks), len(lengths)) if across_tasks else (len(lengths), len(tasks))
    width = WIDER if columns > 2 else WIDTH if columns > 1 else 5.4
    drawn = figure(across or max(width, 2.0 * columns), 0.75 + height * rows * (1.3 if rows == 1 else 1))
    every = drawn.subplots(rows, columns, squeeze=False)
    panels = {}
    present = {(group.task, group.length) for group in found}
    for i, task in enumerate(tasks):
        for j, length in enumerate(lengths):
            axes = every[j, i] if across_tasks else every[i, j]
            if (task, length) in present:
                panels[task, length] = axes
                axes.tick_params(labelleft=(i if across_tasks else j) == 0)
            else:
                axes.set_axis_off()
    return drawn, panels


def reference_lines(axes: Axes, rivals: Sequence[Group], lengths: Sequence[int]) -> None:
    """Chance and the answer blind to the past, drawn from edge to edge and named beside it."""
    lines = [line for length in lengths for group in rivals if (line := group.reference(length)) is not None]
    by_length = {line.length: line for line in lines}
    labels = []
    for name, dash, heights in (
        ("chance", (0, (1, 1.5)), {length: line.chance for length, line in by_length.items()}),
        (
            "blind to\nthe past",
            (0, (4, 2)),
            {n: line.memoryless_score for n, line in by_length.items() if line.memoryless_score is not None},
        ),
    ):
        if heights:
            x = sorted(heights)
            if len(set(heights.values())) == 1:
                axes.axhline(heights[x[0]], color=INK, linewidth=0.9, linestyle=dash, zorder=1)
            else:
                axes.plot(x, [heights[at] for at in x], color=INK, linewidth=0.9, linestyle=dash, zorder=1)
            labels.append((heights[x[-1]], f"{name} {short_score(heights[x[-1]])}"))
    line_labels(axes, labels, gap=LABEL_GAP)


def score_axis(axes: Axes) -> None:
    """From 0 to 1, always, so that panels and runs can be compared by eye: axes that share limits are slow to draw."""
    axes.set_ylim(-0.02, 1.04)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], labels=["0", ".25", ".5", ".75", "1"])


def interval_bar(axes: Axes, x: float, interval: Interval, colour: str) -> None:
    """The interval of a score as a vertical bar; nothing where the samples cannot give one."""
    if isfinite(interval.low) and isfinite(interval.high):
        axes.plot([x, x], [max(interval.low, 0), min(interval.high, 1)], color=colour, linewidth=1.0, zorder=2)


def decades_axis(axes: Axes) -> None:
    """A logarithmic vertical axis with a few whole powers of ten, written as text: `0.01`, `10⁻⁶`."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(numticks=MAX_DECADES))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: numbers.power_of_ten(value)))
    axes.minorticks_off()


def time_axis(axes: Axes, which: Literal["x", "y"], values: Iterable[float]) -> None:
    """A logarithmic axis around `values`, in microseconds, written as plain numbers.

    It spans a decade at least, so that noise is not blown up into something that looks like an effect.
    """
    kept = [value for value in values if value > 0]
    if not kept:
        return
    low, high = min(kept) / 1.4, max(kept) * 1.4
    widening = max(1.0, (MIN_SPAN * low / high) ** 0.5)
    low, high = low / widening, high * widening
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in TICKS_IN_A_DECADE[which]]
    shown = [tick for tick in ticks if low <= tick <= high]
    labels = [numbers.significant(tick, 1) for tick in shown]
    if which == "x":
        axes.set_xscale("log")
        axes.set_xticks(shown, labels=labels)
        axes.set_xlim(low, high)
    else:
        axes.set_yscale("log")
        axes.set_yticks(shown, labels=labels)
        axes.set_ylim(low, high)
    axes.minorticks_off()
