"""Overfitting gaps and test scores of one model after plain training and after alternatives such as dropout."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reports.analysis.groups import Group
from reports.analysis.traces import slug
from reports.analysis.trainings import Family, differences, overfitting_families
from reports.figures.drawing.alternative_text import extreme
from reports.figures.drawing.axes import WIDTH, score_label
from reports.figures.drawing.canvas import INK, Dash, Figure, empty_figure, figure_style, finish_figure
from reports.figures.drawing.tables import figure_table
from reports.format import numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Gap = tuple[np.ndarray, np.ndarray]
"""Training steps, and the overfitting gap in nats at each step: held-out loss minus training loss."""
EARLY_STOPPED = "early_stopped_accuracy"
EARLY_STOPPING = "early stopping"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
DASHES: tuple[Dash, ...] = ("solid", (0, (1.2, 1.2)), (0, (5, 1.5)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1.2)))
MARKERS = "o^sDvPX"


class Variant(NamedTuple):
    """One way to train a model, with its results by seed."""

    name: str
    group: Group
    scores: dict[int, float]
    """Test scores by seed."""
    gaps: dict[int, Gap]
    """Overfitting gaps by seed; empty if no gap was measured."""

    @property
    def measured(self) -> set[int]:
        """The seeds that have a score and, if any gap was measured, also a gap."""
        return set(self.scores) & set(self.gaps) if self.gaps else set(self.scores)


def overfitting_figure(groups: Sequence[Group], *, task: str, length: int) -> Figure | None:
    """Draw the overfitting gaps and test scores of one model that was trained in several ways.

    `task` and `length` select the groups to draw. Returns None if no model was trained with remedies against
    overfitting, or if its fit to the training set was not measured.
    """
    of_setting = [f for f in overfitting_families(groups) if (f.plain.task, f.plain.length) == (task, length)]
    variants = [
        variant for family in of_setting for variant in _variants(family) if variant.scores or variant.group.records
    ]
    if len(variants) < 2 or not any(variant.gaps for variant in variants):
        return None
    shared = shared_seeds(variants)
    with figure_style():
        figure = empty_figure(WIDTH, 3.6)
        gaps, scores = figure.subplots(1, 2, width_ratios=(1.25, 1))
        for index, variant in enumerate(variants):
            if variant.name != EARLY_STOPPING:
                _draw_gaps(gaps, variant, shared, index)
            _draw_scores(scores, variant, shared, index)
        gaps.axhline(0, color=INK, linewidth=0.9, linestyle=(0, (1, 1.5)))
        gaps.set_title("held-out loss − training loss")
        gaps.set_xlabel("training steps")
        gaps.set_ylabel("nats")
        gaps.set_xlim(0, None)
        gaps.locator_params(axis="x", nbins=5)
        gaps.xaxis.set_major_formatter("{x:,.0f}")
        handles, labels = gaps.get_legend_handles_labels()
        if handles:  # above the panels, since the lines leave no room inside
            named = {"title": _name_seeds(shared) or None, "title_fontsize": 8, "alignment": "left"}
            figure.legend(handles, labels, loc="outside upper left", ncols=min(len(labels), 4), fontsize=8, **named)
        scores.set_title("test score")
        scores.set_yticks(range(len(variants)), labels=[variant.name for variant in variants])
        scores.set_ylim(len(variants) - 0.5, -0.5)
        scores.set_xlabel(score_label())
        scores.margins(x=0.12)
        scores.locator_params(axis="x", nbins=5)
        return finish_figure(
            figure,
            name=f"overfitting-{slug(task)}-{length}",
            title=f"Overfitting, {task} at {length:,}",
            alternative=_alternative(variants, shared),
            description=_describe(variants, shared),
            table=figure_table(
                ("training", "seed", "compared", "test score", "final gap, nats"),
                (
                    (
                        variant.name,
                        numbers.count(seed),
                        "yes" if seed in shared else "no",
                        numbers.score(score),
                        _final_gap(variant, seed),
                    )
                    for variant in variants
                    for seed, score in variant.scores.items()
                ),
            ),
            how_to_read=_how_to_read(variants, shared),
        )


def shared_seeds(variants: Sequence[Variant]) -> list[int]:
    """Return the seeds that all measured variants have in common.

    Only shared seeds are compared, because scores differ between seeds.
    """
    measured = [variant.measured for variant in variants if variant.measured]
    return sorted(set.intersection(*measured)) if measured else []


def _draw_gaps(axes: Axes, variant: Variant, shared: Sequence[int], index: int) -> None:
    """Draw the mean gap of the shared seeds as a bold line, and every other seed as a thin line.

    Args:
        axes: The left panel.
        variant: The variant to draw.
        shared: The seeds that are compared.
        index: The index of the variant, which selects its colour and dash pattern.
    """
    colour, dash = COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]
    compared = [variant.gaps[seed] for seed in shared if seed in variant.gaps]
    for seed, (steps, gap) in variant.gaps.items():
        if seed not in shared:
            label = variant.name if not compared and seed == min(variant.gaps) else None
            axes.plot(steps, gap, color=colour, linestyle=dash, linewidth=0.7, alpha=0.45, zorder=1, label=label)
    if compared:
        steps = compared[0][0]
        mean = np.mean([np.interp(steps, *gap) for gap in compared], axis=0)
        axes.plot(steps, mean, color=colour, linestyle=dash, label=variant.name, linewidth=1.8)


def _draw_scores(axes: Axes, variant: Variant, shared: Sequence[int], index: int) -> None:
    """Draw one marker per seed, filled if the seed is compared. A bar shows the mean of the compared seeds.

    Args:
        axes: The right panel.
        variant: The variant to draw.
        shared: The seeds that are compared.
        index: The index of the variant, which selects its row, colour and marker.
    """
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    for seed, score in variant.scores.items():
        compared = seed in shared
        axes.plot(
            [score],
            [index],
            marker,
            color=colour,
            markerfacecolor=colour if compared else "none",
            markersize=6 if compared else 4.5,
            alpha=0.9 if compared else 0.55,
        )
    if means := [variant.scores[seed] for seed in shared if seed in variant.scores]:
        axes.plot([fmean(means)], [index], "|", color=INK, markersize=15, markeredgewidth=1.6)


def _means(variants: Sequence[Variant], shared: Sequence[int]) -> dict[str, float]:
    """Return the mean test score of each variant over the shared seeds. If no seed is shared, all seeds count.

    Variants without a test score are left out. If seeds are shared, variants without a measured seed are left out too.
    """
    return {
        variant.name: fmean([score for seed, score in variant.scores.items() if seed in shared or not shared])
        for variant in variants
        if variant.scores and (not shared or variant.measured)
    }


def _alternative(variants: Sequence[Variant], shared: Sequence[int]) -> str:
    subject = f"Overfitting gap and test scores of {variants[0].group.arch} trained in {len(variants)} ways"
    means = _means(variants, shared)
    if not shared or not means:
        return f"{subject}; no seed was trained in all of these ways, so they cannot be compared."
    return f"{subject}; on {_name_seeds(shared)}, the mean test score is {extreme([means])}."


def _describe(variants: Sequence[Variant], shared: Sequence[int]) -> str:
    subject = (
        f"test score of {_name_seeds(shared)}" if shared else "test scores of different seeds, which cannot be compared"
    )
    return f"{subject}: " + "; ".join(
        f"{name} {numbers.score(mean)}" for name, mean in _means(variants, shared).items()
    )


def _final_gap(variant: Variant, seed: int) -> str:
    return f"{variant.gaps[seed][1][-1]:.3g}" if seed in variant.gaps else numbers.MISSING


def _how_to_read(variants: Sequence[Variant], shared: Sequence[int]) -> str:
    model = f"One model, {variants[0].group.arch}, trained in several ways."
    stopped = (
        " Early stopping is the training of the first row, tested with the weights of its best validation score."
        if any(variant.name == EARLY_STOPPING for variant in variants)
        else ""
    )
    if not shared:
        return (
            f"{model} No seed was trained in all of these ways, so they cannot be compared. Left: held-out loss minus "
            f"training loss, one thin line per seed. Right: test scores, one hollow marker per seed.{stopped}"
        )
    several = len(shared) > 1
    others = sorted({seed for variant in variants for seed in (*variant.scores, *variant.gaps)} - set(shared))
    count = f"the {len(shared)} seeds" if several else "the only seed"
    incomplete = (
        f" Thin lines and hollow markers are {_name_seeds(others)}, which some rows lack; no mean includes them."
        if others
        else ""
    )
    single = "" if several else " A difference on a single seed may not hold for other seeds."
    return (
        f"{model} Compared on {_name_seeds(shared)}, {count} that all rows have. Left: held-out loss minus training "
        f"loss{', mean over these seeds' if several else ''}. Right: test scores, one filled marker per compared seed, "
        f"with a bar at {'their mean' if several else 'the same score'}.{incomplete}{single}{stopped}"
    )


def _name_seeds(seeds: Sequence[int]) -> str:
    if not seeds:
        return ""
    return f"seed{'s' if len(seeds) > 1 else ''} {numbers.listed([str(seed) for seed in seeds])}"


def _variants(family: Family) -> list[Variant]:
    """Return the plain training and the remedies of a family. Early stopping is one if its score was measured."""
    plain = family.plain
    stopped = {
        record.case.seed: fmean(measurement.samples)
        for record in plain.records
        for measurement in record.of(EARLY_STOPPED)
        if measurement.samples
    }
    variants = [Variant("plain", plain, _scores_by_seed(plain), _gaps_by_seed(plain))]
    if stopped:
        variants.append(Variant(EARLY_STOPPING, plain, stopped, {}))
    return variants + [
        Variant(_difference(plain, group), group, _scores_by_seed(group), _gaps_by_seed(group))
        for group in family.remedies
    ]


def _difference(plain: Group, other: Group) -> str:
    """Describe how a training differs from plain training: `dropout 0.3`, `weight decay 0.1`, `4× data`."""
    parts = []
    for field, value in differences(plain, other).items():
        base = plain.seeds[0].case.protocol.train_sequences
        if field == "train_sequences" and base and isinstance(value, int | float):
            parts.append(f"{value / base:g}× data")
        else:
            parts.append(f"{field.replace('_', ' ')} {f'{value:g}' if isinstance(value, int | float) else value}")
    return ", ".join(parts)


def _scores_by_seed(group: Group) -> dict[int, float]:
    scores = {seed.case.seed: seed.score() for seed in group.seeds}
    return {seed: score for seed, score in scores.items() if score is not None}


def _gaps_by_seed(group: Group) -> dict[int, Gap]:
    gaps = {}
    for record in group.records:
        if record.training is not None and record.status not in ("diverged", "inconsistent"):
            points = [
                (point.step, point.validation_loss - point.fit_loss)
                for point in record.training.curve
                if point.validation_loss is not None and point.fit_loss is not None
            ]
            if points:
                steps, gap = np.array(points, dtype=float).T
                gaps[record.case.seed] = (steps, gap)
    return gaps
