"""The figure of the cost of a streamed step against the position in the stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.analysis.groups import Group, archs_of, group_cases
from reports.analysis.streaming.step_costs import (
    StepCost,
    cost_at,
    last_shared_position,
    marked,
    ranked,
    step_costs_by_arch,
)
from reports.figures.drawing.alternative_text import extreme, name_all
from reports.figures.drawing.axes import positions_axis, thinned, time_axis
from reports.figures.drawing.bands import BACKGROUND, CONTEXT_LINE, MAX_LINES, banded_figure
from reports.figures.drawing.canvas import Dash, Figure, PlotStyle, figure_style, finish_figure, legend, plot_styles
from reports.figures.drawing.markers import marked_line, marker_fill
from reports.figures.drawing.tables import FigureTable, figure_table
from reports.format import numbers
from reports.text.streaming import CALLED
from reports.text.timing_quality import markers_explained, single_process_sentence
from results import Record, RunFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CALL_DASH: Dash = (0, (1, 1.6))
"""The dash pattern of calls from Python."""
BAND_INCHES = 3.1
"""The height in inches of a band, if there are several."""


def streaming_cost(run: RunFile, records: Sequence[Record]) -> Figure | None:
    """Draw the time per step against the position in the stream, one line per architecture.

    The line is the step inside a compiled loop. A thin dotted line is its call from Python. Returns None if no
    architecture was streamed.
    """
    return streaming_cost_figure(group_cases(run, records))


def streaming_cost_figure(
    groups: Sequence[Group],
    among: Sequence[Group] | None = None,
    costs: dict[str, list[StepCost]] | None = None,
) -> Figure | None:
    """Draw the time per step against the position in the stream. Returns None if no architecture was streamed.

    Args:
        groups: The groups to draw.
        among: All groups of the run, which determine the plot styles; `groups` if None.
        costs: The result of `step_costs_by_arch(groups)`, which is computed if `costs` is None.
    """
    costs = step_costs_by_arch(groups) if costs is None else costs
    if not costs:
        return None
    styles = plot_styles(archs_of(among or groups))
    all_costs = [cost for own_costs in costs.values() for cost in own_costs]
    comparable = ranked(costs)
    is_compiled = any(cost.timing == "compiled" for cost in all_costs)
    with figure_style():
        height = 4.9 if len(costs) <= MAX_LINES else BAND_INCHES
        figure, bands = banded_figure(styles, costs, width=5.4, height=height)
        times = [s for cost in all_costs for s in (cost.p50_seconds, cost.p99_seconds, cost.call_seconds or 0.0)]
        panels = [band.figure.subplots() for band in bands]
        for band, axes in zip(bands, panels, strict=True):
            for arch, own_costs in costs.items():
                _draw_line(axes, own_costs, band.styles.get(arch))
            positions_axis(axes, thinned(sorted({cost.position for cost in all_costs})))
            time_axis(axes, "y", [1e6 * seconds for seconds in times])
            axes.set_ylabel("time per step (µs)")
            legend(
                band.figure,
                {marked(arch, costs[arch][-1].timing): style for arch, style in band.styles.items()},
            )
        panels[-1].set_xlabel("position in the stream (steps)")
        panels[0].set_title("one step, batch 1, in a compiled loop" if is_compiled else f"one step, batch 1, {CALLED}")
        shared = last_shared_position(comparable.values())
        last = [{arch: cost_at(own_costs, shared).p50_seconds for arch, own_costs in comparable.items()}]
        extremes = (
            "no position was measured for all"
            if shared is None
            else f"at position {shared:,}, the median is {extreme(last, 'lowest', choose=min, write=_microseconds)} "
            f"and {extreme(last, 'highest', write=_microseconds)}"
        )
        others = [arch for arch in costs if arch not in comparable]
        return finish_figure(
            figure,
            name="streaming-cost",
            title="Cost of a streamed step against position",
            alternative=(
                f"Time per streamed step of {name_all(costs)} against position"
                f"{' inside a compiled loop' if is_compiled else f', {CALLED}'}; {extremes}"
                f"{f', not counting interpreted steps of {name_all(others)}' if others else ''}."
            ),
            description=f"p50 in microseconds: {_describe(costs)}",
            table=_table(costs),
            how_to_read=(
                "The line is the median step (p50). The darker band reaches up to p90 and the lighter one up to p99. "
                + "The thin dotted line is a call of the step from Python. " * is_compiled
                + "A flat line means that the cost of a step does not depend on the length of the stream."
                + markers_explained(all_costs)
                + f" {single_process_sentence(costs)}".rstrip()
                + BACKGROUND * (len(bands) > 1)
            ),
            headed=False,
        )


def _draw_line(axes: Axes, costs: Sequence[StepCost], style: PlotStyle | None) -> None:
    """Draw the costs of an architecture. Without a style, draw the median as a line in the background."""
    positions = [cost.position for cost in costs]
    if style is None:
        axes.plot(positions, [1e6 * cost.p50_seconds for cost in costs], **CONTEXT_LINE)
        return
    p50, p90, p99 = (
        [1e6 * seconds for seconds in column]
        for column in zip(*((cost.p50_seconds, cost.p90_seconds, cost.p99_seconds) for cost in costs), strict=True)
    )
    axes.fill_between(positions, p50, p90, color=style.colour, alpha=0.28, linewidth=0)
    axes.fill_between(positions, p90, p99, color=style.colour, alpha=0.12, linewidth=0)
    fills = [marker_fill(cost.timing, noisy=cost.noisy) for cost in costs]
    marked_line(axes, positions, p50, style, fills, markersize=4.5)
    called = [
        (cost.position, 1e6 * cost.call_seconds)
        for cost in costs
        if cost.added_seconds is not None and cost.call_seconds is not None
    ]
    if called:
        axes.plot(*zip(*called, strict=True), color=style.colour, linestyle=CALL_DASH, linewidth=0.9, marker="none")


def _table(costs: dict[str, list[StepCost]]) -> FigureTable:
    return figure_table(
        ("architecture", "position", "p50, µs", "p90, µs", "p99, µs", "called, µs", "processes", "timings"),
        (
            (
                marked(arch, cost.timing),
                numbers.count(cost.position),
                numbers.microseconds(cost.p50_seconds),
                numbers.microseconds(cost.p90_seconds),
                numbers.microseconds(cost.p99_seconds),
                numbers.microseconds(cost.call_seconds),
                numbers.count(cost.processes),
                "noisy" if cost.noisy else "sound",
            )
            for arch, own_costs in costs.items()
            for cost in own_costs
        ),
    )


def _microseconds(seconds: float) -> str:
    return f"{numbers.microseconds(seconds)} µs"


def _describe(costs: dict[str, list[StepCost]]) -> str:
    return "; ".join(
        f"{marked(arch, own_costs[0].timing)} {numbers.microseconds(own_costs[0].p50_seconds)} at position "
        f"{own_costs[0].position}, {numbers.microseconds(own_costs[-1].p50_seconds)} at {own_costs[-1].position}"
        + ("" if own_costs[-1].added_seconds is None else f", {_called(own_costs[-1])}")
        for arch, own_costs in costs.items()
    )


def _called(cost: StepCost) -> str:
    return f"{numbers.microseconds(cost.call_seconds)} if called from Python"
