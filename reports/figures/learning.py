"""The figure of learning curves: loss and score on the training set and on held-out data.

The distance between the two curves of a panel shows when a model starts to memorise its training set.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from reports.analysis.groups import Group
from reports.analysis.memory_share import no_memory_score
from reports.analysis.traces import slug
from reports.figures.drawing.alternative_text import name_all
from reports.figures.drawing.axes import WIDTH, score_axis
from reports.figures.drawing.canvas import INK, Dash, Figure, empty_figure, figure_style, finish_figure
from reports.format import numbers
from results import Case, Training, epoch_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure

HELD_OUT, FITTED = "#D55E00", "#0072B2"
MAX_COLUMNS = 4
ROW_INCHES = 1.45
MAX_LETTERS = 28
"""The largest number of letters in a row of a panel's title."""
SERIES: tuple[tuple[str, str, Dash, str], ...] = (
    ("fit", FITTED, "solid", "training set"),
    ("validation", HELD_OUT, (0, (4, 1.5)), "held-out"),
)
"""The two curves of a panel. Each has a prefix of `EvalPoint` field names, a colour, a dash pattern and a label."""
REFERENCE_DASH: Dash = (0, (4, 2))


def learning_figure(groups: Sequence[Group], *, task: str, length: int) -> Figure | None:
    """Draw a loss panel and a score panel per architecture, for one task at one trained length.

    Returns None if the fit to the training set was not measured.
    """
    fitted = [group for group in groups if (group.task, group.length) == (task, length) and _trainings(group)]
    if not fitted:
        return None
    bands = ceil(len(fitted) / MAX_COLUMNS)
    columns = ceil(len(fitted) / bands)
    highest = max(loss for group in fitted for _, training in _trainings(group) for loss in _losses(training))
    with figure_style():
        figure = empty_figure(WIDTH if columns > 1 else 5.4, 0.9 + ROW_INCHES * 2 * bands)
        all_axes = figure.subplots(2 * bands, columns, squeeze=False)
        for index in range(columns * bands):
            band, column = divmod(index, columns)
            loss_axes, score_axes = all_axes[2 * band, column], all_axes[2 * band + 1, column]
            if index < len(fitted):
                _draw_column(loss_axes, score_axes, fitted[index], highest, labelled=column == 0)
            else:
                loss_axes.set_axis_off()
                score_axes.set_axis_off()
        reference = _reference_name(fitted[0])
        _draw_legend(figure, reference)
        figure.supxlabel(_step_label(fitted), fontsize=9)
        gaps = {group.arch: _final_gap(group) for group in fitted}
        widest = max(gaps, key=lambda arch: gaps[arch])
        return finish_figure(
            figure,
            name=f"learning-{slug(task)}-{length}",
            title=f"Learning curves, {task} at {length:,}",
            alternative=(
                f"Loss and score of {name_all(gaps)} on {task} at {length:,}, on the training set and on held-out "
                f"data; the final gap between the two scores is largest for {widest} ({gaps[widest]:.2f})."
            ),
            description="; ".join(_describe(group) for group in fitted),
            how_to_read=(
                "Upper panels show the loss and lower panels the score, on the training set (solid) and on held-out "
                "data (dashed); both are evaluated without dropout. Thin lines are seeds, and bold lines are means. "
                "If the solid and the dashed line separate, the model memorises its training set. The horizontal "
                "line is "
                f"{'the memoryless baseline' if reference == 'memoryless baseline' else 'chance'}."
            ),
        )


def _draw_column(loss_axes: Axes, score_axes: Axes, group: Group, highest: float, *, labelled: bool) -> None:
    for axes, quantity in ((loss_axes, "loss"), (score_axes, "score")):
        for prefix, colour, dash, _ in SERIES:
            curves = [_curve(case, training, f"{prefix}_{quantity}") for case, training in _trainings(group)]
            if len(curves) > 1:
                for epochs, values in curves:
                    axes.plot(epochs, values, color=colour, linewidth=0.6, alpha=0.45)
            epochs, values = curves[0][0], np.mean([np.interp(curves[0][0], *curve) for curve in curves], axis=0)
            axes.plot(epochs, values, color=colour, linestyle=dash, linewidth=1.6)
        axes.set_xlim(0, None)
        axes.locator_params(axis="x", nbins=4)
    loss_axes.set_ylim(0, highest * 1.05)
    loss_axes.set_title(numbers.wrap_label(group.arch, MAX_LETTERS), fontsize=7.5)
    loss_axes.tick_params(labelbottom=False)
    reference = group.reference()
    if reference is not None:
        score_axes.axhline(no_memory_score(reference), color=INK, linewidth=0.9, linestyle=REFERENCE_DASH)
    score_axis(score_axes)
    score_axes.set_ylim(0.45 if reference is not None and reference.chance >= 0.45 else -0.02, 1.02)
    if labelled:
        loss_axes.set_ylabel("loss")
        score_axes.set_ylabel("score")


def _draw_legend(figure: MplFigure, reference: str) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, linestyle=dash, label=label) for _, colour, dash, label in SERIES]
    handles.append(Line2D([], [], color=INK, linestyle=REFERENCE_DASH, linewidth=0.9, label=reference))
    figure.legend(handles=handles, loc="outside upper left", ncols=3)


def _reference_name(group: Group) -> str:
    """Return the name of the higher reference score, which the horizontal line shows."""
    reference = group.reference()
    return (
        "memoryless baseline" if reference is not None and no_memory_score(reference) > reference.chance else "chance"
    )


def _trainings(group: Group) -> list[tuple[Case, Training]]:
    """Return pairs of case and training.

    Seeds that diverged or are inconsistent are left out. So are seeds whose fit to the training set was not measured.
    """
    return [
        (record.case, record.training)
        for record in group.records
        if record.training is not None
        and record.status != "inconsistent"
        and record.training.stopped != "diverged"
        and any(point.fit_score is not None for point in record.training.curve)
    ]


def _curve(case: Case, training: Training, field: str) -> tuple[np.ndarray, np.ndarray]:
    points = [(epoch_of(point.step, case.protocol), getattr(point, field)) for point in training.curve]
    measured = [(epoch, value) for epoch, value in points if value is not None]
    return np.array([epoch for epoch, _ in measured]), np.array([value for _, value in measured])


def _losses(training: Training) -> list[float]:
    losses = [loss for point in training.curve for loss in (point.fit_loss, point.validation_loss)]
    return [loss for loss in losses if loss is not None]


def _final_gap(group: Group) -> float:
    """Return the training score minus the validation score, averaged over seeds.

    Both scores are taken at the last step at which the training score was measured.
    """
    gaps = []
    for _, training in _trainings(group):
        point = next(point for point in reversed(training.curve) if point.fit_score is not None)
        gaps.append((point.fit_score or 0.0) - point.validation_score)
    return fmean(gaps)


def _step_label(groups: Sequence[Group]) -> str:
    fixed = all(case.protocol.train_sequences is not None for group in groups for case, _ in _trainings(group))
    return "epochs (passes over the training set)" if fixed else "training steps"


def _describe(group: Group) -> str:
    ends = [training.curve[-1] for _, training in _trainings(group)]
    fitted, held_out = (
        numbers.listed([numbers.score(getattr(point, field), 2) for point in ends])
        for field in ("fit_score", "validation_score")
    )
    return f"{group.arch} ends at {fitted} on the training set and {held_out} on held-out data"
