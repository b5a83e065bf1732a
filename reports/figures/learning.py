"""Loss and score over the epochs, on the training set and on held-out data: learning, and where it turns to rote."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from reports.analysis.groups import Group
from reports.analysis.traces import slug
from reports.figures.axes import WIDTH, score_axis
from reports.figures.canvas import INK, Dash, Figure, figure, finished, style
from reports.format import numbers
from results import Case, Training, epoch_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HELD_OUT, FITTED = "#D55E00", "#0072B2"
MAX_COLUMNS = 4
ROW_INCHES = 1.45
MAX_LETTERS = 28
"""In a line above a panel."""
SERIES: tuple[tuple[str, str, Dash, str], ...] = (
    ("fit", FITTED, "solid", "training set"),
    ("validation", HELD_OUT, (0, (4, 1.5)), "held-out"),
)


def learning_figure(found: Sequence[Group], *, task: str, length: int) -> Figure | None:
    """A column of two panels for each architecture: loss above, score below. None where the fit was not measured."""
    kept = [group for group in found if (group.task, group.length) == (task, length) and _trainings(group)]
    if not kept:
        return None
    bands = ceil(len(kept) / MAX_COLUMNS)
    columns, rows = ceil(len(kept) / bands), 2 * bands
    title = f"Learning and fitting, {task} at {length:,}"
    highest = max(loss for group in kept for _, training in _trainings(group) for loss in _losses(training))
    with style():
        drawn = figure(WIDTH if columns > 1 else 5.4, 0.9 + ROW_INCHES * rows)
        every = drawn.subplots(rows, columns, squeeze=False)
        for place in range(columns * rows // 2):
            above, below = (
                every[2 * (place // columns), place % columns],
                every[2 * (place // columns) + 1, place % columns],
            )
            if place >= len(kept):
                above.set_axis_off()
                below.set_axis_off()
                continue
            _column(above, below, kept[place], highest, labelled=place % columns == 0)
        _legend(drawn)
        drawn.supxlabel(_axis(kept), fontsize=9)
        told = "; ".join(_told(group) for group in kept)
        return finished(
            drawn,
            name=f"learning-{slug(task)}-{length}",
            title=title,
            told=told,
            how_to_read=(
                "Above the loss (nats), below the score, on training sequences (solid) and on held-out ones "
                "(dashed), both without dropout; thin lines are seeds, bold lines their mean. Where the two part, "
                "the model learns its training set by heart; the horizontal line is what an answer blind to the past "
                "scores, or chance."
            ),
        )


def _column(above: Axes, below: Axes, group: Group, highest: float, *, labelled: bool) -> None:
    for axes, what in ((above, "loss"), (below, "score")):
        for kind, colour, dash, _ in SERIES:
            curves = [_curve(case, training, f"{kind}_{what}") for case, training in _trainings(group)]
            if len(curves) > 1:
                for epochs, values in curves:
                    axes.plot(epochs, values, color=colour, linewidth=0.6, alpha=0.45)
            epochs, values = curves[0][0], np.mean([np.interp(curves[0][0], *curve) for curve in curves], axis=0)
            axes.plot(epochs, values, color=colour, linestyle=dash, linewidth=1.6)
        axes.set_xlim(0, None)
        axes.locator_params(axis="x", nbins=4)
    above.set_ylim(0, highest * 1.05)
    above.set_title(numbers.wrap_label(group.arch, MAX_LETTERS), fontsize=7.5)
    above.tick_params(labelbottom=False)
    line = group.reference()
    if line is not None:
        below.axhline(max(line.chance, line.memoryless_score or 0), color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
    score_axis(below)
    below.set_ylim(0.45 if line is not None and line.chance >= 0.45 else -0.02, 1.02)
    if labelled:
        above.set_ylabel("loss")
        below.set_ylabel("score")


def _legend(drawn: object) -> None:
    from matplotlib.figure import Figure as MplFigure
    from matplotlib.lines import Line2D

    assert isinstance(drawn, MplFigure)
    handles = [Line2D([], [], color=colour, linestyle=dash, label=label) for _, colour, dash, label in SERIES]
    handles.append(Line2D([], [], color=INK, linestyle=(0, (4, 2)), linewidth=0.9, label="without the past"))
    drawn.legend(handles=handles, loc="outside upper left", ncols=3)


def _trainings(group: Group) -> list[tuple[Case, Training]]:
    """The trainings of seeds that measured their fit and did not diverge."""
    return [
        (record.case, record.training)
        for record in group.records
        if record.training is not None
        and record.training.stopped != "diverged"
        and any(point.fit_score is not None for point in record.training.curve)
    ]


def _curve(case: Case, training: Training, field: str) -> tuple[np.ndarray, np.ndarray]:
    points = [(epoch_of(point.step, case.protocol), getattr(point, field)) for point in training.curve]
    kept = [(epoch, value) for epoch, value in points if value is not None]
    return np.array([epoch for epoch, _ in kept]), np.array([value for _, value in kept])


def _losses(training: Training) -> list[float]:
    both = [loss for point in training.curve for loss in (point.fit_loss, point.validation_loss)]
    return [loss for loss in both if loss is not None]


def _axis(kept: Sequence[Group]) -> str:
    fixed = all(case.protocol.train_sequences is not None for group in kept for case, _ in _trainings(group))
    return "epochs (passes over the training set)" if fixed else "training steps"


def _told(group: Group) -> str:
    ends = [training.curve[-1] for _, training in _trainings(group)]
    fitted, held_out = (
        numbers.listed([numbers.score(getattr(point, field), 2) for point in ends])
        for field in ("fit_score", "validation_score")
    )
    return f"{group.arch} ends at {fitted} on the training set and {held_out} on held-out data"
