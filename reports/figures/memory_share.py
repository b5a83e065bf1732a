"""Figures of the mean memory share over tasks, for runs with too many tasks for one screen."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from typing import TYPE_CHECKING

from reports.analysis.groups import Group, archs_of
from reports.analysis.memory_share import memory_share, shared_settings
from reports.analysis.overview import OverviewRow, overview_rows
from reports.analysis.ranking import Estimate
from reports.analysis.step_costs import marked
from reports.figures.drawing.alternative_text import cheapest, extreme, name_all
from reports.figures.drawing.axes import interval_bar, score_axis, time_axis
from reports.figures.drawing.canvas import (
    PALE,
    Figure,
    PlotStyle,
    empty_figure,
    figure_style,
    finish_figure,
    legend,
    plot_styles,
    positions_axis,
)
from reports.format import numbers
from reports.text.streaming import CALLED, HOLLOW_MARKERS
from results import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_WIDTH, PANEL_HEIGHT, MIN_WIDTH = 2.6, 4.1, 5.4
"""Sizes in inches; `MIN_WIDTH` is the smallest width of the figure."""
MAX_PANELS = 4

Means = dict[str, dict[int, Estimate]]
"""Mean memory shares by architecture and test length."""


def memory_share_against_length_figure(groups: Sequence[Group]) -> Figure | None:
    """Draw the mean memory share over tasks against test length, one panel per trained length.

    Only the `MAX_PANELS` longest trained lengths are considered. A panel is left out if the architectures share no task
    at its length. Returns None if all panels are left out.
    """
    trained_lengths = sorted({group.length for group in groups})[-MAX_PANELS:]
    means_by_length = {
        length: _means([group for group in groups if group.length == length]) for length in trained_lengths
    }
    panels = {length: means for length, (_, means) in means_by_length.items() if means}
    if not panels:
        return None
    all_styles = plot_styles(archs_of(groups))
    styles = {arch: style for arch, style in all_styles.items() if any(arch in means for means in panels.values())}
    with figure_style():
        figure = empty_figure(max(MIN_WIDTH, PANEL_WIDTH * len(panels)), PANEL_HEIGHT)
        all_axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axes, (trained, means) in zip(all_axes, panels.items(), strict=True):
            _draw_panel(axes, trained, means, styles)
            axes.set_title(f"trained at {trained:,}: {means_by_length[trained][0]} tasks")
        figure.supxlabel("test length (steps)", fontsize=9)
        figure.supylabel("memory share (mean over tasks)", fontsize=9)
        legend(figure, styles)
        longest = [
            {arch: by_length[max(by_length)].mean for arch, by_length in means.items()} for means in panels.values()
        ]
        return finish_figure(
            figure,
            name="memory-share-against-length",
            title="Memory share against length, mean over tasks",
            alternative=(
                f"Mean memory share over tasks of {name_all(styles)} against test length; at the longest test length, "
                f"it is {extreme(longest)}."
            ),
            description="; ".join(
                f"trained at {trained}, {arch}: "
                + ", ".join(f"{estimate.mean:.2f} at {length}" for length, estimate in by_length.items())
                for trained, means in panels.items()
                for arch, by_length in means.items()
            ),
            how_to_read=(
                "A memory share of 0 is the best score without memory, and 1 is a perfect score. Lines are means over "
                "tasks, with the 95% interval over seeds. The vertical line marks the trained length. The leaderboard "
                "has the score on each task."
            ),
        )


def memory_share_against_cost_figure(
    groups: Sequence[Group], rows: Sequence[OverviewRow] | None = None
) -> Figure | None:
    """Draw the mean memory share over settings against the median step time at the last position.

    `rows` is the result of `overview_rows(groups)`, which is computed if `rows` is None. Returns None if no
    architecture has both a mean memory share and step times.
    """
    rows = overview_rows(groups) if rows is None else rows
    streamed = [(row, row.cost) for row in rows if row.cost is not None]
    if not streamed:
        return None
    styles = plot_styles(archs_of(groups))
    position = max(cost.position for _, cost in streamed)
    with figure_style():
        figure = empty_figure(6.4, 4.2)
        axes = figure.subplots()
        for row, cost in streamed:
            style, x = styles[row.arch], 1e6 * cost.p50_seconds
            interval_bar(axes, x, Interval(row.low, row.share, row.high), style.colour)
            area = 14 * log2(2 + (cost.state_bytes or 0))
            axes.plot(
                [x],
                [row.share],
                marker=style.marker,
                markersize=area**0.5,
                color=style.colour,
                fillstyle="none" if cost.timing == "interpreted" else "full",
                clip_on=False,
            )
        time_axis(axes, "x", [1e6 * cost.p50_seconds for _, cost in streamed])
        score_axis(axes)
        called = "" if any(cost.timing == "compiled" for _, cost in streamed) else f", {CALLED}"
        axes.set_xlabel(f"time per step at position {position:,}{called}, p50 (µs)")
        axes.set_ylabel("memory share (mean over settings)")
        labelled = {
            f"{marked(row.arch, cost.timing)}, state {numbers.size(cost.state_bytes)}": styles[row.arch]
            for row, cost in streamed
        }
        legend(figure, labelled, line=False)
        shares = [{row.arch: row.share for row, _ in streamed}]
        seconds = [{row.arch: cost.p50_seconds for row, cost in streamed if row.has_ranked_cost}]
        return finish_figure(
            figure,
            name="memory-share-against-cost",
            title="Memory share against cost",
            alternative=(
                f"Memory share of {name_all(row.arch for row, _ in streamed)} against time per step{called}; the "
                f"share is {extreme(shares)}{cheapest(seconds)}."
            ),
            description="; ".join(
                f"{marked(row.arch, cost.timing)}: {row.share:.2f} for {numbers.microseconds(cost.p50_seconds)} µs and "
                f"{numbers.size(cost.state_bytes)}"
                for row, cost in streamed
            ),
            how_to_read=(
                "Up and to the left is better: more memory for a cheaper step. Markers are means over "
                f"{numbers.plural(len(shared_settings(groups)), 'setting')}, with 95% intervals over seeds. A larger "
                "marker means a larger state of a stream, on a logarithmic scale."
                + HOLLOW_MARKERS
                * any(cost.timing == "interpreted" for _, cost in streamed)
            ),
        )


def _means(rivals: Sequence[Group]) -> tuple[int, Means]:
    """Return the number of shared tasks, and the mean memory shares over these tasks.

    All groups in `rivals` have the same trained length. A task is shared if every architecture has at least two scored
    seeds on this task at every test length.
    """
    archs = archs_of(rivals)
    by_task: dict[str, Means] = {}
    for group in rivals:
        by_length = {length: memory_share(group, length) for length in group.evaluated_lengths()}
        by_task.setdefault(group.task, {})[group.arch] = {
            length: Estimate.of(shares) for length, shares in by_length.items() if len(shares) > 1
        }
    lengths = sorted({length for means in by_task.values() for row in means.values() for length in row})
    shared = [means for means in by_task.values() if all(set(lengths) <= set(means.get(arch, {})) for arch in archs)]
    if not shared or not lengths:
        return 0, {}
    return len(shared), {
        arch: {length: Estimate.over([means[arch][length] for means in shared]) for length in lengths} for arch in archs
    }


def _draw_panel(axes: Axes, trained: int, means: Means, styles: dict[str, PlotStyle]) -> None:
    axes.axvline(trained, color=PALE, linewidth=1.0)
    lengths = sorted({length for by_length in means.values() for length in by_length})
    for index, (arch, by_length) in enumerate(means.items()):
        style = styles[arch]
        offset = 1 + min(0.07, 0.4 / len(means)) * (index - (len(means) - 1) / 2)
        xs = [length * offset for length in by_length]
        heights = [estimate.mean for estimate in by_length.values()]
        axes.plot(xs, heights, color=style.colour, marker=style.marker, linestyle=style.dash, zorder=3)
        for x, estimate in zip(xs, by_length.values(), strict=True):
            interval_bar(axes, x, estimate.interval(), style.colour)
    positions_axis(axes, lengths)
    axes.set_xlim(lengths[0] / 1.35, lengths[-1] * 1.35)
    score_axis(axes)
