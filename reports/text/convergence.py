"""Sentences on architectures that were still learning, and on those that had stopped improving."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.convergence import StillLearning, still_learning
from reports.analysis.groups import Group
from reports.format.numbers import listed, plural
from results import last_improvement


def undecided_sentence(groups: Sequence[Group]) -> str | None:
    """Return a sentence on the architectures whose rank is undecided in some setting, or None if there is none.

    An architecture with several such settings has only their number: the leaderboard marks each of them.
    """
    by_arch: dict[str, list[StillLearning]] = {}
    for row in still_learning(groups):
        if row.undecided:
            by_arch.setdefault(row.arch, []).append(row)
    if not by_arch:
        return None
    steps = sorted({row.steps for rows in by_arch.values() for row in rows})
    had = plural(steps[0], "step") if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,} steps"
    names = [f"{arch} {_where(rows)}" for arch, rows in by_arch.items()]
    return f"Still learning when training ended, so ranks are undecided: {listed(names)}. Give more than {had}."


def unimproved_steps(groups: Sequence[Group]) -> int:
    """Return the number of last training steps in which no scored seed of `groups` improved.

    An improvement is one that counts for `results.last_improvement`. The result is 0 if a scored seed has no curve.
    """
    trainings = [
        seed.record.training if seed.record else None
        for group in groups
        for seed in group.seeds
        if seed.score() is not None
    ]
    return min(
        (training.steps - last_improvement(training) if training and training.curve else 0 for training in trainings),
        default=0,
    )


def _where(rows: Sequence[StillLearning]) -> str:
    """Return the only setting with its seeds, or the number of settings."""
    if len(rows) > 1:
        return f"in {plural(len(rows), 'setting')}"
    (row,) = rows
    return f"on {row.task} at {row.length:,} ({row.seeds} of {plural(row.scored, 'seed')})"
