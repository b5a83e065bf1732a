"""The figure of score against test length, at and beyond the trained length."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from reports.analysis.groups import Group, archs_of, group_cases
from reports.figures.drawing.alternative_text import extreme, name_all
from reports.figures.drawing.axes import banded_grid, interval_bar, positions_axis, score_axis, score_label
from reports.figures.drawing.bands import BACKGROUND, CONTEXT_LINE
from reports.figures.drawing.canvas import PALE, Figure, PlotStyle, figure_style, finish_figure, plot_styles
from reports.figures.drawing.reference_lines import reference_lines, strategies_explained
from reports.figures.drawing.tables import figure_table, with_interval
from reports.format import numbers
from results import Record, RunFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDE_BY_SIDE = " Architectures stand side by side at each length, so that none covers another."
"""The part of the caption that explains points beside their length."""


def accuracy_against_length(run: RunFile, records: Sequence[Record]) -> Figure | None:
    """Draw score against test length, one panel per task and trained length. Returns None without scores."""
    return accuracy_against_length_figure(group_cases(run, records))


def accuracy_against_length_figure(groups: Sequence[Group], *, width: float | None = None) -> Figure | None:
    """Draw score against test length, one panel per task and trained length. Returns None without scores.

    `width` is the width of the figure in inches; None stands for the usual width.
    """
    scored = [group for group in groups if any(group.scores(length) for length in group.evaluated_lengths())]
    if not scored:
        return None
    styles = plot_styles(archs_of(groups))
    with figure_style():
        figure, bands = banded_grid(scored, styles, width=width)
        rivals = {
            (task, length): [group for group in scored if (group.task, group.length) == (task, length)]
            for task, length in bands[0][1]
        }
        for band, panels in bands:
            for (task, length), axes in panels.items():
                _draw_panel(axes, rivals[task, length], band.styles)
                axes.set_title(f"{numbers.shortened(task, 30)}, trained at {length:,}")
        longest = [_scores_at_longest(groups) for groups in rivals.values()]
        figure.supxlabel("test length (steps)", fontsize=9)
        figure.supylabel(score_label(), fontsize=9)
        return finish_figure(
            figure,
            name="accuracy-against-length",
            title="Score against length",
            alternative=(
                f"Score of {name_all(archs_of(scored))} against test length; at the longest test length, the mean "
                f"score is {extreme(longest)}."
            ),
            description=_describe(scored),
            table=figure_table(
                ("architecture", "task", "trained at", "test length", "score (95% interval)", "seeds"),
                (
                    (
                        group.arch,
                        group.task,
                        numbers.count(group.length),
                        numbers.count(length),
                        with_interval(group.interval(length)),
                        numbers.count(len(group.scores(length))),
                    )
                    for group in scored
                    for length in group.evaluated_lengths()
                    if group.scores(length)
                ),
            ),
            how_to_read=(
                "Lines are means over seeds with 95% intervals, and dots are single seeds. The vertical line marks "
                "the trained length; longer sequences do not occur in training. A model whose score stays at "
                "chance or at the memoryless baseline shows no memory by its score; its loss may show some."
                + SIDE_BY_SIDE * (len(archs_of(scored)) > 1)
                + strategies_explained(scored)
                + BACKGROUND * (len(bands) > 1)
            ),
            headed=False,
        )


def _draw_panel(axes: Axes, rivals: Sequence[Group], styles: dict[str, PlotStyle]) -> None:
    """Draw the architectures that have a style, and the others as lines in the background."""
    trained = rivals[0].length
    lengths = sorted({length for group in rivals for length in group.evaluated_lengths()})
    reference_lines(axes, rivals, lengths)
    axes.axvline(trained, color=PALE, linewidth=1.0)
    drawn = [group for group in rivals if group.arch in styles]
    for group in rivals:
        scored = [length for length in group.evaluated_lengths() if group.scores(length)]
        means = [group.interval(length) for length in scored]
        if group not in drawn:
            axes.plot(scored, [mean.middle for mean in means], **CONTEXT_LINE)
            continue
        style = styles[group.arch]
        offset = 1 + min(0.07, 0.4 / len(drawn)) * (drawn.index(group) - (len(drawn) - 1) / 2)
        xs = [length * offset for length in scored]
        axes.plot(
            xs,
            [mean.middle for mean in means],
            color=style.colour,
            marker=style.marker,
            linestyle=style.dash,
            zorder=3,
        )
        for x, mean in zip(xs, means, strict=True):
            interval_bar(axes, x, mean, style.colour)
        dots = [(1.035 * x, score) for x, length in zip(xs, scored, strict=True) for score in group.scores(length)]
        axes.plot(*zip(*dots, strict=True), ".", color=style.colour, markersize=3.5, alpha=0.75, zorder=2)
    positions_axis(axes, lengths)
    axes.set_xlim(lengths[0] / 1.35, lengths[-1] * 1.35)
    score_axis(axes)


def _scores_at_longest(rivals: Sequence[Group]) -> dict[str, float]:
    """Return the mean scores at the longest test length of a panel, by architecture."""
    longest = max(length for group in rivals for length in group.evaluated_lengths())
    return {group.arch: fmean(scores) for group in rivals if (scores := group.scores(longest))}


def _describe(groups: Sequence[Group]) -> str:
    return "; ".join(
        f"{group.task} trained at {group.length}, {group.arch}: "
        + ", ".join(
            f"{fmean(scores):.2f} at {length}"
            for length in group.evaluated_lengths()
            if (scores := group.scores(length))
        )
        for group in groups
    )
