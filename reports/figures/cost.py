"""The figure of score against the cost of a streamed step."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from statistics import fmean
from typing import TYPE_CHECKING

from reports.analysis.groups import Group, archs_of, group_cases
from reports.analysis.streaming.step_costs import (
    StepCost,
    any_compiled,
    cost_at,
    last_shared_position,
    marked,
    step_costs,
)
from reports.figures.drawing.alternative_text import cheapest, extreme, name_all
from reports.figures.drawing.axes import grid, interval_bar, score_axis, score_label, time_axis
from reports.figures.drawing.canvas import (
    Figure,
    PlotStyle,
    figure_style,
    finish_figure,
    legend,
    plot_styles,
)
from reports.figures.drawing.markers import marker_fill
from reports.figures.drawing.reference_lines import reference_lines, strategies_explained
from reports.figures.drawing.tables import figure_table, with_interval
from reports.format import numbers
from reports.text.streaming import CALLED
from reports.text.timing_quality import markers_explained, single_process_sentence
from results import Record, RunFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def accuracy_against_cost(run: RunFile, records: Sequence[Record]) -> Figure | None:
    """Draw score against the median step time at the last position, one panel per task and length.

    Returns None if no group has both a score and step times.
    """
    return accuracy_against_cost_figure(group_cases(run, records))


def accuracy_against_cost_figure(groups: Sequence[Group]) -> Figure | None:
    """Draw score against the median step time at the last position that all share, one panel per task and length.

    Without a shared position, the steps are those at the last position of each. Returns None if no group has both a
    score and step times.
    """
    beside_compiled = any_compiled(groups)
    streamed = [
        (group, costs)
        for group in groups
        if group.scores() and (costs := step_costs(group.seeds, beside_compiled=beside_compiled))
    ]
    if not streamed:
        return None
    shared = last_shared_position(costs for _, costs in streamed)
    measured = [(group, cost_at(costs, shared)) for group, costs in streamed]
    timings = {group.arch: cost.timing for group, cost in measured}
    styles = plot_styles(archs_of(groups))
    states = {arch: [cost.state_bytes for group, cost in measured if group.arch == arch] for arch in styles}
    where = "at the last position of each" if shared is None else f"at position {shared:,}"
    with figure_style():
        figure, panels = grid([group for group, _ in measured])
        scores, seconds = [], []
        for (task, length), axes in panels.items():
            rivals = [(group, cost) for group, cost in measured if (group.task, group.length) == (task, length)]
            _draw_panel(axes, rivals, styles)
            axes.set_title(f"{numbers.shortened(task, 30)}, length {length:,}")
            scores.append({group.arch: fmean(group.scores()) for group, _ in rivals})
            seconds.append(
                {
                    group.arch: cost.p50_seconds
                    for group, cost in rivals
                    if shared is not None and (cost.timing == "compiled" or not beside_compiled)
                }
            )
        called = "" if beside_compiled else f", {CALLED}"
        figure.supxlabel(f"time per step {where}{called}, p50 (µs)", fontsize=9)
        figure.supylabel(score_label(), fontsize=9)
        labelled = {
            f"{marked(arch, timings[arch])}, state {numbers.sizes(sizes)}": styles[arch]
            for arch, sizes in states.items()
            if sizes
        }
        legend(figure, labelled, line=False)
        return finish_figure(
            figure,
            name="accuracy-against-cost",
            title="Score against cost",
            alternative=(
                f"Score of {name_all(group.arch for group, _ in measured)} against time per step{called}; the mean "
                f"score is {extreme(scores)}{cheapest(seconds)}."
            ),
            table=figure_table(
                ("architecture", "task", "length", "score (95% interval)", "time per step, µs", "position", "state"),
                (
                    (
                        marked(group.arch, cost.timing),
                        group.task,
                        numbers.count(group.length),
                        with_interval(group.interval()),
                        numbers.microseconds(cost.p50_seconds),
                        numbers.count(cost.position),
                        numbers.size(cost.state_bytes),
                    )
                    for group, cost in measured
                ),
            ),
            description="; ".join(
                f"{group.task} at {group.length}, {marked(group.arch, cost.timing)}: {fmean(group.scores()):.2f} for "
                f"{numbers.microseconds(cost.p50_seconds)} µs and {numbers.size(cost.state_bytes)}"
                for group, cost in measured
            ),
            how_to_read=(
                "Up and to the left is better: a higher score for a cheaper step. A larger marker means a larger state "
                "of a stream, on a logarithmic scale. Vertical bars are 95% intervals over seeds."
                + strategies_explained(groups)
                + markers_explained(cost for _, cost in measured)
                + f" {single_process_sentence(_costs_by_arch(measured))}".rstrip()
            ),
            headed=False,
        )


def _costs_by_arch(measured: Sequence[tuple[Group, StepCost]]) -> dict[str, list[StepCost]]:
    costs: dict[str, list[StepCost]] = {}
    for group, cost in measured:
        costs.setdefault(group.arch, []).append(cost)
    return costs


def _draw_panel(axes: Axes, rivals: Sequence[tuple[Group, StepCost]], styles: dict[str, PlotStyle]) -> None:
    reference_lines(axes, [group for group, _ in rivals], [rivals[0][0].length])
    time_axis(axes, "x", [cost.p50_seconds * 1e6 for _, cost in rivals])
    left, _ = axes.get_xlim()
    for group, cost in rivals:
        style, interval = styles[group.arch], group.interval()
        x = cost.p50_seconds * 1e6 or left  # the clock may be too coarse for a step
        interval_bar(axes, x, interval, style.colour)
        axes.plot(
            [x],
            [interval.middle],
            marker=style.marker,
            markersize=(6 * log2(2 + (cost.state_bytes or 0))) ** 0.5,
            color=style.colour,
            fillstyle=marker_fill(cost.timing, noisy=cost.noisy),
            zorder=3,
            alpha=0.85,
            clip_on=False,
        )
    score_axis(axes)
