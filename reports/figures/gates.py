"""Figures of a single trained model: gate activations by step, and attention maps."""

from __future__ import annotations

from math import ceil

import numpy as np

from reports.analysis.traces import slug
from reports.figures.drawing.axes import WIDTH
from reports.figures.drawing.canvas import INK, PALE, Figure, empty_figure, figure_style, finish_figure
from reports.format.numbers import plural
from results import Traces

COLUMNS = 2
ORDER = ("input", "strength", "forget", "decay", "output", "update", "reset", "candidate")
"""The order of the panels. Gates with other names follow."""
ROW_INCHES = 1.75
ATTENTION_INCHES = 2.1
"""The width and the height of an attention map, in inches."""
UNIT_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#555555", "#999933")
"""The colours of the units: six by Okabe and Ito, and two more. Further units repeat the colours."""
GATE_RANGE = 1.04
"""Ends of the axis of a gate with activations in [-1, 1]. Other values, such as step sizes, choose their own ends."""


def gates_figure(traces: Traces, *, subject: str, name: str) -> Figure | None:
    """Draw the gates of the first layer that has any, on the first stored sequence. Returns None without gates.

    Each gate has a panel. Each unit has a line. A dashed line shows the mean over units and stored sequences.

    Args:
        traces: The traces of the model.
        subject: The description of the model in the title.
        name: The part of the figure's name that identifies the model.
    """
    if not traces.gates:
        return None
    gates = {gate: traces.gates[gate] for gate in sorted(traces.gates, key=_panel_order)}
    steps = np.arange(1, traces.inputs_STD.shape[1] + 1)
    sequences = plural(len(traces.inputs_STD), "sequence")
    counts = {gate: values_STU.shape[2] for gate, values_STU in gates.items()}
    is_uniform = len(set(counts.values())) == 1
    averaged = plural(next(iter(counts.values())), "unit") if is_uniform else "the units shown"
    with figure_style():
        rows = ceil(len(gates) / COLUMNS)
        figure = empty_figure(WIDTH, 0.8 + ROW_INCHES * rows)
        all_axes = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True).flatten()
        for axes in all_axes[len(gates) :]:
            axes.set_axis_off()
        for axes, (gate, values_STU) in zip(all_axes, gates.items(), strict=False):
            for unit in range(counts[gate]):
                colour = UNIT_COLOURS[unit % len(UNIT_COLOURS)]
                axes.plot(steps, values_STU[0, :, unit], color=colour, linewidth=1.2)
            axes.plot(
                steps,
                values_STU.mean((0, 2)),
                color=INK,
                linewidth=2.0,
                linestyle=(0, (4, 1.5)),
                label=f"mean of {averaged}, {sequences}",
            )
            axes.set_title(gate if is_uniform else f"{gate}, {plural(counts[gate], 'unit')}")
            if np.abs(values_STU).max() <= GATE_RANGE:
                axes.set_ylim(-GATE_RANGE if values_STU.min() < 0 else -0.02, GATE_RANGE)
        for axes in all_axes[max(0, len(gates) - COLUMNS) : len(gates)]:
            axes.tick_params(labelbottom=True)  # the lowest panel of a column need not be in the last row
        all_axes[0].legend(loc="best", fontsize=7.5)
        figure.supxlabel("step", fontsize=9)
        figure.supylabel("activation", fontsize=9)
        description = "; ".join(
            f"{gate} {values[:, 0].mean():.2f} at the first step, {values[:, 1:-1].mean():.2f} between, "
            f"{values[:, -1].mean():.2f} at the last"
            for gate, values in gates.items()
            if values.shape[1] > 2
        )
        changed = max(gates, key=lambda gate: abs(float(gates[gate][:, -1].mean() - gates[gate][:, 0].mean())))
        first, last = (float(gates[changed][:, step].mean()) for step in (0, -1))
        return finish_figure(
            figure,
            name=f"gates-{slug(name)}",
            title=f"Gate activations, {subject}",
            alternative=(
                f"Gate activations of {subject}, over {plural(len(steps), 'step')}; the mean of the {changed} gate "
                f"changes most, from {first:.2f} at the first step to {last:.2f} at the last."
            ),
            description=description or f"{len(steps)} steps",
            how_to_read=(
                "Solid lines are the first units of the first layer with gates, on the first held-out sequence; they "
                "are not selected. A unit is a channel, or a head if the gate has one value per head. The dashed line "
                f"is the mean over these units and {sequences}."
            ),
        )


def attention_figure(traces: Traces, *, subject: str, name: str) -> Figure | None:
    """Draw the attention weights as means over sequences, one panel per layer and head. Returns None without attention.

    Args:
        traces: The traces of the model.
        subject: The description of the model in the title.
        name: The part of the figure's name that identifies the model.
    """
    if not traces.attention:
        return None
    heads = max(weights.shape[1] for weights in traces.attention.values())
    T = traces.inputs_STD.shape[1]
    with figure_style():
        from matplotlib.colors import LinearSegmentedColormap

        figure = empty_figure(max(4.6, 0.8 + ATTENTION_INCHES * heads), 0.8 + ATTENTION_INCHES * len(traces.attention))
        all_axes = figure.subplots(len(traces.attention), heads, squeeze=False, sharex=True, sharey=True)
        shades = LinearSegmentedColormap.from_list("weight", ["#ffffff", "#56B4E9", "#0072B2", "#08306b"])
        image = None
        for row, (layer, weights_SNTT) in zip(all_axes, traces.attention.items(), strict=True):
            for axes in row[weights_SNTT.shape[1] :]:  # other layers have more heads
                axes.set_axis_off()
            for head, axes in enumerate(row[: weights_SNTT.shape[1]]):
                axes.set_title(f"layer {layer + 1}, head {head + 1}")
                axes.grid(visible=False)
                image = axes.imshow(
                    weights_SNTT[:, head].mean(0),
                    cmap=shades,
                    vmin=0,
                    vmax=1,
                    extent=(0.5, T + 0.5, T + 0.5, 0.5),
                    interpolation="none",
                )
        assert image is not None
        bar = figure.colorbar(image, ax=all_axes, shrink=0.7, label="attention weight")
        bar.outline.set_edgecolor(PALE)
        figure.supxlabel("attended step (key)", fontsize=9)
        figure.supylabel("current step (query)", fontsize=9)
        first_step_weights = {
            f"layer {layer + 1}, head {head + 1}": float(weights[:, head, -1, 0].mean())
            for layer, weights in traces.attention.items()
            for head in range(weights.shape[1])
        }
        strongest = max(first_step_weights, key=lambda head: first_step_weights[head])
        return finish_figure(
            figure,
            name=f"attention-{slug(name)}",
            title=f"Attention, {subject}",
            alternative=(
                f"Attention weights of {subject}; at the last step, the weight of the first step is largest in "
                f"{strongest} ({first_step_weights[strongest]:.2f})."
            ),
            description="; ".join(
                f"at the last step {head} gives the first step {weight:.2f}"
                for head, weight in first_step_weights.items()
            ),
            how_to_read=(
                "Rows are steps, and columns are the steps that they attend to. Each row sums to 1 over the steps up "
                f"to itself. Weights are means over {plural(len(traces.inputs_STD), 'held-out sequence')}. A dark cell "
                "at the lower left means that the last step attends to the first one."
            ),
        )


def _panel_order(gate: str) -> tuple[int, str]:
    return (ORDER.index(gate) if gate in ORDER else len(ORDER)), gate
