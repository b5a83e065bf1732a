"""Shared parts of panels: the grid of panels, axes and interval bars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, floor, inf, isfinite, log2, log10
from typing import TYPE_CHECKING, Literal, TypeAlias

from reports.analysis.groups import Group, archs_of
from reports.figures.drawing.bands import Band, banded_figure
from reports.figures.drawing.canvas import PlotStyle, empty_figure, legend
from reports.figures.drawing.scale import current_scale
from reports.format import numbers
from results import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

WIDTH = 8.2
"""The width in inches of a figure that is as wide as the page."""
WIDER = 10.2
"""The usual width in inches of a figure with three or more columns of panels."""
PANEL_HEIGHT = 2.15
"""The height of a panel in inches."""
MAX_COLUMNS = 4
"""With more tasks than this, the grid has lengths as columns and tasks as rows."""
MIN_SPAN = 10
"""The smallest ratio between the ends of an axis of times or sizes."""
MAX_TICKS = 7
"""The largest number of ticks on an axis of positions."""
MAX_SIZES = 6
"""The largest number of ticks on an axis of sizes."""
MAX_DECADES = 8
"""The largest number of ticks on a logarithmic axis with powers of ten."""
SCORE_TICKS = {0: "0", 0.25: ".25", 0.5: ".5", 0.75: ".75", 1: "1"}
TICKS_IN_A_DECADE = {"x": (1, 3), "y": (1, 2, 5)}
"""The multiples of each power of ten that get a tick. A vertical axis has room for more ticks."""
Panels: TypeAlias = "dict[tuple[str, int], Axes]"
"""The panels of a grid by task and trained length."""


def grid(groups: Sequence[Group], *, width: float | None = None, height: float = PANEL_HEIGHT) -> tuple[Figure, Panels]:
    """Return a figure with one panel per task and length, and its panels.

    Each column is a task. With more than `MAX_COLUMNS` tasks, each column is a length instead.

    Args:
        groups: The groups that determine tasks and lengths.
        width: The width of the figure in inches; None for the usual width.
        height: The height of a row of panels in inches. A single row is 1.3 times as high.
    """
    figure = empty_figure(*_size(groups, width, height))
    return figure, _add_panels(figure, groups)


def banded_grid(
    groups: Sequence[Group],
    styles: dict[str, PlotStyle],
    *,
    width: float | None = None,
    height: float = PANEL_HEIGHT,
    labels: Mapping[str, str] | None = None,
) -> tuple[Figure, list[tuple[Band, Panels]]]:
    """Return a figure with the panels of `grid` for each band of architectures, and a legend above each band.

    Args:
        groups: The groups to draw, which determine tasks, lengths and architectures.
        styles: The plot styles of all architectures of the run.
        width, height: As for `grid`.
        labels: The names of architectures in the legend, if they differ from those of `styles`.
    """
    width, height = _size(groups, width, height)
    figure, bands = banded_figure(styles, archs_of(groups), width=width, height=height)
    panels = [(band, _add_panels(band.figure, groups)) for band in bands]
    for band in bands:
        legend(band.figure, {(labels or {}).get(arch, arch): style for arch, style in band.styles.items()})
    return figure, panels


def _size(groups: Sequence[Group], width: float | None, height: float) -> tuple[float, float]:
    """Return the width and the height of a grid in inches. The arguments are those of `grid`."""
    tasks, lengths = _tasks_and_lengths(groups)
    columns, rows = (len(tasks), len(lengths)) if len(tasks) <= MAX_COLUMNS else (len(lengths), len(tasks))
    usual_width = WIDER if columns > 2 else WIDTH if columns > 1 else 5.4
    return width or max(usual_width, 2.0 * columns), 0.75 + height * rows * (1.3 if rows == 1 else 1)


def _tasks_and_lengths(groups: Sequence[Group]) -> tuple[list[str], list[int]]:
    return list(dict.fromkeys(group.task for group in groups)), sorted({group.length for group in groups})


def _add_panels(figure: FigureBase, groups: Sequence[Group]) -> Panels:
    """Add the panels of a grid to a figure, or to a part of one."""
    tasks, lengths = _tasks_and_lengths(groups)
    columns_are_tasks = len(tasks) <= MAX_COLUMNS
    columns, rows = (len(tasks), len(lengths)) if columns_are_tasks else (len(lengths), len(tasks))
    all_axes = figure.subplots(rows, columns, squeeze=False)
    panels: Panels = {}
    present = {(group.task, group.length) for group in groups}
    for i, task in enumerate(tasks):
        for j, length in enumerate(lengths):
            axes = all_axes[j, i] if columns_are_tasks else all_axes[i, j]
            if (task, length) in present:
                panels[task, length] = axes
                axes.tick_params(labelleft=(i if columns_are_tasks else j) == 0)
            else:
                axes.set_axis_off()
    return panels


def score_label(name: str = "score") -> str:
    """Return the label of an axis of scores. A slide has lower panels, and room for the name alone."""
    return name if current_scale() == "slide" else f"{name} (share correct)"


def score_axis(axes: Axes) -> None:
    """Make the vertical axis run from 0 to 1 so that panels and runs can be compared by eye."""
    axes.set_ylim(-0.02, 1.04)  # set per panel: axes that share their limits are slow to draw
    axes.set_yticks(list(SCORE_TICKS), labels=list(SCORE_TICKS.values()))


def interval_bar(axes: Axes, x: float, interval: Interval, colour: str, opacity: float = 1.0) -> None:
    """Draw the interval of a score as a vertical bar, unless an end is infinite.

    Args:
        axes: The panel.
        x: The horizontal position of the bar, in data units.
        interval: The interval, which is clipped to [0, 1].
        colour: The colour of the bar.
        opacity: The opacity of the bar in [0, 1].
    """
    if isfinite(interval.low) and isfinite(interval.high):
        ends = [min(max(end, 0.0), 1.0) for end in (interval.low, interval.high)]
        axes.plot([x, x], ends, color=colour, alpha=opacity, linewidth=1.0, zorder=2)


def log_scale(axes: Axes, which: Literal["x", "y"], base: float = 10) -> None:
    """Make an axis logarithmic. An axis whose data are all zero or negative is left unchanged.

    If the positive values differ by less than a factor of two, the axis reaches from half the smallest to twice the
    largest. Around a single value that is a rounding error below a power of `base`, as 1e6 × 1e-7 is, matplotlib alone
    would give the axis no extent.
    """
    data = axes.dataLim
    low, high = (data.minposx, data.x1) if which == "x" else (data.minposy, data.y1)
    if -inf < high <= 0:
        return
    if low <= high < 2 * low:
        axes.update_datalim([(low / 2, low / 2), (2 * high, 2 * high)], updatex=which == "x", updatey=which == "y")
    if which == "x":
        axes.set_xscale("log", base=base)
    else:
        axes.set_yscale("log", base=base)


def positions_axis(axes: Axes, ticks: Sequence[int]) -> None:
    """Make the horizontal axis logarithmic, with plain numbers at `ticks`, which are positions or lengths in steps."""
    log_scale(axes, "x", base=2)
    axes.set_xticks(list(ticks), labels=[f"{tick:,}" for tick in ticks])
    axes.minorticks_off()


def thinned(positions: Sequence[int]) -> list[int]:
    """Select at most `MAX_TICKS` evenly spaced positions, always including the last one."""
    stride = max(1, -(-len(positions) // MAX_TICKS))
    return list(positions[::-stride][::-1])


def decades_axis(axes: Axes) -> None:
    """Make the vertical axis logarithmic, with ticks at a few powers of ten: `0.01`, `10⁻⁶`.

    If no value is positive, the axis is left unchanged.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator

    log_scale(axes, "y")
    if axes.get_yscale() != "log":
        return
    axes.yaxis.set_major_locator(LogLocator(numticks=MAX_DECADES))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: numbers.power_of_ten(value)))
    axes.minorticks_off()


