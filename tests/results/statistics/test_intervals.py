"""Intervals against hand-computed ones, against scipy's own, and by the share of simulations that they cover."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from results import Interval, interval_of_mean, interval_of_median, interval_of_quantile

ROUNDING = 1e-12
"""Relative; both sides round in float64."""
TABLE_ROUNDING = 5e-4
"""The tables of t give three digits after the point."""
SIMULATIONS = 1000
T_COVERAGE = (0.93, 0.97)
"""95% of 1,000 has a standard deviation of 0.7%: a right interval stays within,
and a percentile bootstrap, with about 83% at n = 3, does not."""
MIN_EXACT_COVERAGE = 0.95 - 2 * math.sqrt(0.95 * 0.05 / SIMULATIONS)
"""Order statistics cover at least 95%; a simulation of 1,000 may fall two standard deviations short of it."""


@pytest.mark.parametrize(
    ("samples", "t"),
    [((1.0, 2.0, 3.0), 4.303), ((0.0, 0.0, 0.0, 0.0, 1.0), 2.776), (tuple(map(float, range(10))), 2.262)],
)
def test_the_interval_of_a_mean_by_the_table_of_t(samples: tuple[float, ...], t: float) -> None:
    mean = sum(samples) / len(samples)
    variance = sum((sample - mean) ** 2 for sample in samples) / (len(samples) - 1)
    half = t * math.sqrt(variance / len(samples))
    low, middle, high = interval_of_mean(samples)
    assert (low, middle, high) == pytest.approx((mean - half, mean, mean + half), abs=TABLE_ROUNDING)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_the_interval_of_a_mean_is_scipys(level: float) -> None:
    samples = np.random.default_rng(0).normal(3, 2, 7)
    low, middle, high = interval_of_mean(samples.tolist(), level=level)
    expected = stats.t.interval(level, 6, loc=samples.mean(), scale=stats.sem(samples))
    assert (low, high) == pytest.approx(expected, rel=ROUNDING)
    assert middle == pytest.approx(samples.mean(), rel=ROUNDING)


def test_equal_samples_have_an_interval_without_width() -> None:
    assert interval_of_mean([0.25] * 3) == Interval(0.25, 0.25, 0.25)
    assert interval_of_median([0.25] * 6) == Interval(0.25, 0.25, 0.25)


def test_one_sample_has_no_interval_of_its_mean() -> None:
    assert interval_of_mean([0.5]) == Interval(-math.inf, 0.5, math.inf)


@pytest.mark.parametrize("interval", [interval_of_mean, interval_of_median])
def test_no_samples_are_an_error(interval: Callable[[list[float]], Interval]) -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        interval([])


@pytest.mark.parametrize(
    ("count", "ranks"),
    [(6, (1, 6)), (8, (1, 8)), (9, (2, 8)), (10, (2, 9)), (15, (4, 12)), (20, (6, 15)), (25, (8, 18))],
)
def test_the_ranks_of_the_medians_interval_are_the_tabled_ones(count: int, ranks: tuple[int, int]) -> None:
    """Ranks as the tables of the sign test give them: the largest r with P(B < r) ≤ 2.5%, and its mirror image."""
    shuffled = np.random.default_rng(count).permutation(np.arange(1.0, count + 1)).tolist()
    low, middle, high = interval_of_median(shuffled)
    assert (low, high) == ranks
    assert middle == (count + 1) / 2


@pytest.mark.parametrize("count", [1, 2, 5])
def test_too_few_samples_give_the_median_no_bounds(count: int) -> None:
    samples = [float(i) for i in range(count)]
    assert interval_of_median(samples) == Interval(-math.inf, (count - 1) / 2, math.inf)


def test_a_high_quantile_may_have_a_lower_bound_alone() -> None:
    samples = [float(i) for i in range(1, 101)]
    low, middle, high = interval_of_quantile(samples, 0.99)
    assert middle == pytest.approx(99.01)
    assert low == 97.0  # P(B ≤ 96) = 1.8%, but P(B ≤ 97) = 7.9%, for B ~ Binomial(100, 0.99)
    assert high == math.inf  # P(B = 100) = 37%: nothing among the samples is surely above


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("count", [7, 50, 1000])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_order_statistics_are_the_nearest_that_keep_each_tail(quantile: float, count: int, level: float) -> None:
    tail, below = (1 - level) / 2, stats.binom(count, quantile)
    ranks = range(1, count + 1)
    low_rank = max((r for r in ranks if below.cdf(r - 1) <= tail), default=None)
    high_rank = min((s for s in ranks if below.sf(s - 1) <= tail), default=None)
    low, _, high = interval_of_quantile([float(rank) for rank in ranks], quantile, level=level)
    assert low == (-math.inf if low_rank is None else low_rank)
    assert high == (math.inf if high_rank is None else high_rank)


@pytest.mark.parametrize("count", [3, 5, 10])
def test_the_interval_of_a_mean_covers_as_it_says(count: int) -> None:
    draws = np.random.default_rng(1997 + count).normal(0.7, 0.1, (SIMULATIONS, count))
    covered = [low <= 0.7 <= high for low, _, high in map(interval_of_mean, draws.tolist())]
    assert T_COVERAGE[0] <= np.mean(covered) <= T_COVERAGE[1]


@pytest.mark.parametrize(("quantile", "count"), [(0.5, 6), (0.5, 25), (0.9, 60), (0.99, 500)])
def test_the_order_statistics_cover_at_least_what_they_say(quantile: float, count: int) -> None:
    draws = np.random.default_rng(2003 + count).lognormal(0, 1, (SIMULATIONS, count))
    true = math.exp(stats.norm.ppf(quantile))
    intervals = [interval_of_quantile(draw, quantile) for draw in draws.tolist()]
    assert np.mean([low <= true <= high for low, _, high in intervals]) >= MIN_EXACT_COVERAGE
