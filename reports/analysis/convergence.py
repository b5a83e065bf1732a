"""Which architectures were still learning when their training ended, and how far their mean scores could still rise.

`results.convergence` classifies single cases. A seed counts here if it has a score and was still learning. More
training can raise its score to at most 1, so its group can rise by at most its distance to 1, divided by the number of
scored seeds. A group is *undecided* if it can rise by more than `NEARLY_EQUAL`, the smallest difference of two ranks.
An undecided architecture never ranks below another one, and no recommendation rests on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.analysis.groups import Group, Seed
from reports.analysis.ranking import NEARLY_EQUAL


@dataclass(frozen=True, slots=True, kw_only=True)
class StillLearning:
    """A group in which at least one scored seed was still learning when its training ended."""

    arch: str
    task: str
    length: int
    seeds: int
    """The number of scored seeds that were still learning."""
    scored: int
    """The number of all scored seeds."""
    steps: int
    """The largest number of training steps of a seed that was still learning."""
    undecided: bool
    """Whether more training could change the mean score enough to change the rank."""


def learning_seeds(group: Group) -> list[Seed]:
    """Return the scored seeds that were still learning."""
    return [seed for seed in group.seeds if seed.score() is not None and seed.convergence == "still learning"]


def possible_rise(group: Group, values: Sequence[float] | None = None) -> float:
    """Return how far the mean of a group could rise with more training.

    The result is 0 if no seed was still learning.

    Args:
        group: The seeds of one architecture on one task at one length.
        values: A value per scored seed that training can raise to 1, such as its memory share; None for the scores.
    """
    scored = [seed for seed in group.seeds if seed.score() is not None]
    values = group.scores() if values is None else values
    rises = [1 - value for seed, value in zip(scored, values, strict=True) if seed.convergence == "still learning"]
    return sum(rises) / len(scored) if scored else 0.0


def is_undecided(group: Group) -> bool:
    """Return whether more training could raise the mean score of a group by more than `NEARLY_EQUAL`."""
    return possible_rise(group) > NEARLY_EQUAL


def still_learning(groups: Sequence[Group]) -> list[StillLearning]:
    """Return the groups in which a scored seed was still learning, in the order of `groups`."""
    return [
        StillLearning(
            arch=group.arch,
            task=group.task,
            length=group.length,
            seeds=len(seeds),
            scored=len(group.scores()),
            steps=max(seed.record.training.steps for seed in seeds if seed.record and seed.record.training),
            undecided=is_undecided(group),
        )
        for group in groups
        if (seeds := learning_seeds(group))
    ]
