"""Intervals. Every number that a reader compares comes with one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy

LEVEL = 0.95


class Interval(NamedTuple):
    """An estimate between its bounds. A bound is infinite where the samples cannot give one."""

    low: float
    middle: float
    high: float


def interval_of_mean(samples: Sequence[float], *, level: float = LEVEL) -> Interval:
    """Student's interval of a mean.

    Used for scores over seeds: with the three to ten seeds that a run has, the percentile bootstrap
    of the mean covers far less than it says. One sample has no interval. Raises `ValueError` for none.
    """
    if not samples:
        raise ValueError("an interval needs at least one sample")
    mean = float(np.mean(samples))
    if len(samples) == 1:
        return Interval(-math.inf, mean, math.inf)
    error = float(np.std(samples, ddof=1)) / math.sqrt(len(samples))
    half = float(scipy.stats.t.ppf((1 + level) / 2, len(samples) - 1)) * error
    return Interval(mean - half, mean, mean + half)


def interval_of_one(sample: float, others: Sequence[Sequence[float]], *, level: float = LEVEL) -> Interval:
    """Where the mean behind one sample may lie, should its like spread as the widest of other groups do.

    Student's interval with the largest standard deviation among the groups that hold most samples, and their
    degrees of freedom. Where no group holds two samples nothing bounds it.
    """
    most = max(map(len, others), default=0)
    if most < 2:
        return Interval(-math.inf, sample, math.inf)
    spread = max(float(np.std(group, ddof=1)) for group in others if len(group) == most)
    half = float(scipy.stats.t.ppf((1 + level) / 2, most - 1)) * spread
    return Interval(sample - half, sample, sample + half)


def interval_of_median(samples: Sequence[float], *, level: float = LEVEL) -> Interval:
    """The exact order-statistic interval of a median, whatever the distribution.

    The bounds are the order statistics whose binomial coverage is at least `level`; with fewer than
    six samples (at 95%) there are none. Raises `ValueError` for no samples.
    """
    return interval_of_quantile(samples, 0.5, level=level)


def interval_of_quantile(samples: Sequence[float], quantile: float, *, level: float = LEVEL) -> Interval:
    """The exact order-statistic interval of a quantile (David & Nagaraja 2003, section 7.1)."""
    if not samples:
        raise ValueError("an interval needs at least one sample")
    ordered, count = np.sort(samples), len(samples)
    below = scipy.stats.binom(count, quantile)
    low_rank = int(below.ppf((1 - level) / 2))
    high_rank = int(below.isf((1 - level) / 2)) + 1
    low = float(ordered[low_rank - 1]) if low_rank >= 1 else -math.inf
    high = float(ordered[high_rank - 1]) if high_rank <= count else math.inf
    return Interval(low, float(np.quantile(ordered, quantile)), high)
