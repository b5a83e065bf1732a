"""The figure of learning curves: loss and score on the training set and on held-out data.

The distance between the two curves of a panel shows when a model starts to memorise its training set.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reports.analysis.groups import Group
from reports.analysis.memory_share import no_memory_score
from reports.analysis.traces import slug
from reports.figures.drawing.alternative_text import extreme, name_all
from reports.figures.drawing.axes import WIDTH, score_axis
from reports.figures.drawing.canvas import INK, PALE, Dash, Figure, empty_figure, figure_style, finish_figure
from reports.figures.drawing.reference_lines import CHANCE_DASH, MEMORYLESS_DASH
from reports.figures.drawing.tables import FigureTable, few_of, figure_table, with_range
from reports.format import numbers
from results import Case, EvalPoint, Training, epoch_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure

HELD_OUT, FITTED = "#D55E00", "#0072B2"
MAX_COLUMNS = 4
ROW_INCHES = 1.45
MAX_LETTERS = 28
"""The largest number of letters in a row of a panel's title."""
HELD_OUT_DASH: Dash = (0, (4, 1.5))
BEST_MARKER = "*"


class _Series(NamedTuple):
    """One of the curves of a panel, as mean, lowest and highest value over seeds at each epoch."""

    epochs: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def learning_figure(groups: Sequence[Group], *, task: str, length: int, needs_fit: bool = True) -> Figure | None:
    """Draw a loss panel and a score panel per architecture, for one task at one trained length.

    Args:
        groups: The groups of the run.
        task: The task to draw.
        length: The trained length to draw.
        needs_fit: Whether to draw only models whose fit to the training set was measured. Without this fit, the loss of
            the training batches stands in for that of the training set, and the training set has no score.

    Returns None if there is nothing to draw.
    """
    drawn = [group for group in groups if (group.task, group.length) == (task, length) and _trainings(group, needs_fit)]
    if not drawn:
        return None
    is_fitted = all(_is_fitted(training) for group in drawn for _, training in _trainings(group, needs_fit))
    bands = ceil(len(drawn) / MAX_COLUMNS)
    columns = ceil(len(drawn) / bands)
    losses = [loss for group in drawn for _, training in _trainings(group, needs_fit) for loss in _losses(training)]
    highest = max(losses, default=0.0) or 1.0
    with figure_style():
        figure = empty_figure(WIDTH if columns > 1 else 5.4, 0.9 + ROW_INCHES * 2 * bands)
        all_axes = figure.subplots(2 * bands, columns, squeeze=False)
        for index in range(columns * bands):
            band, column = divmod(index, columns)
            loss_axes, score_axes = all_axes[2 * band, column], all_axes[2 * band + 1, column]
            if index < len(drawn):
                trainings = _trainings(drawn[index], needs_fit)
                _draw_column(loss_axes, score_axes, drawn[index], trainings, highest, labelled=column == 0)
            else:
                loss_axes.set_axis_off()
                score_axes.set_axis_off()
        reference, dash = _reference_line(drawn[0])
        unit = _unit(drawn, needs_fit)
        has_seeds = any(len(_trainings(group, needs_fit)) > 1 for group in drawn)
        _draw_legend(figure, reference, dash, unit, is_fitted=is_fitted, has_seeds=has_seeds)
        figure.supxlabel("epochs (passes over the training set)" if unit == "epoch" else "training steps", fontsize=9)
        shown = "the training set" if is_fitted else "training batches"
        return finish_figure(
            figure,
            name=f"learning-{slug(task)}-{length}",
            title=f"Learning curves, {task} at {length:,}",
            alternative=(
                f"Loss and score of {name_all(group.arch for group in drawn)} on {task} at {length:,}, on {shown} and "
                f"on held-out data; {_main_result(drawn, needs_fit, is_fitted=is_fitted)}."
            ),
            description="; ".join(_describe(group, needs_fit, unit) for group in drawn),
            table=_table(drawn, needs_fit, unit, is_fitted=is_fitted),
            how_to_read=_how_to_read(reference, unit, is_fitted=is_fitted, has_seeds=has_seeds),
        )


