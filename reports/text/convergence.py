"""Sentences on architectures that were still learning, and on those that had stopped improving."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.convergence import StillLearning, still_learning
from reports.analysis.groups import Group
from reports.format.numbers import listed, plural
from results import last_improvement

MAX_SETTINGS = 4
"""A sentence names at most this many settings."""


def undecided_sentences(groups: Sequence[Group]) -> list[str]:
    """Return one sentence per architecture whose rank is undecided in some setting, because it was still learning."""
    by_arch: dict[str, list[StillLearning]] = {}
    for row in still_learning(groups):
        if row.undecided:
            by_arch.setdefault(row.arch, []).append(row)
    return [
        f"{arch} was still learning when its training ended, on {listed(_settings(rows))}, so its "
        f"{'rank there is' if len(rows) == 1 else 'ranks there are'} undecided; give more steps."
        for arch, rows in by_arch.items()
    ]


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


def _settings(rows: Sequence[StillLearning]) -> list[str]:
    names = [
        f"{row.task} at {row.length:,} ({row.seeds} of {plural(row.scored, 'seed')}, {plural(row.steps, 'step')})"
        for row in rows
    ]
    return (
        names if len(names) <= MAX_SETTINGS else [*names[: MAX_SETTINGS - 1], f"{len(names) - MAX_SETTINGS + 1} more"]
    )
