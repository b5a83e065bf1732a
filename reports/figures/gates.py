"""Figures of a single trained model: inputs, answers, gates and states by step, and attention maps."""

# Shape suffixes: S sequences, T time steps, U units

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reports.analysis.traces import HIGH_FROM, HOLD_GATES, slug
from reports.figures.drawing.axes import WIDTH
from reports.figures.drawing.canvas import (
    DASHES,
    INK,
    LINE_INCHES,
    PALE,
    Dash,
    Figure,
    empty_figure,
    figure_style,
    finish_figure,
)
from reports.figures.drawing.scale import current_scale
from reports.figures.drawing.sequences import answers_in_words, draw_answers, draw_inputs, mark_scored_steps
from reports.format.numbers import listed, plural
from results import OUTPUT, Traces

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure

COLUMNS = {"page": 2, "slide": 4}
ORDER = ("input", "strength", "forget", "decay", "output", "update", "reset", "candidate")
"""The order of the panels of gates. Gates with other names follow."""
GATE_TITLES = {gate: f"{gate} gate" for gate in ("input", "forget", "output", "update", "reset")}
STATE_TITLES = {
    OUTPUT: "output h",
    "c": "cell state c",
    "re": "state (real)",
    "im": "state (imag.)",
    "h": "hidden state h",
    "n": "normaliser n",
    "m": "stabiliser m",
}
ROW_INCHES = 1.6
ATTENTION_INCHES = 2.1
"""The width and the height of an attention map, in inches."""
UNIT_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#555555", "#999933")
"""The colours of the units: six by Okabe and Ito, and two more. Further units repeat them with other dash patterns."""
SHOWN_UNITS = 8
"""The number of units that a figure shows, unless others are chosen."""
LEGEND_SHARE = 0.7
"""The share of the height of a figure that the legend of its units may take."""
LEAST_CHANGE = 0.05
"""The least change of a gate's mean that the alternative text names."""
GATE_RANGE = 1.04
"""Ends of the axis of a gate with activations in [-1, 1]. Other values, such as step sizes, choose their own ends."""


