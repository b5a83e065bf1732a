"""What the test losses of an architecture say about its use of the past, beside its scores.

A score counts answers that are right, so a model that is nearly right has the score of one that knows nothing. Its
loss tells them apart. A *floor* is a loss that no answer without the past can beat on average: the exact loss of the
best memoryless answer, a lower bound of it, or the loss of the best constant answer if nothing else is known.

The losses show the past if one of two conditions holds:

    h < f  and  l < 0.95 f                        (1)  h: upper end of the interval of the mean, l: mean over seeds
    l_i <= f / 2  for some seed i, if N >= 64     (2)  l_i: loss of one seed on its N test sequences, f: floor

Condition (2) is for architectures of which some seeds learn and others do not, since their interval is wide. A mean of
64 squared errors of a constant answer is half its expectation in fewer than one of 1,000 cases, unless the targets
have heavier tails than a normal distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from results.statistics.intervals import interval_of_mean

CLEAR_SHARE = 0.05
"""Share of the floor by which the mean loss must be lower, in (1). The interval leaves out the sampling error of the
test set."""
CLEAR_SEED_SHARE = 0.5
"""Largest share of the floor at which the loss of a single seed shows the past, in (2)."""
MIN_SEQUENCES = 64
"""Minimum number of test sequences for (2)."""


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
    clear_seeds: int
    """Number of seeds whose own loss shows the past, by (2)."""
    shows_past: bool
    """Whether the losses lie below the floor, by (1) or (2)."""

    @property
    def floor(self) -> float | None:
        """The best known loss without the past: `memoryless`, or else `constant`."""
        return self.constant if self.memoryless is None else self.memoryless


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
    clear_seeds, is_lower = 0, False
    if floor is not None:
        if sequences >= MIN_SEQUENCES:
            clear_seeds = sum(loss <= CLEAR_SEED_SHARE * floor for loss in losses if floor > 0)
        is_lower = interval.high < floor and interval.middle < (1 - CLEAR_SHARE) * floor
    is_single = len(losses) == 1
    return LossEvidence(
        name=name,
        mean=interval.middle,
        low=None if is_single else interval.low,
        high=None if is_single else interval.high,
        seeds=len(losses),
        constant=constant,
        memoryless=memoryless,
        clear_seeds=clear_seeds,
        shows_past=is_lower or clear_seeds > 0,
    )
