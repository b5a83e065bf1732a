"""The overfitting gap, and what dropout, weight decay, early stopping and more data do to it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reports.analysis.groups import Group
from reports.analysis.traces import settings_of, slug
from reports.figures.axes import WIDTH
from reports.figures.canvas import INK, Dash, Figure, figure, finished, style
from reports.format import numbers
from results import Case

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Gap = tuple[np.ndarray, np.ndarray]
"""Training steps, and held-out loss less training loss at each."""
EARLY_STOPPED = "early_stopped_accuracy"
EARLY_STOPPING = "early stopping"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
DASHES: tuple[Dash, ...] = ("solid", (0, (1.2, 1.2)), (0, (5, 1.5)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1.2)))
MARKERS = "o^sDvPX"


class Variant(NamedTuple):
    """One way to train the same model, and what came of it."""

    name: str
    group: Group
    scores: dict[int, float]
    """By seed, as the gaps below."""
    gaps: dict[int, Gap]

    @property
    def measured(self) -> set[int]:
        """The seeds of which all that was measured of this training is there."""
        return set(self.scores) & set(self.gaps) if self.gaps else set(self.scores)


def overfitting_figure(found: Sequence[Group], *, task: str, length: int) -> Figure | None:
    """Gap between held-out and training loss, and test scores, of one model trained in several ways; None without."""
    here = [group for group in found if (group.task, group.length) == (task, length)]
    variants = [variant for variant in _variants(here) if variant.scores or variant.group.records]
    if len(variants) < 2:
        return None
    shared = shared_seeds(variants)
    with style():
        drawn = figure(WIDTH, 3.6)
        gaps, scores = drawn.subplots(1, 2, width_ratios=(1.25, 1))
        for place, variant in enumerate(variants):
            if variant.name != EARLY_STOPPING:
                _gaps(gaps, variant, shared, place)
            _scores(scores, variant, shared, place)
        gaps.axhline(0, color=INK, linewidth=0.9, linestyle=(0, (1, 1.5)))
        gaps.set_title("held-out loss less training loss")
        gaps.set_xlabel("training steps")
        gaps.set_ylabel("nats")
        gaps.set_xlim(0, None)
        gaps.locator_params(axis="x", nbins=5)
        gaps.xaxis.set_major_formatter("{x:,.0f}")
        if gaps.get_legend_handles_labels()[0]:
            gaps.legend(loc="best", fontsize=7.5, title=_seeds(shared) or None, title_fontsize=7.5)
        scores.set_title("test score")
        scores.set_yticks(range(len(variants)), labels=[variant.name for variant in variants])
        scores.set_ylim(len(variants) - 0.5, -0.5)
        scores.set_xlabel("score (share answered rightly)")
        scores.margins(x=0.12)
        return finished(
            drawn,
            name=f"overfitting-{slug(task)}-{length}",
            title=f"Overfitting, {task} at {length:,}",
            told=_told(variants, shared),
            how_to_read=_how_to_read(variants, shared),
        )


def shared_seeds(variants: Sequence[Variant]) -> list[int]:
    """The seeds that every training which was measured has: seeds differ, so that only these are compared."""
    measured = [variant.measured for variant in variants if variant.measured]
    return sorted(set.intersection(*measured)) if measured else []


def _gaps(axes: Axes, variant: Variant, shared: Sequence[int], place: int) -> None:
    """The mean over the shared seeds, bold and named; every other seed thin and pale behind it."""
    colour, dash = COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)]
    kept = [variant.gaps[seed] for seed in shared if seed in variant.gaps]
    for seed, (steps, gap) in variant.gaps.items():
        if seed not in shared:
            label = variant.name if not kept and seed == min(variant.gaps) else None
            axes.plot(steps, gap, color=colour, linestyle=dash, linewidth=0.7, alpha=0.45, zorder=1, label=label)
    if kept:
        steps = kept[0][0]
        mean = np.mean([np.interp(steps, *gap) for gap in kept], axis=0)
        axes.plot(steps, mean, color=colour, linestyle=dash, label=variant.name, linewidth=1.8)


def _scores(axes: Axes, variant: Variant, shared: Sequence[int], place: int) -> None:
    """A mark a seed, filled where the seed is compared, and a bar at the mean of these."""
    colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
    for seed, score in variant.scores.items():
        compared = seed in shared
        axes.plot(
            [score],
            [place],
            marker,
            color=colour,
            markerfacecolor=colour if compared else "none",
            markersize=6 if compared else 4.5,
            alpha=0.9 if compared else 0.55,
        )
    if means := [variant.scores[seed] for seed in shared if seed in variant.scores]:
        axes.plot([fmean(means)], [place], "|", color=INK, markersize=15, markeredgewidth=1.6)


def _told(variants: Sequence[Variant], shared: Sequence[int]) -> str:
    """The means of what is compared; of all seeds where nothing can be."""
    means = {
        variant.name: fmean([score for seed, score in variant.scores.items() if seed in shared or not shared])
        for variant in variants
        if variant.scores and (not shared or variant.measured)
    }
    of = f"test score of {_seeds(shared)}" if shared else "test scores of different seeds, which are no comparison"
    return f"{of}: " + "; ".join(f"{name} {numbers.score(mean)}" for name, mean in means.items())


def _how_to_read(variants: Sequence[Variant], shared: Sequence[int]) -> str:
    one = f"One model, {variants[0].group.arch}, trained in several ways."
    stopped = (
        " Early stopping is the same training as the first row, tested with the weights of its best validation score."
        if any(variant.name == EARLY_STOPPING for variant in variants)
        else ""
    )
    if not shared:
        return (
            f"{one} No seed was trained in all of these ways, so none can be compared with another. Left: how far "
            "held-out loss lies above the loss on training sequences, a thin line a seed. Right: scores on test "
            f"data, a hollow mark a seed.{stopped}"
        )
    several = len(shared) > 1
    others = sorted({seed for variant in variants for seed in (*variant.scores, *variant.gaps)} - set(shared))
    compared = f"the {len(shared)} that all rows have" if several else "the only one that all rows have"
    behind = f" Thin lines and hollow marks, {_seeds(others)}, are of some rows only and in no mean." if others else ""
    alone = "" if several else " A single seed shows a difference, not whether another seed would show it too."
    return (
        f"{one} Compared on {_seeds(shared)}, {compared}. Left: how far held-out loss lies above the loss on training "
        f"sequences{', mean over these seeds' if several else ''}. Right: scores on test data, a filled mark a "
        f"compared seed, a bar {'their mean' if several else 'through it'}.{behind}{alone}{stopped}"
    )


def _seeds(seeds: Sequence[int]) -> str:
    if not seeds:
        return ""
    return f"seed{'s' if len(seeds) > 1 else ''} {numbers.listed([str(seed) for seed in seeds])}"


def alternative_trainings(found: Sequence[Group]) -> list[Group]:
    """The groups that are there for this figure alone: other trainings of a model that is trained plainly too."""
    return [
        variant.group
        for task, length in settings_of(found)
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
    stopped = {
        record.case.seed: fmean(one.samples)
        for record in plain.records
        for one in record.of(EARLY_STOPPED)
        if one.samples
    }
    variants = [Variant("plain", plain, _by_seed(plain), _gaps_of(plain))]
    if stopped:
        variants.append(Variant(EARLY_STOPPING, plain, stopped, {}))
    return variants + [
        Variant(_difference(plain.seeds[0].case, group.seeds[0].case), group, _by_seed(group), _gaps_of(group))
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


def _by_seed(group: Group) -> dict[int, float]:
    scores = {seed.case.seed: seed.score() for seed in group.seeds}
    return {seed: score for seed, score in scores.items() if score is not None}


def _gaps_of(group: Group) -> dict[int, Gap]:
    """Training steps and gap, by seed."""
    found = {}
    for record in group.records:
        if record.training is not None and record.training.stopped != "diverged":
            points = [
                (point.step, point.validation_loss - point.fit_loss)
                for point in record.training.curve
                if point.validation_loss is not None and point.fit_loss is not None
            ]
            if points:
                steps, gap = np.array(points, dtype=float).T
                found[record.case.seed] = (steps, gap)
    return found