class ViewError(ValueError):
    """Error for a layer, a sequence or a unit that the traces of a case do not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatesView:
    """What a figure of gates shows. Layers, sequences and units are counted from 1."""

    layer: int | None = None
    """The layer; None for the first one with gates, or the first one if none has gates."""
    sequence: int = 1
    """The stored sequence."""
    units: tuple[int, ...] = ()
    """The units; empty for the first `SHOWN_UNITS` ones."""

    @property
    def suffix(self) -> str:
        """The part of a file name that tells this view from others, such as `-layer-2`; empty for the usual view."""
        layer = "" if self.layer is None else f"-layer-{self.layer}"
        sequence = "" if self.sequence == 1 else f"-sequence-{self.sequence}"
        return layer + sequence + ("-units-" + "-".join(map(str, self.units)) if self.units else "")

    def layer_of(self, traces: Traces) -> int | None:
        """Return the layer to draw, counted from 0; None if there is nothing to draw.

        Raises `ViewError` if the traces lack the layer, the sequence or a unit.
        """
        if not traces.layers:
            if self != GatesView():
                raise ViewError("the traces of this case have neither gates nor states")
            return None
        if self.layer is not None and self.layer - 1 not in traces.layers:
            raise ViewError(f"no layer {self.layer}: the traces have {_counted('layer', traces.layers)}")
        if not 1 <= self.sequence <= len(traces.inputs_STD):
            raise ViewError(f"no sequence {self.sequence}: the traces have {_counted('sequence', _all(traces))}")
        if self.layer is not None:
            layer = self.layer - 1
        elif traces.gates:
            layer = min(int(name.partition(".")[0]) for name in traces.gates)
        elif traces.attention:  # attention maps say more than outputs
            return None
        else:
            layer = traces.layers[0]
        widest = max(
            values.shape[2] for values in (*traces.gates_of(layer).values(), *traces.states_of(layer).values())
        )
        if wrong := [unit for unit in self.units if not 1 <= unit <= widest]:
            raise ViewError(f"no unit {wrong[0]}: the traces have {_counted('unit', list(range(widest)))}")
        return layer

    def units_of(self, values_STU: np.ndarray) -> list[int]:
        """Return the units to draw of values (S, T, U). A gate with fewer units than others lacks some of them."""
        return [unit for unit in self.units or range(1, SHOWN_UNITS + 1) if unit <= values_STU.shape[2]]

    def shown_of(self, values_STU: np.ndarray) -> np.ndarray:
        """Return the values (S, T, U) of the units to draw."""
        return values_STU[:, :, [unit - 1 for unit in self.units_of(values_STU)]]

    def style_of(self, unit: int) -> tuple[str, Dash]:
        """Return the colour and the dash pattern of a unit, which are the same in every panel."""
        order = self.units.index(unit) if self.units else unit - 1
        return UNIT_COLOURS[order % len(UNIT_COLOURS)], DASHES[order // len(UNIT_COLOURS) % len(DASHES)]


class _Panel(NamedTuple):
    title: str
    draw: Callable[[Axes], None]


def gates_figure(traces: Traces, *, subject: str, name: str, view: GatesView | None = None) -> Figure | None:
    """Draw input, answer, gates, state and output of one layer on one stored sequence.

    Each gate and each state has a panel, in which each unit has a line. A dashed line shows the mean of a gate over
    the units shown and all stored sequences. Returns None if there are neither gates nor states.

    Args:
        traces: The traces of the model.
        subject: The description of the model in the title.
        name: The part of the figure's name that identifies the model.
        view: The layer, the sequence and the units to show.

    Raises `ViewError` if the traces lack what `view` asks for.
    """
    view = view or GatesView()
    layer = view.layer_of(traces)
    if layer is None:
        return None
    sequence, T = view.sequence - 1, traces.inputs_STD.shape[1]
    all_gates = traces.gates_of(layer)
    all_gates = {gate: all_gates[gate] for gate in sorted(all_gates, key=_panel_order)}
    all_states = traces.states_of(layer)
    panels = _panels(traces, view, all_gates, all_states)
    gates, states = ({name: view.shown_of(all_STU[name]) for name in all_STU} for all_STU in (all_gates, all_states))
    columns = COLUMNS[current_scale()]
    with figure_style():
        rows = ceil(len(panels) / columns)
        figure = empty_figure(WIDTH, 0.6 + ROW_INCHES * rows)
        all_axes = figure.subplots(rows, columns, squeeze=False, sharex=True).flatten()
        for axes in all_axes[len(panels) :]:
            axes.set_axis_off()
        for axes, panel in zip(all_axes, panels, strict=False):
            panel.draw(axes)
            mark_scored_steps(axes, traces, sequence)
            if panel.title:
                axes.set_title(panel.title)
        all_axes[0].set_xlim(0.5, T + 0.5)
        all_axes[0].locator_params(axis="x", integer=True, nbins=6 if columns == COLUMNS["page"] else 3)
        for axes in all_axes[max(0, len(panels) - columns) : len(panels)]:
            axes.tick_params(labelbottom=True)  # the lowest panel of a column need not be in the last row
        figure.supxlabel("step", fontsize=9)
        _draw_legend(figure, all_axes)
        if len(view.units) > 1:
            _name_units(figure, view)
        answer = answers_in_words(traces, sequence)
        return finish_figure(
            figure,
            name=f"gates-{slug(name)}{view.suffix}",
            title=f"Inside layer {layer + 1} of {subject}",
            alternative=(
                f"{_contents(gates, states)} of layer {layer + 1} of {subject}, over {plural(T, 'step')}"
                f"{f'; {answer}' if answer else ''}; {_main_result(gates, states, sequence)}."
            ),
            description="; ".join([*filter(None, [answer]), *_levels(gates)]) or plural(T, "step"),
            how_to_read=_how_to_read(traces, view, layer, gates, states),
        )


def _panels(
    traces: Traces, view: GatesView, gates: dict[str, np.ndarray], states: dict[str, np.ndarray]
) -> list[_Panel]:
    """Return the panels in order: input, answer, gates, state and output. Gates and states have all units."""
    sequence = view.sequence - 1
    panels = [_Panel("", partial(draw_inputs, traces=traces, sequence=sequence))]
    if traces.targets_STD is not None and traces.answers_STD is not None and traces.scored_ST is not None:
        panels.append(_Panel("", partial(draw_answers, traces=traces, sequence=sequence)))
    counts = {len(view.units_of(values)) for values in (*gates.values(), *states.values())}
    averaged = plural(min(counts), "unit") if len(counts) == 1 else "the units shown"
    label: str | None = f"mean of {averaged}, {plural(len(traces.inputs_STD), 'sequence')}"

    def titled(title: str, values_STU: np.ndarray, draw: Callable[[Axes], None]) -> _Panel:
        return _Panel(title if len(counts) == 1 else f"{title}, {plural(len(view.units_of(values_STU)), 'unit')}", draw)

    for gate, values_STU in gates.items():
        draw = partial(_draw_gate, gate=gate, values_STU=values_STU, view=view, label=label)
        panels.append(titled(GATE_TITLES.get(gate, gate), values_STU, draw))
        label = None
    for state in sorted(states, key=lambda state: (state == OUTPUT, state == "im", state)):
        draw = partial(_draw_units, values_STU=states[state], view=view)
        panels.append(titled(_state_title(state), states[state], draw))
    return panels


def _draw_legend(figure: MplFigure, all_axes: Iterable[Axes]) -> None:
    """Draw one legend above all panels, with each label once. Labels of input channels are left to their panel."""
    labelled: dict[str, Artist] = {}
    for axes in all_axes:
        if axes.get_legend() is None:
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                labelled.setdefault(label, handle)
    if labelled:
        columns = 2 if current_scale() == "slide" else 3
        figure.legend(labelled.values(), labelled.keys(), loc="outside upper left", ncols=columns, fontsize=8)


def _name_units(figure: MplFigure, view: GatesView) -> None:
    """Draw a legend of the units beside all panels, in as many columns as its height needs."""
    from matplotlib.lines import Line2D

    styles = {f"unit {unit}": view.style_of(unit) for unit in view.units}
    handles = [Line2D([], [], color=colour, linestyle=dash, label=name) for name, (colour, dash) in styles.items()]
    columns = ceil(len(handles) * LINE_INCHES / (LEGEND_SHARE * figure.get_figheight()))
    figure.legend(handles=handles, loc="outside right center", ncols=columns, fontsize=8)


def _state_title(name: str) -> str:
    return STATE_TITLES.get(name, name if name.startswith("state") else f"state {name}")


def _draw_gate(axes: Axes, gate: str, values_STU: np.ndarray, view: GatesView, *, label: str | None) -> None:
    """Draw a gate with the mean over units and sequences, which `label` names in the legend, unless it is None."""
    if gate in HOLD_GATES:
        axes.axhspan(
            HIGH_FROM, 1, color=PALE, alpha=0.22, linewidth=0, zorder=0, label=f"{HIGH_FROM:g}–1: forgets slowly"
        )
    _draw_units(axes, values_STU, view)
    steps, shown_STU = np.arange(1, values_STU.shape[1] + 1), view.shown_of(values_STU)
    axes.plot(steps, shown_STU.mean((0, 2)), color=INK, linewidth=2.0, linestyle=(0, (4, 1.5)), label=label)
    if np.abs(shown_STU).max() <= GATE_RANGE:
        axes.set_ylim(-GATE_RANGE if shown_STU.min() < 0 else -0.02, GATE_RANGE)


def _draw_units(axes: Axes, values_STU: np.ndarray, view: GatesView) -> None:
    steps = np.arange(1, values_STU.shape[1] + 1)
    for unit in view.units_of(values_STU):
        colour, dash = view.style_of(unit)
        axes.plot(steps, values_STU[view.sequence - 1, :, unit - 1], color=colour, linestyle=dash, linewidth=1.2)


def _contents(gates: dict[str, np.ndarray], states: dict[str, np.ndarray]) -> str:
    parts = ["input", "answer", *(["gates"] if gates else []), *(["state"] if states.keys() - {OUTPUT} else [])]
    return listed([*parts, *(["output"] if OUTPUT in states else [])]).capitalize()


def _main_result(gates: dict[str, np.ndarray], states: dict[str, np.ndarray], sequence: int) -> str:
    """Return the main result as part of a sentence: the gate whose mean changes most, or the step of most output."""
    if gates:
        changed = max(gates, key=lambda gate: abs(float(gates[gate][:, -1].mean() - gates[gate][:, 0].mean())))
        first, last = (float(gates[changed][:, step].mean()) for step in (0, -1))
        if abs(last - first) < LEAST_CHANGE:
            return f"the means of the gates at the first and the last step differ by less than {LEAST_CHANGE}"
        return (
            f"the mean of the {changed} gate changes most, from {first:.2f} at the first step to {last:.2f} at the last"
        )
    size_T = np.abs(states[OUTPUT][sequence]).mean(1)
    return f"the mean size of the output is largest at step {int(size_T.argmax()) + 1} ({size_T.max():.2f})"


def _levels(gates: dict[str, np.ndarray]) -> list[str]:
    return [
        f"{gate} {values[:, 0].mean():.2f} at the first step, {values[:, 1:-1].mean():.2f} between, "
        f"{values[:, -1].mean():.2f} at the last"
        for gate, values in gates.items()
        if values.shape[1] > 2
    ]


def _how_to_read(
    traces: Traces, view: GatesView, layer: int, gates: dict[str, np.ndarray], states: dict[str, np.ndarray]
) -> str:
    sequences = plural(len(traces.inputs_STD), "sequence")
    shown = f"units {listed([str(unit) for unit in view.units])}" if view.units else "the first units"
    parts = [
        f"Layer {layer + 1} on held-out sequence {view.sequence} of {len(traces.inputs_STD)}.",
        f"Solid lines are {shown}; they are not selected by their values." if not view.units else f"Lines are {shown}.",
    ]
    if gates:
        parts.append(
            "A unit is a channel, or a head if the gate has one value per head. The dashed line is the mean of a gate "
            f"over these units and {sequences}."
        )
    if gates.keys() & HOLD_GATES:
        parts.append(f"The grey band is {HIGH_FROM:g}–1: a unit whose gate stays there forgets slowly.")
    if traces.scored_ST is not None:
        parts.append("Orange marks the steps at which an answer is asked for.")
    if "c" in states:
        parts.append("The cell state carries the memory; the output is what other layers see of it.")
    return " ".join(parts)


def _counted(noun: str, indices: list[int]) -> str:
    """Name indices counted from 0 as numbers counted from 1: `layers 1 and 2`, `units 1 to 16`."""
    numbers = [index + 1 for index in indices]
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{noun}s {numbers[0]} to {numbers[-1]}"
    return f"{noun}{'s' if len(numbers) > 1 else ''} {listed([str(number) for number in numbers])}"


def _all(traces: Traces) -> list[int]:
    return list(range(len(traces.inputs_STD)))


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
