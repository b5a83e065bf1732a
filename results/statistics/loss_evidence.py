"""What the test losses of an architecture say about its use of the past, beside its scores.

A score counts answers that are right, so a model that is nearly right has the score of one that knows nothing. Its
loss tells them apart. The *floor* f is a loss that no answer without the past can beat on average, or the loss of the
best constant answer if no such loss is known. The losses show the past if their mean over seeds or the loss of a single
seed does:

    h < f  and  l < 0.95 f  and  T       (1)  l, h: mean over n seeds and the upper end of its interval
    l_i <= f / 2  and  N >= 64          (2)  l_i: mean squared error of a seed on its N test sequences
    l_i < 0.95 f  and                   (3)  l_i: cross-entropy of a seed in nats
    exp(-N (f - l_i)) <= 0.001

Seeds can agree by chance, so T asks whether the test sequences of all seeds suffice:

    l (1 + 2 sqrt(2 / (n N))) < f            for squared errors      (4)
    exp(-n N (f - l)) <= 0.001               for cross-entropies     (5)

Single seeds count because the interval is wide if only some seeds learn. In (2), the mean of 64 squared errors of a
constant answer is half its expectation in fewer than one of 1,000 cases, unless the targets have heavier tails than a
normal distribution. For the same targets, two standard errors of their mean are at most those in (4). In (3) and (5),
the exponential is an upper bound of the p-value, for any answer without the past: if q is the geometric mean of the
probabilities that it gives to the targets of a sequence, then E[q] <= exp(-f). The sequences are independent, so the
product of their q has an expectation of at most exp(-N f). By Markov's inequality it reaches exp(-N l_i) with a
probability of at most exp(-N (f - l_i)).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from results.statistics.intervals import interval_of_mean

CLEAR_SHARE = 0.05
"""Share of the floor by which a loss must be lower, in (1) and (3). A smaller difference is of no use to anyone."""
CLEAR_ERROR_SHARE = 0.5
"""Largest share of the floor at which the squared error of a single seed shows the past, in (2)."""
MIN_SEQUENCES = 64
"""Minimum number of test sequences for (2)."""
MAX_P_VALUE = 0.001
"""Largest bound of the p-value of a single seed, in (3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossEvidence:
    """The losses of an architecture at one length, and what they show."""

    name: str
    """The metric: `mse` or `cross_entropy`."""
    mean: float
    low: float | None
    """With `high`, the 95% interval of the mean over seeds; None for a single seed."""
    high: float | None
    seeds: int
    """Number of seeds with a loss."""
    constant: float | None
    """Loss of the best constant answer; None if it is unknown."""
    memoryless: float | None
    """A loss that no answer from the present input alone can beat on average; None if it is unknown."""
    clear_losses: tuple[float, ...]
    """The losses, ascending, of the seeds whose own loss shows the past, by (2) or (3)."""
    shows_past_on_average: bool
    """Whether the mean shows the past, by (1)."""

    @property
    def shows_past(self) -> bool:
        """Whether the losses show the past, by (1), (2) or (3)."""
        return self.shows_past_on_average or bool(self.clear_losses)


def loss_evidence(
    name: str, losses: Sequence[float], *, constant: float | None, memoryless: float | None, sequences: int
) -> LossEvidence:
    """Return what the losses of an architecture show.

    Args:
        name: The metric, `mse` or `cross_entropy`.
        losses: One test loss per seed.
        constant: Loss of the best constant answer; None if it is unknown.
        memoryless: A loss that no answer from the present input alone can beat on average; None if it is unknown.
        sequences: Number of test sequences of a seed.

    Raises:
        ValueError: If there are no losses.
    """
    interval = interval_of_mean(losses)
    floor = constant if memoryless is None else memoryless
    clear_losses: list[float] = []
    is_lower = False
    if floor is not None:
        clear_losses = sorted(loss for loss in losses if _is_clear(name, loss, floor, sequences))
        is_lower = interval.high < floor and _is_lower(name, interval.middle, floor, len(losses) * sequences)
    is_single = len(losses) == 1
    return LossEvidence(
        name=name,
        mean=interval.middle,
        low=None if is_single else interval.low,
        high=None if is_single else interval.high,
        seeds=len(losses),
        constant=constant,
        memoryless=memoryless,
        clear_losses=tuple(clear_losses),
        shows_past_on_average=is_lower,
    )


def _is_clear(name: str, loss: float, floor: float, sequences: int) -> bool:
    """Return whether the loss of a single seed shows the past, by (2) or (3)."""
    if name == "cross_entropy":
        return _is_lower(name, loss, floor, sequences)
    return sequences >= MIN_SEQUENCES and floor > 0 and loss <= CLEAR_ERROR_SHARE * floor


def _is_lower(name: str, loss: float, floor: float, sequences: int) -> bool:
    """Return whether a mean loss over so many sequences lies below 0.95 of the floor, and meets (4) or (5)."""
    if loss >= (1 - CLEAR_SHARE) * floor:
        return False
    if name == "cross_entropy":
        return math.exp(-sequences * (floor - loss)) <= MAX_P_VALUE
    return loss * (1 + 2 * math.sqrt(2 / sequences)) < floor
