"""The overfitting gap, and what dropout, weight decay, early stopping and more data do to it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np

from reports import _numbers as written
from reports._canvas import INK, Dash, Drawing, figure, finished, style
from reports._inside import places, slug
from reports._panels import WIDTH
from reports._series import Group
from results import Case, interval_of_mean

EARLY_STOPPED = "early_stopped_accuracy"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
DASHES: tuple[Dash, ...] = ("solid", (0, (1.2, 1.2)), (0, (5, 1.5)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1.2)))
MARKERS = "o^sDvPX"


class Variant(NamedTuple):
    """One way to train the same model, and what came of it."""

    name: str
    group: Group
    scores: list[float]


def overfitting_of(found: Sequence[Group], *, task: str, length: int) -> Drawing | None:
    """Gap between held-out and training loss, and test scores, of one model trained in several ways; None without."""
    here = [group for group in found if (group.task, group.length) == (task, length)]
    variants = [variant for variant in _variants(here) if variant.scores or variant.group.records]
    if len(variants) < 2:
        return None
    title = f"Overfitting, {task} at {length:,}"
    with style():
        drawn = figure(WIDTH, 3.6)
        gaps, scores = drawn.subplots(1, 2, width_ratios=(1.25, 1))
        for place, variant in enumerate(variants):
            colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
            steps, gap = _gap(variant.group)
            if variant.name != "early stopping" and len(steps):
                dash = DASHES[place % len(DASHES)]
                gaps.plot(steps, gap, color=colour, linestyle=dash, label=variant.name, linewidth=1.6)
            scores.plot(variant.scores, [place] * len(variant.scores), marker, color=colour, markersize=5, alpha=0.6)
            if variant.scores:
                mean = interval_of_mean(variant.scores)
                scores.plot([mean.middle], [place], "|", color=INK, markersize=13, markeredgewidth=2)
        gaps.axhline(0, color=INK, linewidth=0.9, linestyle=(0, (1, 1.5)))
        gaps.set_title("held-out loss less training loss")
        gaps.set_xlabel("training steps")
        gaps.set_ylabel("nats")
        gaps.set_xlim(0, None)
        gaps.locator_params(axis="x", nbins=5)
        gaps.xaxis.set_major_formatter("{x:,.0f}")
        gaps.legend(loc="best", fontsize=7.5)
        scores.set_title("test score")
        scores.set_yticks(range(len(variants)), labels=[variant.name for variant in variants])
        scores.set_ylim(len(variants) - 0.5, -0.5)
        scores.set_xlabel("score (share answered rightly)")
        scores.margins(x=0.12)
        return finished(
            drawn,
            name=f"overfitting-{slug(task)}-{length}",
            title=title,
            told="; ".join(
                f"{variant.name} {written.score(fmean(variant.scores))}" for variant in variants if variant.scores
            ),
            how_to_read=(
                f"One model, {variants[0].group.arch}, trained in several ways. Left: how far held-out loss lies "
                "above the loss on training sequences, mean over seeds. Right: scores on test data, a mark a seed, a "
                "bar their mean. Early stopping is the same training as the first row, tested with the weights of "
                "its best validation score."
            ),
        )


def trained_otherwise(found: Sequence[Group]) -> list[Group]:
    """The groups that are there for this figure alone: other trainings of a model that is trained plainly too."""
    return [
        variant.group
        for task, length in places(found)
        for variants in [_variants([group for group in found if (group.task, group.length) == (task, length)])]
        for variant in variants
        if variant.group is not variants[0].group
    ]


def _variants(here: Sequence[Group]) -> list[Variant]:
    """The plain training first; empty where no model was trained in more than one way."""
    families: dict[tuple[object, ...], list[Group]] = {}
    for group in here:
        families.setdefault(_model(group.seeds[0].case), []).append(group)
    family = max(families.values(), key=len, default=[])
    if len(family) < 2:
        return []
    plain = min(family, key=lambda group: (_dropout(group.seeds[0].case) != "0", len(group.arch)))
    stopped = [fmean(one.samples) for record in plain.records for one in record.of(EARLY_STOPPED) if one.samples]
    variants = [Variant("plain", plain, plain.scores())]
    if stopped:
        variants.append(Variant("early stopping", plain, stopped))
    return variants + [
        Variant(_difference(plain.seeds[0].case, group.seeds[0].case), group, group.scores())
        for group in family
        if group is not plain
    ]


def _model(case: Case) -> tuple[object, ...]:
    """What two trainings of one model share."""
    options = [option for option in _options(case) if not option.startswith("dropout=")]
    return case.arch.partition(":")[0], *options, case.depth, case.params, case.width


def _options(case: Case) -> list[str]:
    return [option for option in case.arch.partition(":")[2].split(",") if option]


def _dropout(case: Case) -> str:
    return next((option.partition("=")[2] for option in _options(case) if option.startswith("dropout=")), "0")


def _difference(plain: Case, other: Case) -> str:
    """`dropout 0.3`, `weight decay 0.1`: what the other training does differently, the shortest way to say it."""
    parts = [f"dropout {_dropout(other)}"] if _dropout(plain) != _dropout(other) else []
    mine, others = plain.protocol, other.protocol
    if mine.train_sequences and others.train_sequences and mine.train_sequences != others.train_sequences:
        return ", ".join([*parts, f"{others.train_sequences / mine.train_sequences:g}× data"])
    fields = [name for name in type(mine).model_fields if getattr(mine, name) != getattr(others, name)]
    parts += [f"{name.replace('_', ' ')} {getattr(others, name)}" for name in fields]
    return ", ".join(parts) or "other"


def _gap(group: Group) -> tuple[np.ndarray, np.ndarray]:
    """Mean gap over the seeds, by step."""
    curves = []
    for record in group.records:
        if record.training is not None and record.training.stopped != "diverged":
            points = [
                (point.step, point.validation_loss - point.fit_loss)
                for point in record.training.curve
                if point.validation_loss is not None and point.fit_loss is not None
            ]
            if points:
                curves.append(np.array(points, dtype=float).T)
    if not curves:
        return np.array([]), np.array([])
    steps = curves[0][0]
    return steps, np.mean([np.interp(steps, *curve) for curve in curves], axis=0)
