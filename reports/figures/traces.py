"""Figures of the memory trace and of the gradient trace of every architecture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from reports.analysis.groups import Group, archs_of
from reports.analysis.traces import Trace, metric_trace, settings_of
from reports.figures.drawing.alternative_text import extreme, name_all
from reports.figures.drawing.axes import WIDTH, Panels, decades_axis
from reports.figures.drawing.bands import BACKGROUND, CONTEXT_LINE, Band, banded_figure
from reports.figures.drawing.canvas import (
    INK,
    Figure,
    PlotStyle,
    figure_style,
    finish_figure,
    legend,
    plot_styles,
)
from reports.figures.drawing.tables import few_of, figure_table, with_range
from reports.format import numbers
from results.specs import Spec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure

SIGN_ALONE = 2 / math.pi
"""R² of a standard normal number x decoded from its sign alone: (E|x|)², the squared correlation of x and sign(x)."""
MIN_R_SQUARED = -0.1
"""The lower end of the axis. Lower values are cut off: below 0, decoding is worse than predicting the mean."""
MARKERS_PER_LINE = 7
PANEL_INCHES = 3.2

GroupTraces = list[tuple[Group, Trace]]


def memory_trace_figure(groups: Sequence[Group]) -> Figure | None:
    """Draw how well the first input x_1 can be decoded from the state at each step, as R².

    There is one panel per task and length. Returns None if no memory trace was measured.
    """
    traces = _traces(groups, "memory_trace")
    if not traces:
        return None
    settings = settings_of([group for group, _ in traces])
    with figure_style():
        figure, bands = _panels(traces, groups)
        for band, panels in bands:
            for setting, axes in panels.items():
                _draw_lines(axes, _in_setting(traces, setting), band.styles)
                axes.set_ylim(MIN_R_SQUARED, 1.04)
                axes.axhline(0, color=INK, linewidth=0.9, linestyle=(0, (1, 1.5)))
        figure.supylabel("R² of x₁ in the state", fontsize=9)
        last = [{group.arch: trace.mean[-1] for group, trace in _in_setting(traces, setting)} for setting in settings]
        return finish_figure(
            figure,
            name="memory-trace",
            title="How well the first input can be read from the memory",
            alternative=(
                f"How well x₁ can be decoded from the state of {name_all(group.arch for group, _ in traces)} at each "
                f"step; at the last step, R² is {extreme(last, write=lambda value: f'{value:.2f}')}."
            ),
            description="; ".join(
                f"{group.task}, {group.arch}: R² {trace.mean[0]:.2f} at step {trace.steps[0]}, {trace.mean[-1]:.2f} at "
                f"step {trace.steps[-1]}"
                for group, trace in traces
            ),
            table=figure_table(
                ("architecture", "task", "length", "step", "R² (lowest–highest seed)"),
                (
                    (group.arch, group.task, numbers.count(group.length), numbers.count(step), text)
                    for group, trace in traces
                    for step, text in _points(trace, "{:.2f}".format)
                ),
            ),
            how_to_read=(
                "R² of a linear map from the state after each step to the first element of the sequence, on sequences "
                "that the map was not fitted to. 1 is perfect; 0 is no better than a constant. The state is that of "
                "all layers, matrices and buffers included; a state of more than 512 numbers is first projected to so "
                "many. If the state of a layer grows with the steps, like a Transformer's cache, the layer's outputs "
                "at that step are decoded instead. Lines are means over seeds; bands span the lowest to the highest "
                f"seed.{_sign_note([group for group, _ in traces])}{BACKGROUND * (len(bands) > 1)}"
            ),
        )


def _sign_note(groups: Sequence[Group]) -> str:
    """Return a note on tasks that need only the sign of the first input x_1. The note is empty without such a task."""
    specs = [Spec.parse_stored(group.seeds[0].case.task) for group in groups]
    if not any(spec.name == "first_last" and spec.options.get("rule") == "product" for spec in specs):
        return ""
    return (
        " A task may need less than the value itself: for a product only the sign of x₁ matters, and a state that "
        f"holds only the sign has R² 2/π = {SIGN_ALONE:.2f}."
    )


def gradient_trace_figure(groups: Sequence[Group]) -> Figure | None:
    """Draw the mean norm of ∂loss/∂x_t against the step t, before and after training.

    There is one row of panels per task and length. Returns None if no gradient trace was measured after training.
    """
    traces_by_time = {
        "before training": _traces(groups, "initial_gradient_trace"),
        "after training": _traces(groups, "gradient_trace"),
    }
    trained = traces_by_time["after training"]
    settings = settings_of([group for group, _ in trained])
    if not settings:
        return None
    with figure_style():
        archs = archs_of([group for group, _ in trained])
        height = 0.9 + 2.5 * len(settings)
        figure, bands = banded_figure(plot_styles(archs_of(groups)), archs, width=WIDTH, height=height)
        for band in bands:
            all_axes = band.figure.subplots(len(settings), 2, squeeze=False, sharey=True)
            for row, setting in zip(all_axes, settings, strict=True):
                for axes, (when, traces) in zip(row, traces_by_time.items(), strict=True):
                    _draw_lines(axes, _in_setting(traces, setting), band.styles)
                    decades_axis(axes)
                    axes.set_title(f"{numbers.shortened(setting[0], 24)} at {setting[1]:,}, {when}")
            legend(band.figure, band.styles)
        figure.supxlabel("step t", fontsize=9)
        figure.supylabel("mean norm of ∂loss/∂xₜ", fontsize=9)
        first = [{group.arch: trace.mean[0] for group, trace in _in_setting(trained, setting)} for setting in settings]
        weakest = extreme(first, "smallest", choose=min, write=lambda value: f"{value:.1e}")
        return finish_figure(
            figure,
            name="gradient-trace",
            title="How strongly the loss depends on each input",
            alternative=(
                f"Gradient of the loss with respect to the input at each step, before and after training, of "
                f"{name_all(group.arch for group, _ in trained)}; after training, the gradient at the first step is "
                f"{weakest}."
            ),
            description="; ".join(
                f"{group.task}, {group.arch}, {when}: {trace.mean[0]:.1e} at step {trace.steps[0]}, "
                f"{trace.mean[-1]:.1e} at step {trace.steps[-1]}"
                for when, traces in traces_by_time.items()
                for group, trace in traces
            ),
            table=figure_table(
                ("architecture", "task", "length", "when", "step", "norm (lowest–highest seed)"),
                (
                    (group.arch, group.task, numbers.count(group.length), when, numbers.count(step), text)
                    for when, traces in traces_by_time.items()
                    for group, trace in traces
                    for step, text in _points(trace, "{:.1e}".format)
                ),
            ),
            how_to_read=(
                "How strongly the loss depends on the input at each step, on a logarithmic scale. A line that falls "
                "steeply to the left is a vanishing gradient: training gets almost no signal from early steps. After "
                "training, only the relevant steps should stand out. Lines are means over seeds; bands span the "
                f"lowest to the highest seed.{BACKGROUND * (len(bands) > 1)}"
            ),
        )


def _panels(traces: GroupTraces, groups: Sequence[Group]) -> tuple[MplFigure, list[tuple[Band, Panels]]]:
    """Return a figure with a panel per task and length in each band of architectures, in up to two columns."""
    settings = settings_of([group for group, _ in traces])
    rows = (len(settings) + 1) // 2
    width, height = WIDTH if len(settings) > 1 else 6.6, 0.9 + PANEL_INCHES * rows
    archs = archs_of([group for group, _ in traces])
    figure, bands = banded_figure(plot_styles(archs_of(groups)), archs, width=width, height=height)
    panels: list[tuple[Band, Panels]] = []
    for band in bands:
        all_axes = band.figure.subplots(rows, min(2, len(settings)), squeeze=False, sharey=True).flatten()
        for axes in all_axes[len(settings) :]:
            axes.set_axis_off()
        for (task, length), axes in zip(settings, all_axes, strict=False):
            axes.set_title(f"{numbers.shortened(task, 30)} at {length:,}")
        legend(band.figure, band.styles)
        panels.append((band, dict(zip(settings, all_axes, strict=False))))
    figure.supxlabel("step t", fontsize=9)
    return figure, panels


def _draw_lines(axes: Axes, traces: GroupTraces, styles: dict[str, PlotStyle]) -> None:
    """Draw the architectures that have a style, and the others as lines in the background."""
    axes.locator_params(axis="x", integer=True)
    for group, trace in traces:
        style = styles.get(group.arch)
        if style is None:
            axes.plot(trace.steps, trace.mean, **CONTEXT_LINE)
            continue
        axes.fill_between(trace.steps, trace.low, trace.high, color=style.colour, alpha=0.15, linewidth=0)
        axes.plot(
            trace.steps,
            trace.mean,
            color=style.colour,
            linestyle=style.dash,
            marker=style.marker,
            markevery=max(1, len(trace.steps) // MARKERS_PER_LINE),
            markersize=4,
            linewidth=1.4,
        )


def _points(trace: Trace, write: Callable[[float], str]) -> list[tuple[int, str]]:
    """Return a few steps of a trace, each with the mean and the range over seeds as text."""
    rows = list(zip(*trace, strict=True))
    return [(step, with_range(mean, low, high, write)) for step, mean, low, high in few_of(rows)]


def _traces(groups: Sequence[Group], metric: str) -> GroupTraces:
    traces = [(group, metric_trace(group, metric, "step")) for group in groups]
    return [(group, trace) for group, trace in traces if trace is not None]


def _in_setting(traces: GroupTraces, setting: tuple[str, int]) -> GroupTraces:
    return [(group, trace) for group, trace in traces if (group.task, group.length) == setting]
