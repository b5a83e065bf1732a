"""Panels of one sequence: its inputs, the answers to it, and marks at the steps at which an answer is asked for."""

# Shape suffixes: S sequences, T time steps, D channels

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from reports.figures.drawing.canvas import INK
from reports.format.numbers import plural, shortened
from results import Traces

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RIGHT, WRONG, SCORED = "#0072B2", "#D55E00", "#E69F00"
CHANNEL_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
"""The colours of input channels. Further channels repeat them."""
MAX_NAMED = 8
"""An axis of tokens or classes has their names if there are at most so many."""
NAME_LETTERS = 8
"""The largest number of letters of such a name."""
CORRECT, ANSWER = "correct answer", "model's answer"
ASKED = "an answer is asked for"
RIGHT_ANSWER, WRONG_ANSWER = f"{ANSWER}, right", f"{ANSWER}, wrong"


def draw_inputs(axes: Axes, traces: Traces, sequence: int) -> None:
    """Draw the inputs of one stored sequence, counted from 0: a line per channel, or the token at each step."""
    inputs_TD = traces.inputs_STD[sequence]
    steps = np.arange(1, len(inputs_TD) + 1)
    is_token = bool(traces.input_names)
    for channel, values_T in enumerate(inputs_TD.T):
        axes.plot(
            steps,
            values_T,
            color=CHANNEL_COLOURS[channel % len(CHANNEL_COLOURS)],
            linestyle="none" if is_token else "solid",
            marker="o",
            markersize=3.5,
            linewidth=1.0,
            clip_on=False,  # otherwise the edge of the panel would cut the first and the last marker
            label=f"channel {channel + 1}" if inputs_TD.shape[1] > 1 else None,
        )
    if inputs_TD.shape[1] > 1:
        axes.legend(loc="best", fontsize=7.5).set_in_layout(False)  # it may be wider than the panel
    axes.set_title("input sequence")
    _name_values(axes, traces.input_names)


def draw_answers(axes: Axes, traces: Traces, sequence: int) -> None:
    """Draw the target and the model's answer at the scored steps of one stored sequence, counted from 0.

    The title names a single answer. `traces` must have targets, answers and scored steps.
    """
    assert traces.targets_STD is not None and traces.answers_STD is not None and traces.scored_ST is not None
    scored = np.flatnonzero(traces.scored_ST[sequence])
    targets, answers = (values[sequence, scored] for values in (traces.targets_STD, traces.answers_STD))
    has_classes = bool(traces.target_names)
    are_right = (targets == answers).all(1)
    every = np.ones_like(are_right)
    kinds = [(are_right, RIGHT, ".", RIGHT_ANSWER), (~are_right, WRONG, "x", WRONG_ANSWER)]
    groups = kinds if has_classes else [(every, RIGHT, ".", ANSWER)]
    for channel in range(targets.shape[1]):
        hollow = {"marker": "o", "markersize": 8, "markerfacecolor": "none", "linestyle": "none", "color": INK}
        hollow["clip_on"] = False  # of many steps, the last is so near the edge that it would cut the marker
        axes.plot(scored + 1, targets[:, channel], label=CORRECT if channel == 0 else None, **hollow)  # type: ignore[arg-type]
        for rows, colour, marker, label in groups:
            if len(scored[rows]):
                axes.plot(
                    scored[rows] + 1,
                    answers[rows, channel],
                    marker,
                    color=colour,
                    markersize=7,
                    clip_on=False,
                    label=label if channel == 0 else None,
                )
    if has_classes and len(scored) == 1:
        answer = shortened(_name(traces.target_names, int(answers[0, 0])), NAME_LETTERS)
        axes.set_title(f"answer: {answer}, {'right' if are_right[0] else 'wrong'}")
    else:
        axes.set_title("answer")
    axes.margins(y=0.2)
    _name_values(axes, traces.target_names)


def mark_scored_steps(axes: Axes, traces: Traces, sequence: int) -> None:
    """Shade the scored steps of one stored sequence, counted from 0, if they are known."""
    if traces.scored_ST is not None:
        for first, last in _stretches(traces.scored_ST[sequence]):
            axes.axvspan(first - 0.5, last + 0.5, color=SCORED, alpha=0.22, linewidth=0, zorder=0, label=ASKED)


def answers_in_words(traces: Traces, sequence: int) -> str:
    """Say what the model answered to one stored sequence, counted from 0; the text is empty if it is unknown.

    A single class is named: `the answer is yes, as is correct`. Otherwise, right answers are counted.
    """
    if traces.targets_STD is None or traces.answers_STD is None or traces.scored_ST is None or not traces.target_names:
        return ""
    scored_T = traces.scored_ST[sequence]
    targets, answers = (
        values[sequence, scored_T, 0].astype(int) for values in (traces.targets_STD, traces.answers_STD)
    )
    if len(targets) == 1:
        target, answer = (_name(traces.target_names, int(values[0])) for values in (targets, answers))
        return f"the answer is {answer}, " + ("as is correct" if target == answer else f"but {target} is correct")
    return f"{(targets == answers).sum()} of {plural(len(targets), 'answer')} are correct"


def _name(names: Sequence[str], index: int) -> str:
    return names[index] if 0 <= index < len(names) else str(index)


def _name_values(axes: Axes, names: Sequence[str]) -> None:
    """Put the names of tokens or classes on the vertical axis. Without names, or with too many, it has numbers."""
    if not names:
        return
    axes.set_ylim(-0.5, len(names) - 0.5)
    if len(names) <= MAX_NAMED:
        axes.set_yticks(range(len(names)), labels=[shortened(name, NAME_LETTERS) for name in names])
    else:
        axes.locator_params(axis="y", integer=True)


def _stretches(scored_T: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the first and the last step of each stretch of consecutive scored steps, counted from 1."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], scored_T.astype(int), [0]])))
    yield from zip((edges[::2] + 1).tolist(), edges[1::2].tolist(), strict=True)
