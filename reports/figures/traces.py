"""The memory trace and the gradient trace of every architecture, each on one axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.analysis.groups import Group, archs_of
from reports.analysis.traces import Trace, metric_trace, settings_of
from reports.figures.axes import WIDTH, decades_axis
from reports.figures.canvas import INK, Figure, PlotStyle, figure, finished, legend, plot_styles, style
from reports.format import numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure

SIGN_ALONE = 2 / math.pi
"""R² of a standard normal number told by its sign alone: the squared correlation of the two, E|x|²."""
MIN_R_SQUARED = -0.1
"""Below 0 a decoding is worse than no answer; how much worse says nothing."""
MARKS_A_LINE = 7
PANEL_INCHES = 3.2


def memory_trace_figure(found: Sequence[Group]) -> Figure | None:
    """R² of x_1 decoded from the state against the step, one panel per task; None where it was not measured."""
    traces = _traces(found, "memory_trace")
    if not traces:
        return None
    told = "; ".join(
        f"{group.task}, {group.arch}: R² {trace.mean[0]:.2f} at step {trace.steps[0]}, {trace.mean[-1]:.2f} at step "
        f"{trace.steps[-1]}"
        for group, trace in traces
    )
    with style():
        drawn, panels = _panels(traces, found)
        for place, axes in panels.items():
            _lines(axes, [(group, trace) for group, trace in traces if (group.task, group.length) == place], found)
            axes.set_ylim(MIN_R_SQUARED, 1.04)
            axes.axhline(0, color=INK, linewidth=0.9, linestyle=(0, (1, 1.5)))
        drawn.supylabel("R² of x₁ in the state", fontsize=9)
        return finished(
            drawn,
            name="memory-trace",
            title="Memory trace",
            told=told,
            how_to_read=(
                "How well a linear map of the state after each step gives the first element of the sequence, on "
                "sequences that it was not fitted to: 1 is perfect, 0 is nothing. The state is that of all layers; "
                "where it grows with the steps read, as a Transformer's cache does, the layers' outputs at that step "
                "are decoded instead. Lines are means over seeds, bands reach from the lowest to the highest seed."
                f"{_enough([group for group, _ in traces])}"
            ),
        )


def _enough(drawn: Sequence[Group]) -> str:
    """What a task needs of x_1, where that is less than its value."""
    specifications = [group.seeds[0].case.task.partition(":") for group in drawn]
    if not any(name == "first_last" and "rule=product" in options.split(",") for name, _, options in specifications):
        return ""
    return (
        " A rule may need less than the value itself: of a product only the sign of x₁ matters, and a state that "
        f"holds just the sign has R² 2/π = {SIGN_ALONE:.2f}."
    )


def gradient_trace_figure(found: Sequence[Group]) -> Figure | None:
    """Norm of ∂loss/∂x_t against the step, before and after training; None where it was not measured."""
    both = {
        "before training": _traces(found, "initial_gradient_trace"),
        "after training": _traces(found, "gradient_trace"),
    }
    where = [
        place for place in settings_of(found) if any((g.task, g.length) == place for g, _ in both["after training"])
    ]
    if not where:
        return None
    told = "; ".join(
        f"{group.task}, {group.arch}, {when}: {trace.mean[0]:.1e} at step {trace.steps[0]}, {trace.mean[-1]:.1e} at "
        f"step {trace.steps[-1]}"
        for when, traces in both.items()
        for group, trace in traces
    )
    with style():
        drawn = figure(WIDTH, 0.9 + 2.5 * len(where))
        every = drawn.subplots(len(where), 2, squeeze=False, sharey=True)
        for row, place in zip(every, where, strict=True):
            for axes, (when, traces) in zip(row, both.items(), strict=True):
                _lines(axes, [(group, trace) for group, trace in traces if (group.task, group.length) == place], found)
                decades_axis(axes)
                axes.set_title(f"{numbers.shortened(place[0], 24)} at {place[1]:,}, {when}")
        drawn.supxlabel("step t", fontsize=9)
        drawn.supylabel("mean norm of ∂loss/∂xₜ", fontsize=9)
        legend(drawn, _shown(both["after training"], found))
        return finished(
            drawn,
            name="gradient-trace",
            title="Gradient trace",
            told=told,
            how_to_read=(
                "How strongly the loss, asked at the end, depends on the input at each step. A line that falls "
                "steeply to the left is a vanishing gradient: training cannot learn from the first step what it "
                "cannot feel. After training only the steps that matter should stand out. Logarithmic; bands reach "
                "over the seeds."
            ),
        )


def _panels(
    traces: Sequence[tuple[Group, Trace]], found: Sequence[Group]
) -> tuple[MplFigure, dict[tuple[str, int], Axes]]:
    where = settings_of([group for group, _ in traces])
    drawn = figure(WIDTH if len(where) > 1 else 6.6, 0.9 + PANEL_INCHES * ((len(where) + 1) // 2))
    every = drawn.subplots((len(where) + 1) // 2, min(2, len(where)), squeeze=False, sharey=True).flatten()
    for axes in every[len(where) :]:
        axes.set_axis_off()
    panels = dict(zip(where, every, strict=False))
    for (task, length), axes in panels.items():
        axes.set_title(f"{numbers.shortened(task, 30)} at {length:,}")
    drawn.supxlabel("step t", fontsize=9)
    legend(drawn, _shown(traces, found))
    return drawn, panels


def _lines(axes: Axes, traces: Sequence[tuple[Group, Trace]], found: Sequence[Group]) -> None:
    colours = plot_styles(archs_of(found))
    for group, trace in traces:
        mark = colours[group.arch]
        every = max(1, len(trace.steps) // MARKS_A_LINE)
        axes.fill_between(trace.steps, trace.low, trace.high, color=mark.colour, alpha=0.15, linewidth=0)
        axes.plot(
            trace.steps,
            trace.mean,
            color=mark.colour,
            linestyle=mark.dash,
            marker=mark.marker,
            markevery=every,
            markersize=4,
            linewidth=1.4,
        )


def _traces(found: Sequence[Group], metric: str) -> list[tuple[Group, Trace]]:
    gathered = [(group, metric_trace(group, metric, "step")) for group in found]
    return [(group, trace) for group, trace in gathered if trace is not None]


def _shown(traces: Sequence[tuple[Group, Trace]], found: Sequence[Group]) -> dict[str, PlotStyle]:
    there = {group.arch for group, _ in traces}
    return {arch: mark for arch, mark in plot_styles(archs_of(found)).items() if arch in there}
