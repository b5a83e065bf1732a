"""Score against cost: what a step must cost for what is remembered."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from statistics import fmean
from typing import TYPE_CHECKING

from reports.analysis.groups import Group, archs_of, group_cases
from reports.analysis.step_costs import StepCost, step_costs
from reports.figures.axes import grid, interval_bar, reference_lines, score_axis, time_axis
from reports.figures.canvas import Figure, PlotStyle, legend, plot_styles, style, to_svg
from reports.format import numbers
from results import Record, RunFile, interval_of_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def accuracy_against_cost(run: RunFile, records: Sequence[Record]) -> Figure | None:
    """Score against the p50 of a step at the longest position; None where no case has both."""
    return accuracy_against_cost_figure(group_cases(run, records))


def accuracy_against_cost_figure(found: Sequence[Group]) -> Figure | None:
    """The figure of groups that are already at hand."""
    both = [(group, costs[-1]) for group in found if group.scores() and (costs := step_costs(group.seeds))]
    if not both:
        return None
    colours = plot_styles(archs_of(found))
    states = {arch: [cost.state_bytes for group, cost in both if group.arch == arch] for arch in archs_of(found)}
    position = max(cost.position for _, cost in both)
    title = "Score against cost"
    with style():
        drawn, panels = grid([group for group, _ in both])
        for (task, length), axes in panels.items():
            rivals = [(group, cost) for group, cost in both if (group.task, group.length) == (task, length)]
            _cost_panel(axes, rivals, colours)
            axes.set_title(f"{numbers.shortened(task, 30)}, length {length:,}")
        drawn.supxlabel(f"time per step at position {position:,}, p50 (µs)", fontsize=9)
        drawn.supylabel("score (share answered rightly)", fontsize=9)
        named = {f"{arch}, {numbers.sizes(kept)} of state": colours[arch] for arch, kept in states.items() if kept}
        legend(drawn, named, line=False)
        told = "; ".join(
            f"{group.task} at {group.length}, {group.arch}: {fmean(group.scores()):.2f} for "
            f"{numbers.microseconds(cost.p50_seconds)} µs and {numbers.size(cost.state_bytes)}"
            for group, cost in both
        )
        svg = to_svg(drawn, title=title, alternative=f"{title}: {told}")
    return Figure(
        name="accuracy-against-cost",
        title=title,
        svg=svg,
        alternative=f"{title}: {told}",
        how_to_read=(
            "Up and to the left is better: a higher score for a cheaper step. A mark's area grows with each doubling "
            "of the state that a stream must carry; vertical bars are 95% intervals over seeds."
        ),
    )


def _cost_panel(axes: Axes, rivals: Sequence[tuple[Group, StepCost]], colours: dict[str, PlotStyle]) -> None:
    reference_lines(axes, [group for group, _ in rivals], [rivals[0][0].length])
    seconds = [cost.p50_seconds * 1e6 for _, cost in rivals]
    for group, cost in rivals:
        mark, interval = colours[group.arch], interval_of_mean(group.scores())
        x = cost.p50_seconds * 1e6
        interval_bar(axes, x, interval, mark.colour)
        axes.plot(
            [x],
            [interval.middle],
            marker=mark.marker,
            markersize=(6 * log2(2 + (cost.state_bytes or 0))) ** 0.5,
            color=mark.colour,
            zorder=3,
            alpha=0.85,
            clip_on=False,
        )
    time_axis(axes, "x", seconds)
    score_axis(axes)
