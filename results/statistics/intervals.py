"""Confidence intervals of means, medians and quantiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
"""Default confidence level of all intervals."""


class Interval(NamedTuple):
    """An estimate with its bounds. A bound is infinite if the samples do not determine it."""

    low: float
    middle: float
    high: float


def interval_of_mean(samples: Sequence[float], *, level: float = LEVEL) -> Interval:
    """Return Student's t interval of a mean. The bounds are infinite for a single sample.

    A percentile bootstrap is not used, since most runs have only three to ten seeds. With so few samples, the bootstrap
    covers less than its nominal level. Raises `ValueError` for no samples.
    """
    if not samples:
        raise ValueError("an interval needs at least one sample")
    mean = float(np.mean(samples))
    if len(samples) == 1:
        return Interval(-math.inf, mean, math.inf)
    error = float(np.std(samples, ddof=1)) / math.sqrt(len(samples))
    half = _t_quantile(level, len(samples) - 1) * error
    return Interval(mean - half, mean, mean + half)


def interval_of_one(sample: float, others: Sequence[Sequence[float]], *, level: float = LEVEL) -> Interval:
    """Return a confidence interval of the mean of a group that has a single sample.

    The interval is Student's t interval, with a spread that is taken from other groups. The spread is the largest
    standard deviation among the groups that have the most samples. The degrees of freedom are those of one such group.
    The bounds are infinite if no group has two samples.

    Args:
        sample: The only sample of its group.
        others: Samples of other groups.
        level: Confidence level.
    """
    largest = max(map(len, others), default=0)
    if largest < 2:
        return Interval(-math.inf, sample, math.inf)
    spread = max(float(np.std(group, ddof=1)) for group in others if len(group) == largest)
    half = _t_quantile(level, largest - 1) * spread
    return Interval(sample - half, sample, sample + half)


def interval_of_median(samples: Sequence[float], *, level: float = LEVEL) -> Interval:
    """Return the exact order-statistic interval of a median, for any distribution of independent samples.

    The bounds are the closest order statistics whose binomial coverage is at least `level`. At 95%, the bounds are
    infinite for fewer than six samples. Raises `ValueError` for no samples.
    """
    return interval_of_quantile(samples, 0.5, level=level)


def interval_of_quantile(samples: Sequence[float], quantile: float, *, level: float = LEVEL) -> Interval:
    """Return the exact order-statistic interval of a quantile (David & Nagaraja 2003, section 7.1).

    `quantile` is a share from 0 to 1. A bound is infinite if there are too few samples beyond the quantile. Raises
    `ValueError` for no samples.
    """
    from scipy.stats import binom

    if not samples:
        raise ValueError("an interval needs at least one sample")
    ordered, count = np.sort(samples), len(samples)
    below = binom(count, quantile)
    low_rank = int(below.ppf((1 - level) / 2))
    high_rank = int(below.isf((1 - level) / 2)) + 1
    low = float(ordered[low_rank - 1]) if low_rank >= 1 else -math.inf
    high = float(ordered[high_rank - 1]) if high_rank <= count else math.inf
    return Interval(low, float(np.quantile(ordered, quantile)), high)


def _t_quantile(level: float, freedom: int) -> float:
    """Return the quantile of Student's t with `freedom` degrees of freedom that bounds a two-sided interval."""
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, freedom))
