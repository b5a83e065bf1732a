"""The error that a finite test set leaves in a score.

A score is a mean over N independent test sequences. Each contributes a share of right answers between 0 and 1. So the
variance of the score is at most that of N answers of which each is right or wrong:

    var(s) <= p (1 - p) / N                                         (1)  s: score, p: score on endless data

Intervals for counts of right answers therefore hold for every score. They are wider than necessary if a sequence has
several scored positions. Wilson's interval (1927) has all p from which s differs by at most z standard errors of (1):

    (s + z²/2N ± z sqrt(s (1 - s) / N + z²/4N²)) / (1 + z²/N)       (2)

Unlike s ± z sqrt(s (1 - s) / N), it has a positive width at the scores 0 and 1 too.

The spread over seeds contains the error of their test sets, because each seed has a test set of its own. But a few
seeds can agree by chance. So the interval of a mean over seeds contains both Student's interval over seeds and (2) for
the sequences of all seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean

from results.statistics.intervals import LEVEL, Interval, interval_of_mean


def interval_of_score(score: float, sequences: int, *, level: float = LEVEL) -> Interval:
    """Return Wilson's interval (2) of the score of one model on endless data.

    Args:
        score: The score on the test set, in [0, 1].
        sequences: Number of test sequences, at least 1.
        level: Confidence level.
    """
    middle, half = _wilson(score, sequences, level)
    return Interval(min(score, middle - half), score, max(score, middle + half))


def interval_of_scores(scores: Sequence[float], sequences: int, *, level: float = LEVEL) -> Interval:
    """Return an interval of the mean score over all possible seeds.

    It is the smallest interval that contains Student's interval over seeds and the interval (2) of the test sequences
    of all seeds. For a single seed it is (2), which says nothing about other seeds. Student's interval may reach beyond
    0 and 1.

    Args:
        scores: One score per seed, in [0, 1].
        sequences: Number of test sequences of each seed.
        level: Confidence level.

    Raises:
        ValueError: If there are no scores.
    """
    over_seeds = interval_of_mean(scores, level=level)
    of_tests = interval_of_score(over_seeds.middle, len(scores) * sequences, level=level)
    if len(scores) == 1:
        return of_tests
    return Interval(min(over_seeds.low, of_tests.low), over_seeds.middle, max(over_seeds.high, of_tests.high))


def interval_of_difference(
    scores: Sequence[float], base: Sequence[float], sequences: int, *, level: float = LEVEL
) -> Interval:
    """Return an interval of the mean difference of two scores over all possible seeds.

    It is the smallest interval that contains Student's interval of the differences and that of `newcombe` from
    the intervals (2) of both sides. For a single seed it is the latter.

    Args:
        scores: One score per seed, in [0, 1].
        base: The score of the other side for each seed, which is subtracted.
        sequences: Number of test sequences of each seed and side.
        level: Confidence level.

    Raises:
        ValueError: If there are no scores, or if the sides have different numbers of scores.
    """
    over_seeds = interval_of_mean([own - other for own, other in zip(scores, base, strict=True)], level=level)
    of_tests = newcombe(
        interval_of_score(fmean(scores), len(scores) * sequences, level=level),
        interval_of_score(fmean(base), len(base) * sequences, level=level),
    )
    if len(scores) == 1:
        return of_tests
    return Interval(min(over_seeds.low, of_tests.low), over_seeds.middle, max(over_seeds.high, of_tests.high))


def newcombe(first: Interval, second: Interval) -> Interval:
    """Return the interval of the difference of two independent scores, from theirs (Newcombe 1998, method 10)."""
    difference = first.middle - second.middle
    below = math.hypot(first.middle - first.low, second.high - second.middle)
    above = math.hypot(first.high - first.middle, second.middle - second.low)
    return Interval(difference - below, difference, difference + above)


def score_variance(score: float, sequences: int) -> float:
    """Return the variance of the score of one model that its test set causes.

    It is the square of the half width of (2) in units of z, and so positive at the scores 0 and 1 too.
    """
    _, half = _wilson(score, sequences, LEVEL)
    return (half / _quantile(LEVEL)) ** 2


def difference_error(sequences: int, seeds: int) -> float:
    """Return the largest half width of the interval that test sets leave in the difference of two mean scores.

    It is that at scores of ½, by (1).

    Args:
        sequences: Number of test sequences of each seed.
        seeds: Number of seeds of each side.
    """
    return _quantile(LEVEL) * math.sqrt(2 * 0.25 / (seeds * sequences))


def sequences_needed(difference: float, seeds: int) -> int:
    """Return the smallest number of test sequences per seed at which `difference_error` is at most `difference`."""
    return math.ceil(_quantile(LEVEL) ** 2 * 2 * 0.25 / (seeds * difference**2) * (1 - 1e-12))


def _wilson(score: float, sequences: int, level: float) -> tuple[float, float]:
    """Return the middle and the half width of (2)."""
    z2 = _quantile(level) ** 2
    shrinkage = 1 + z2 / sequences
    middle = (score + z2 / (2 * sequences)) / shrinkage
    half = math.sqrt(z2 * (score * (1 - score) / sequences + z2 / (4 * sequences**2))) / shrinkage
    return middle, half


def _quantile(level: float) -> float:
    """Return the number of standard errors z of a two-sided interval."""
    return NormalDist().inv_cdf((1 + level) / 2)
