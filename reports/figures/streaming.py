"""Cost of a streamed step against position: who pays more the longer the stream has run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.analysis.groups import Group, archs_of, group_cases
from reports.analysis.step_costs import StepCost, step_costs_by_arch
from reports.figures.axes import time_axis
from reports.figures.canvas import Figure, PlotStyle, figure, legend, plot_styles, positions_axis, style, to_svg
from reports.format import numbers
from results import Record, RunFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def streaming_cost(run: RunFile, records: Sequence[Record]) -> Figure | None:
    """Cost of one step against position, one line per architecture; None where nothing was streamed."""
    return streaming_cost_figure(group_cases(run, records))


def streaming_cost_figure(
    found: Sequence[Group],
    among: Sequence[Group] | None = None,
    costs: dict[str, list[StepCost]] | None = None,
) -> Figure | None:
    """The figure of groups that are already at hand, in the colours that they have `among` others."""
    costs = step_costs_by_arch(found) if costs is None else costs
    if not costs:
        return None
    colours = plot_styles(archs_of(among or found))
    title = "Cost of a streamed step against position"
    positions = sorted({cost.position for kept in costs.values() for cost in kept})
    with style():
        drawn = figure(5.4, 4.9)
        axes = drawn.subplots()
        for arch, kept in costs.items():
            _cost_line(axes, kept, colours[arch])
        positions_axis(axes, positions[:: -max(1, -(-len(positions) // 7))][::-1])
        shown = [cost for kept in costs.values() for cost in kept]
        time_axis(axes, "y", [1e6 * s for cost in shown for s in (cost.p50_seconds, cost.p99_seconds)])
        axes.set_xlabel("position in the stream (steps)")
        axes.set_ylabel("time per step (µs)")
        axes.set_title("one step, batch 1")
        legend(drawn, {arch: colours[arch] for arch in costs})
        alternative = f"{title}, p50 in microseconds: {_told_costs(costs)}"
        svg = to_svg(drawn, title=title, alternative=alternative)
    return Figure(
        name="streaming-cost",
        title=title,
        svg=svg,
        alternative=alternative,
        how_to_read=(
            "The line is the median step (p50), the darker band reaches to p90, the lighter one to p99. "
            "A flat line costs the same however long the stream has run."
        ),
    )


def _cost_line(axes: Axes, costs: Sequence[StepCost], mark: PlotStyle) -> None:
    positions = [cost.position for cost in costs]
    p50, p90, p99 = (
        [1e6 * seconds for seconds in column]
        for column in zip(*((cost.p50_seconds, cost.p90_seconds, cost.p99_seconds) for cost in costs), strict=True)
    )
    axes.fill_between(positions, p50, p90, color=mark.colour, alpha=0.28, linewidth=0)
    axes.fill_between(positions, p90, p99, color=mark.colour, alpha=0.12, linewidth=0)
    axes.plot(positions, p50, color=mark.colour, marker=mark.marker, linestyle=mark.dash, markersize=4.5)


def _told_costs(costs: dict[str, list[StepCost]]) -> str:
    return "; ".join(
        f"{arch} {numbers.microseconds(kept[0].p50_seconds)} at position {kept[0].position}, "
        f"{numbers.microseconds(kept[-1].p50_seconds)} at {kept[-1].position}"
        for arch, kept in costs.items()
    )