def _draw_column(
    loss_axes: Axes,
    score_axes: Axes,
    group: Group,
    trainings: Sequence[tuple[Case, Training]],
    highest: float,
    *,
    labelled: bool,
) -> None:
    best = _best(trainings)
    for axes, quantity in ((loss_axes, "loss"), (score_axes, "score")):
        for kind, colour, dash in (("fit", FITTED, "solid"), ("validation", HELD_OUT, HELD_OUT_DASH)):
            series = _over_seeds(trainings, f"{kind}_{quantity}")
            if series is not None:
                axes.fill_between(series.epochs, series.low, series.high, color=colour, alpha=0.18, linewidth=0)
                axes.plot(series.epochs, series.mean, color=colour, linestyle=dash, linewidth=1.6)
        axes.axvline(best[0], color=PALE, linewidth=0.9, zorder=1)
        axes.set_xlim(0, None)
        axes.locator_params(axis="x", nbins=4)
    score_axes.plot(*best, BEST_MARKER, color=INK, markersize=8, zorder=4, clip_on=False)
    loss_axes.set_ylim(0, highest * 1.05)
    loss_axes.set_title(numbers.wrap_label(group.arch, MAX_LETTERS), fontsize=7.5)
    loss_axes.tick_params(labelbottom=False)
    reference = group.reference()
    if reference is not None:
        _, dash = _reference_line(group)
        score_axes.axhline(no_memory_score(reference), color=INK, linewidth=0.9, linestyle=dash)
    score_axis(score_axes)
    score_axes.set_ylim(0.45 if reference is not None and reference.chance >= 0.45 else -0.02, 1.02)
    if labelled:
        loss_axes.set_ylabel("loss")
        score_axes.set_ylabel("score")


def _draw_legend(figure: MplFigure, reference: str, dash: Dash, unit: str, *, is_fitted: bool, has_seeds: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    fitted = "training set" if is_fitted else "training batches (loss)"
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=FITTED, label=fitted),
        Line2D([], [], color=HELD_OUT, linestyle=HELD_OUT_DASH, label="held-out"),
        Line2D([], [], color=INK, marker=BEST_MARKER, markersize=8, linestyle="none", label=f"best {unit}"),
        Line2D([], [], color=INK, linestyle=dash, linewidth=0.9, label=reference),
    ]
    if has_seeds:
        handles.insert(2, Patch(color=PALE, alpha=0.4, linewidth=0, label="lowest to highest seed"))
    figure.legend(handles=handles, loc="outside upper left", ncols=5 if figure.get_figwidth() > 6 else 2, fontsize=8)


def _main_result(drawn: Sequence[Group], needs_fit: bool, *, is_fitted: bool) -> str:
    if is_fitted:
        gaps = {group.arch: _final_gap(_trainings(group, needs_fit)) for group in drawn}
        widest = max(gaps, key=lambda arch: gaps[arch])
        return f"the final gap between the two scores is largest for {widest} ({gaps[widest]:.2f})"
    best = {group.arch: float(_best(_trainings(group, needs_fit))[1]) for group in drawn}
    return f"the best held-out score is {extreme([best], write=lambda score: f'{score:.2f}')}"


def _how_to_read(reference: str, unit: str, *, is_fitted: bool, has_seeds: bool) -> str:
    fitted = (
        "on the training set (solid) and on held-out data (dashed); both are evaluated without dropout."
        if is_fitted
        else "on the batches of training (solid; only the loss, with dropout, as a mean since the last evaluation) "
        "and on held-out data (dashed)."
    )
    seeds = (
        " Lines are means over seeds, and bands span the lowest to the highest seed; a seed that stopped earlier keeps "
        "its last value."
        if has_seeds
        else ""
    )
    separate = " If the solid and the dashed line separate, the model memorises its training set." if is_fitted else ""
    return (
        f"Upper panels show the loss and lower panels the score, {fitted}{seeds}{separate} The star is the best "
        f"{unit}, with the highest "
        f"{'mean ' if has_seeds else ''}held-out score. The horizontal line is "
        f"{'the memoryless baseline' if reference == 'memoryless baseline' else 'chance'}."
    )


def _reference_line(group: Group) -> tuple[str, Dash]:
    """Return the name and the dash pattern of the horizontal line, which shows the higher reference score."""
    reference = group.reference()
    if reference is not None and no_memory_score(reference) > reference.chance:
        return "memoryless baseline", MEMORYLESS_DASH
    return "chance", CHANCE_DASH


def _trainings(group: Group, needs_fit: bool) -> list[tuple[Case, Training]]:
    """Return pairs of case and training.

    Seeds that diverged or are inconsistent are left out. So are seeds without a curve and, if `needs_fit` is true,
    seeds whose fit to the training set was not measured.
    """
    return [
        (record.case, record.training)
        for record in group.records
        if record.training is not None
        and record.status != "inconsistent"
        and record.training.stopped != "diverged"
        and record.training.curve
        and (not needs_fit or _is_fitted(record.training))
    ]


def _is_fitted(training: Training) -> bool:
    return any(point.fit_score is not None for point in training.curve)


