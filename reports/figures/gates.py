"""The gates of one trained model over the steps of a sequence, and the attention map of one that has no gates."""

from __future__ import annotations

from math import ceil

import numpy as np

from reports.analysis.traces import slug
from reports.figures.axes import WIDTH
from reports.figures.canvas import INK, PALE, Figure, figure, finished, style
from reports.format.numbers import plural
from results import Traces

COLUMNS = 2
ORDER = ("input", "forget", "output", "update", "reset", "candidate")
"""Of the panels; gates of other names come after these."""
ROW_INCHES = 1.75
ATTENTION_INCHES = 2.1
LINES = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#555555", "#999933")
"""One colour a unit: Okabe & Ito's, and two more."""


def gates_figure(traces: Traces, *, of: str, name: str) -> Figure | None:
    """A panel for each gate of the first layer, a line a unit, on the first stored sequence; None without gates."""
    if not traces.gates:
        return None
    gates = {gate: traces.gates[gate] for gate in sorted(traces.gates, key=_place)}
    steps = np.arange(1, traces.inputs_STD.shape[1] + 1)
    count = next(iter(gates.values())).shape[2]
    mean = f"mean of {plural(count, 'unit')}, {plural(len(traces.inputs_STD), 'sequence')}"
    title = f"Gates over the steps, {of}"
    with style():
        rows = ceil(len(gates) / COLUMNS)
        drawn = figure(WIDTH, 0.8 + ROW_INCHES * rows)
        every = drawn.subplots(rows, COLUMNS, squeeze=False, sharex=True).flatten()
        for axes in every[len(gates) :]:
            axes.set_axis_off()
        for axes, (gate, values_STU) in zip(every, gates.items(), strict=False):
            signed = values_STU.min() < 0
            for unit in range(count):
                axes.plot(steps, values_STU[0, :, unit], color=LINES[unit % len(LINES)], linewidth=1.2)
            axes.plot(steps, values_STU.mean((0, 2)), color=INK, linewidth=2.0, linestyle=(0, (4, 1.5)), label=mean)
            axes.set_title(gate)
            axes.set_ylim(-1.04 if signed else -0.02, 1.04)
        for axes in every[max(0, len(gates) - COLUMNS) : len(gates)]:
            axes.tick_params(labelbottom=True)  # the last of its column, which need not be in the last row
        every[0].legend(loc="best", fontsize=7.5)
        drawn.supxlabel("step", fontsize=9)
        drawn.supylabel("activation", fontsize=9)
        told = "; ".join(
            f"{gate} {values[:, 0].mean():.2f} at the first step, {values[:, 1:-1].mean():.2f} between, "
            f"{values[:, -1].mean():.2f} at the last"
            for gate, values in gates.items()
            if values.shape[1] > 2
        )
        return finished(
            drawn,
            name=f"gates-{slug(name)}",
            title=title,
            told=told or f"{len(steps)} steps",
            how_to_read=(
                f"The first {count} units of the first layer, a line each, on the first held-out sequence; they were "
                f"not chosen. The dashed line is the mean over these units and {len(traces.inputs_STD)} sequences."
            ),
        )


def attention_figure(traces: Traces, *, of: str, name: str) -> Figure | None:
    """A panel for each head of each layer: the weight of each step read at each step; None without attention."""
    if not traces.attention:
        return None
    heads = max(weights.shape[1] for weights in traces.attention.values())
    T = traces.inputs_STD.shape[1]
    title = f"Attention, {of}"
    with style():
        from matplotlib.colors import LinearSegmentedColormap

        drawn = figure(max(4.6, 0.8 + ATTENTION_INCHES * heads), 0.8 + ATTENTION_INCHES * len(traces.attention))
        every = drawn.subplots(len(traces.attention), heads, squeeze=False, sharex=True, sharey=True)
        shades = LinearSegmentedColormap.from_list("weight", ["#ffffff", "#56B4E9", "#0072B2", "#08306b"])
        image = None
        for row, (layer, weights_SNTT) in zip(every, traces.attention.items(), strict=True):
            for head, axes in enumerate(row):
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
        bar = drawn.colorbar(image, ax=every, shrink=0.7, label="weight")
        bar.outline.set_edgecolor(PALE)
        drawn.supxlabel("step read", fontsize=9)
        drawn.supylabel("at step", fontsize=9)
        told = "; ".join(
            f"at the last step layer {layer + 1}, head {head + 1} gives the first step "
            f"{weights[:, head, -1, 0].mean():.2f}"
            for layer, weights in traces.attention.items()
            for head in range(weights.shape[1])
        )
        return finished(
            drawn,
            name=f"attention-{slug(name)}",
            title=title,
            told=told,
            how_to_read=(
                "A row is a step, a column a step that it reads; each row sums to 1 over the steps up to itself. "
                f"Means over {len(traces.inputs_STD)} held-out sequences. A dark cell at the lower left is the last "
                "step looking back at the first."
            ),
        )


def _place(gate: str) -> tuple[int, str]:
    return (ORDER.index(gate) if gate in ORDER else len(ORDER)), gate
