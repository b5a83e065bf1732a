"""Length generalisation as one number: the effective length.

A score *passes* at a test length if it lies above 90% of the span from the best score without memory to a perfect
score:

    s > m + 0.9 (1 - m)        (1)  s: score, m: higher of the chance level and the memoryless baseline at this length

Lengths are tested from the trained length on. The effective length of an architecture is the longest length at which
the whole interval of the mean score over seeds passes, and at which it passes at every shorter length too. So a
length that fails ends the search: a pass beyond it may be an accident, and no user could rely on it. The effective
length of a single seed follows in the same way from its scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results.statistics.intervals import LEVEL, interval_of_median
from results.statistics.sampling_error import interval_of_scores

PASSING_SHARE = 0.9
"""Share of the span from the best score without memory to a perfect score that a score must exceed, in (1)."""
FAILS = 0
"""The effective length if the trained length already fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveLength:
    """The effective length of an architecture on one task, trained at one length. Lengths are in time steps."""

    length: int | None
    """The effective length by the interval over seeds; 0 if the trained length fails, None for a single seed."""
    seeds: tuple[int, ...]
    """The effective length of each seed; 0 if the seed fails at the trained length."""
    longest: int
    """The longest tested length. An effective length of this value means *at least* this length."""
    low: int | None
    """With `high`, an interval of the median over seeds; None for a single seed."""
    high: int | None
    coverage: float | None
    """The smallest probability with which such an interval contains the median of all possible seeds: 95%, or less
    with fewer than six seeds. None for a single seed."""


def effective_length(
    scores: Mapping[int, Sequence[float]], floors: Mapping[int, float], trained: int, *, sequences: int
) -> EffectiveLength | None:
    """Return the effective length, or None if it is undefined.

    It is undefined if no length from the trained one on has both scores and a reference. It is also undefined if a
    perfect score needs no memory at the shortest of these lengths.

    Args:
        scores: Scores in [0, 1] by test length. The scores at all lengths are those of the same seeds, in one order.
        floors: Best score without memory by test length.
        trained: The trained length. Shorter test lengths are ignored.
        sequences: Number of test sequences of each seed at each length.

    Raises:
        ValueError: If the lengths have different numbers of scores, or no scores.
    """
    lengths = sorted(length for length in scores if length >= trained and length in floors)
    for index, length in enumerate(lengths):  # beyond such a length nothing can be said
        if floors[length] >= 1:
            lengths = lengths[:index]
            break
    if not lengths:
        return None
    count = len(scores[lengths[0]])
    if count == 0 or any(len(scores[length]) != count for length in lengths):
        raise ValueError("every length needs the same number of scores, at least one")
    needed = {length: floors[length] + PASSING_SHARE * (1 - floors[length]) for length in lengths}
    seeds = tuple(_last_passed({length: scores[length][seed] for length in lengths}, needed) for seed in range(count))
    if count == 1:
        return EffectiveLength(length=None, seeds=seeds, longest=lengths[-1], low=None, high=None, coverage=None)
    low, high, coverage = _interval_over(seeds)
    return EffectiveLength(
        length=_last_passed({length: interval_of_scores(scores[length], sequences).low for length in lengths}, needed),
        seeds=seeds,
        longest=lengths[-1],
        low=low,
        high=high,
        coverage=coverage,
    )


def _last_passed(scores: Mapping[int, float], needed: Mapping[int, float]) -> int:
    """Return the last length before the first one that fails (1), or `FAILS`. The lengths ascend."""
    last = FAILS
    for length, score in scores.items():
        if score <= needed[length]:
            break
        last = length
    return last


def _interval_over(seeds: Sequence[int]) -> tuple[int, int, float]:
    """Return an interval of the median over all possible seeds, and its smallest coverage.

    With too few seeds for a 95% interval of order statistics, the interval is the range of the seeds. It misses the
    median only if all n seeds lie on the same side, so its coverage is at least 1 - 2 / 2^n.
    """
    interval = interval_of_median(seeds)
    coverage = 1 - 2.0 ** (1 - len(seeds))
    if coverage < LEVEL:
        return min(seeds), max(seeds), coverage
    return int(interval.low), int(interval.high), LEVEL