def _over_seeds(trainings: Sequence[tuple[Case, Training]], field: str) -> _Series | None:
    """Return a curve as mean and range over seeds; None if no seed has it. Earlier ends keep their last value."""
    curves = [curve for case, training in trainings if len((curve := _curve(case, training, field))[0])]
    if not curves:
        return None
    epochs = np.unique(np.concatenate([own_epochs for own_epochs, _ in curves]))
    values = np.array([np.interp(epochs, *curve) for curve in curves])
    return _Series(epochs, values.mean(0), values.min(0), values.max(0))


def _table(groups: Sequence[Group], needs_fit: bool, unit: str, *, is_fitted: bool) -> FigureTable:
    """Return losses and scores at a few evaluations of each architecture."""
    trained = "training set" if is_fitted else "training batches"
    fields = {
        f"loss, {trained}": "fit_loss",
        "loss, held-out": "validation_loss",
        **({"score, training set": "fit_score"} if is_fitted else {}),
        "score, held-out": "validation_score",
    }
    rows = []
    for group in groups:
        curves = [_over_seeds(_trainings(group, needs_fit), field) for field in fields.values()]
        held_out = curves[-1]
        assert held_out is not None, "every evaluation has a validation score"
        for epoch in few_of(held_out.epochs.tolist()):
            texts = [_text_at(curve, epoch, heading) for curve, heading in zip(curves, fields, strict=True)]
            rows.append((group.arch, _epoch(epoch), *texts))
    return figure_table(("architecture", unit, *fields), rows)


def _epoch(epoch: float) -> str:
    """Format an epoch: as a whole number if it is one."""
    return numbers.count(int(epoch)) if epoch.is_integer() else numbers.significant(epoch)


def _text_at(curve: _Series | None, epoch: float, heading: str) -> str:
    """Return the mean of a curve at an epoch with the range over seeds; a dash if the curve has no value there."""
    index = -1 if curve is None else int(np.searchsorted(curve.epochs, epoch))
    if curve is None or index == len(curve.epochs) or curve.epochs[index] != epoch:
        return numbers.MISSING
    mean, low, high = (float(series[index]) for series in (curve.mean, curve.low, curve.high))
    write = numbers.score if heading.startswith("score") else numbers.significant
    return with_range(mean, low, high, write)


def _best(trainings: Sequence[tuple[Case, Training]]) -> tuple[float, float]:
    """Return the epoch with the highest mean held-out score, and this score."""
    series = _over_seeds(trainings, "validation_score")
    assert series is not None, "every evaluation has a validation score"
    best = int(series.mean.argmax())
    return float(series.epochs[best]), float(series.mean[best])


def _curve(case: Case, training: Training, field: str) -> tuple[np.ndarray, np.ndarray]:
    if field == "fit_loss" and not _is_fitted(training):
        field = "train_loss"
    points = [(epoch_of(point.step, case.protocol), getattr(point, field)) for point in training.curve]
    measured = [(epoch, value) for epoch, value in points if value is not None]
    return np.array([epoch for epoch, _ in measured]), np.array([value for _, value in measured])


def _losses(training: Training) -> list[float]:
    fitted = _is_fitted(training)
    losses = [loss for point in training.curve for loss in (_fit_loss(point, fitted=fitted), point.validation_loss)]
    return [loss for loss in losses if loss is not None]


def _fit_loss(point: EvalPoint, *, fitted: bool) -> float | None:
    return point.fit_loss if fitted else point.train_loss


def _final_gap(trainings: Sequence[tuple[Case, Training]]) -> float:
    """Return the training score minus the validation score, averaged over seeds.

    Both scores are taken at the last step at which the training score was measured.
    """
    gaps = []
    for _, training in trainings:
        point = next(point for point in reversed(training.curve) if point.fit_score is not None)
        gaps.append((point.fit_score or 0.0) - point.validation_score)
    return fmean(gaps)


def _unit(groups: Sequence[Group], needs_fit: bool) -> str:
    """Return the unit of the horizontal axis, `epoch` or `step`."""
    fixed = all(
        case.protocol.train_sequences is not None for group in groups for case, _ in _trainings(group, needs_fit)
    )
    return "epoch" if fixed else "step"


def _describe(group: Group, needs_fit: bool, unit: str) -> str:
    trainings = _trainings(group, needs_fit)
    ends = [training.curve[-1] for _, training in trainings]
    fitted, held_out = (
        numbers.listed([numbers.score(getattr(point, field), 2) for point in ends])
        for field in ("fit_score", "validation_score")
    )
    on_training_set = f"{fitted} on the training set and " if any(point.fit_score is not None for point in ends) else ""
    epoch, score = _best(trainings)
    return (
        f"{group.arch} ends at {on_training_set}{held_out} on held-out data; its best {unit} is "
        f"{_epoch(epoch)}, with {numbers.score(score, 2)}"
    )
