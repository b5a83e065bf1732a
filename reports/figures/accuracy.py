"""Score against length: who remembers, over what distance, and beyond what it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from reports.analysis.groups import Group, archs_of, group_cases
from reports.figures.axes import grid, interval_bar, reference_lines, score_axis
from reports.figures.canvas import PALE, Figure, PlotStyle, legend, plot_styles, positions_axis, style, to_svg
from reports.format import numbers
from results import Record, RunFile, interval_of_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def accuracy_against_length(run: RunFile, records: Sequence[Record]) -> Figure | None:
    """Score against evaluated length, one panel per task and trained length; None without scores."""
    return accuracy_against_length_figure(group_cases(run, records))


def accuracy_against_length_figure(found: Sequence[Group], *, across: float | None = None) -> Figure | None:
    """The figure of groups that are already at hand, `across` inches wide where that is given."""
    kept = [group for group in found if any(group.scores(length) for length in group.evaluated_lengths())]
    if not kept:
        return None
    colours = plot_styles(archs_of(found))
    shown = {arch: mark for arch, mark in colours.items() if arch in archs_of(kept)}
    title = "Score against length"
    with style():
        drawn, panels = grid(kept, across=across)
        for (task, length), axes in panels.items():
            rivals = [group for group in kept if (group.task, group.length) == (task, length)]
            _accuracy_panel(axes, rivals, colours)
            axes.set_title(f"{numbers.shortened(task, 30)}, trained at {length:,}")
        drawn.supxlabel("length at which the trained model is tested (steps)", fontsize=9)
        drawn.supylabel("score (share answered rightly)", fontsize=9)
        legend(drawn, shown)
        alternative = f"{title}: {_told_scores(kept)}"
        svg = to_svg(drawn, title=title, alternative=alternative)
    return Figure(
        name="accuracy-against-length",
        title=title,
        svg=svg,
        alternative=alternative,
        how_to_read=(
            "Each line is the mean over seeds with its 95% interval, each dot a seed; the vertical line marks the "
            "trained length, everything right of it is longer than any sequence seen in training. A model that stays "
            "on the line of chance, or of an answer blind to the past, has not used its memory."
        ),
    )


def _accuracy_panel(axes: Axes, rivals: Sequence[Group], colours: dict[str, PlotStyle]) -> None:
    trained = rivals[0].length
    lengths = sorted({length for group in rivals for length in group.evaluated_lengths()})
    reference_lines(axes, rivals, lengths)
    axes.axvline(trained, color=PALE, linewidth=1.0)
    for place, group in enumerate(rivals):
        mark = colours[group.arch]
        scored = [length for length in group.evaluated_lengths() if group.scores(length)]
        beside = 1 + min(0.07, 0.4 / len(rivals)) * (place - (len(rivals) - 1) / 2)
        across = [length * beside for length in scored]
        means = [interval_of_mean(group.scores(length)) for length in scored]
        axes.plot(
            across,
            [mean.middle for mean in means],
            color=mark.colour,
            marker=mark.marker,
            linestyle=mark.dash,
            zorder=3,
        )
        for x, mean in zip(across, means, strict=True):
            interval_bar(axes, x, mean, mark.colour)
        dots = [(1.035 * x, score) for x, length in zip(across, scored, strict=True) for score in group.scores(length)]
        axes.plot(*zip(*dots, strict=True), ".", color=mark.colour, markersize=3.5, alpha=0.75, zorder=2)
    positions_axis(axes, lengths)
    axes.set_xlim(lengths[0] / 1.35, lengths[-1] * 1.35)
    score_axis(axes)


def _told_scores(found: Sequence[Group]) -> str:
    return "; ".join(
        f"{group.task} trained at {group.length}, {group.arch}: "
        + ", ".join(
            f"{fmean(scores):.2f} at {length}"
            for length in group.evaluated_lengths()
            if (scores := group.scores(length))
        )
        for group in found
    )