def size_axis(axes: Axes, values: Iterable[float]) -> None:
    """Make the horizontal axis logarithmic around `values` in bytes, with ticks at powers of two: `512 B`, `8.0 KiB`.

    The axis spans at least a factor of `MIN_SPAN`. If no value is positive, the axis is left unchanged.
    """
    positive = [value for value in values if value > 0]
    if not positive:
        return
    low, high = _widened(min(positive), max(positive))
    powers = range(ceil(log2(low)), floor(log2(high)) + 1)
    stride = max(1, -(-len(powers) // MAX_SIZES))
    ticks = [2.0**power for power in powers if power % stride == 0]
    log_scale(axes, "x", base=2)
    axes.set_xticks(ticks, labels=[numbers.size(tick).replace(".0 ", " ") for tick in ticks])
    axes.set_xlim(low, high)
    axes.minorticks_off()


def time_axis(axes: Axes, which: Literal["x", "y"], values: Iterable[float]) -> None:
    """Make an axis logarithmic around `values` in microseconds, with plain numbers as tick labels.

    The axis spans at least one decade, so that noise does not look like an effect. If no value is positive, the axis
    is left unchanged.
    """
    positive = [value for value in values if value > 0]
    if not positive:
        return
    low, high = _widened(min(positive), max(positive))
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in TICKS_IN_A_DECADE[which]]
    shown = [tick for tick in ticks if low <= tick <= high]
    labels = [numbers.significant(tick, 1) for tick in shown]
    log_scale(axes, which)
    if which == "x":
        axes.set_xticks(shown, labels=labels)
        axes.set_xlim(low, high)
    else:
        axes.set_yticks(shown, labels=labels)
        axes.set_ylim(low, high)
    axes.minorticks_off()


def _widened(low: float, high: float) -> tuple[float, float]:
    """Return the ends of a logarithmic axis that leaves room around the values and spans at least `MIN_SPAN`."""
    low, high = low / 1.4, high * 1.4
    widening = max(1.0, (MIN_SPAN * low / high) ** 0.5)
    return low / widening, high * widening
