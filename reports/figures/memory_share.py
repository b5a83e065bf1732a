"""The figure of the mean memory share over tasks, for runs with too many tasks for one screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.analysis.groups import Group, archs_of
from reports.analysis.memory_share import memory_estimate
from reports.analysis.ranking import Estimate
from reports.figures.drawing.alternative_text import extreme, name_all
from reports.figures.drawing.axes import interval_bar, positions_axis, score_axis
from reports.figures.drawing.bands import BACKGROUND, CONTEXT_LINE, banded_figure
from reports.figures.drawing.canvas import PALE, Figure, PlotStyle, figure_style, finish_figure, legend, plot_styles
from reports.figures.drawing.tables import figure_table, with_interval
from reports.format import numbers

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
        width = max(MIN_WIDTH, PANEL_WIDTH * len(panels))
        figure, bands = banded_figure(all_styles, styles, width=width, height=PANEL_HEIGHT)
        for band in bands:
            all_axes = band.figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
            for axes, (trained, means) in zip(all_axes, panels.items(), strict=True):
                _draw_panel(axes, trained, means, band.styles)
                axes.set_title(f"trained at {trained:,}: {means_by_length[trained][0]} tasks")
            legend(band.figure, band.styles)
        figure.supxlabel("test length (steps)", fontsize=9)
        figure.supylabel("memory share (mean over tasks)", fontsize=9)
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
            table=figure_table(
                ("architecture", "trained at", "tasks", "test length", "memory share (95% interval)"),
                (
                    (
                        arch,
                        numbers.count(trained),
                        numbers.count(means_by_length[trained][0]),
                        numbers.count(length),
                        with_interval(estimate.interval()),
                    )
                    for trained, means in panels.items()
                    for arch, by_length in means.items()
                    for length, estimate in by_length.items()
                ),
            ),
            how_to_read=(
                "A memory share of 0 is the best score without memory, and 1 is a perfect score. Lower shares are "
                "drawn at 0. Lines are means over tasks, with the 95% interval over seeds. The vertical line marks the "
                "trained length. The leaderboard "
                "has the score on each task." + BACKGROUND * (len(bands) > 1)
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
        by_length = {length: memory_estimate(group, length) for length in group.evaluated_lengths()}
        by_task.setdefault(group.task, {})[group.arch] = {
            length: estimate for length, estimate in by_length.items() if estimate is not None
        }
    lengths = sorted({length for means in by_task.values() for row in means.values() for length in row})
    shared = [means for means in by_task.values() if all(set(lengths) <= set(means.get(arch, {})) for arch in archs)]
    if not shared or not lengths:
        return 0, {}
    return len(shared), {
        arch: {length: Estimate.over([means[arch][length] for means in shared]) for length in lengths} for arch in archs
    }


def _draw_panel(axes: Axes, trained: int, means: Means, styles: dict[str, PlotStyle]) -> None:
    """Draw the architectures that have a style, and the others as lines in the background."""
    axes.axvline(trained, color=PALE, linewidth=1.0)
    lengths = sorted({length for by_length in means.values() for length in by_length})
    drawn = [arch for arch in means if arch in styles]
    for arch, by_length in means.items():
        heights = [max(0.0, estimate.mean) for estimate in by_length.values()]
        if arch not in styles:
            axes.plot(list(by_length), heights, **CONTEXT_LINE)
            continue
        style = styles[arch]
        offset = 1 + min(0.07, 0.4 / len(drawn)) * (drawn.index(arch) - (len(drawn) - 1) / 2)
        xs = [length * offset for length in by_length]
        axes.plot(xs, heights, color=style.colour, marker=style.marker, linestyle=style.dash, zorder=3)
        for x, estimate in zip(xs, by_length.values(), strict=True):
            interval_bar(axes, x, estimate.interval(), style.colour)
    positions_axis(axes, lengths)
    axes.set_xlim(lengths[0] / 1.35, lengths[-1] * 1.35)
    score_axis(axes)
