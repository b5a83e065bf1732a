"""Test intervals against hand-computed values, against scipy, and for their coverage in simulations."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from results import Interval, interval_of_mean, interval_of_median, interval_of_quantile

ROUNDING = 1e-12
"""Relative rounding error in float64."""
TABLE_ROUNDING = 5e-4
"""Rounding error of printed tables of t, which have three digits after the decimal point."""
SIMULATIONS = 1000
T_COVERAGE = (0.93, 0.97)
"""Accepted coverage of 95% intervals. In 1,000 simulations, its standard deviation is 0.7%. A percentile bootstrap of
three samples covers about 83% and would fail."""
MIN_EXACT_COVERAGE = 0.95 - 2 * math.sqrt(0.95 * 0.05 / SIMULATIONS)
"""Minimum coverage of order-statistic intervals: 95%, less two standard deviations of 1,000 simulations."""


@pytest.mark.parametrize(
    ("samples", "t"),
    [((1.0, 2.0, 3.0), 4.303), ((0.0, 0.0, 0.0, 0.0, 1.0), 2.776), (tuple(map(float, range(10))), 2.262)],
)
def test_the_interval_of_a_mean_matches_the_table_of_t(samples: tuple[float, ...], t: float) -> None:
    mean = sum(samples) / len(samples)
    variance = sum((sample - mean) ** 2 for sample in samples) / (len(samples) - 1)
    half = t * math.sqrt(variance / len(samples))
    low, middle, high = interval_of_mean(samples)
    assert (low, middle, high) == pytest.approx((mean - half, mean, mean + half), abs=TABLE_ROUNDING)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_the_interval_of_a_mean_matches_scipy(level: float) -> None:
    samples = np.random.default_rng(0).normal(3, 2, 7)
    low, middle, high = interval_of_mean(samples.tolist(), level=level)
    expected = stats.t.interval(level, 6, loc=samples.mean(), scale=stats.sem(samples))
    assert (low, high) == pytest.approx(expected, rel=ROUNDING)
    assert middle == pytest.approx(samples.mean(), rel=ROUNDING)


def test_equal_samples_have_an_interval_of_width_zero() -> None:
    assert interval_of_mean([0.25] * 3) == Interval(0.25, 0.25, 0.25)
    assert interval_of_median([0.25] * 6) == Interval(0.25, 0.25, 0.25)


def test_the_interval_of_one_sample_is_unbounded() -> None:
    assert interval_of_mean([0.5]) == Interval(-math.inf, 0.5, math.inf)


@pytest.mark.parametrize("interval", [interval_of_mean, interval_of_median])
def test_no_samples_raise_an_error(interval: Callable[[list[float]], Interval]) -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        interval([])


@pytest.mark.parametrize(
    ("count", "ranks"),
    [(6, (1, 6)), (8, (1, 8)), (9, (2, 8)), (10, (2, 9)), (15, (4, 12)), (20, (6, 15)), (25, (8, 18))],
)
def test_the_interval_of_a_median_has_the_ranks_of_the_sign_test(count: int, ranks: tuple[int, int]) -> None:
    """Check the ranks against tables of the sign test: the largest r with P(B < r) ≤ 2.5%, and its mirror image."""
    shuffled = np.random.default_rng(count).permutation(np.arange(1.0, count + 1)).tolist()
    low, middle, high = interval_of_median(shuffled)
    assert (low, high) == ranks
    assert middle == (count + 1) / 2


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_median_of_too_few_samples_is_unbounded(count: int) -> None:
    samples = [float(i) for i in range(count)]
    assert interval_of_median(samples) == Interval(-math.inf, (count - 1) / 2, math.inf)


def test_a_high_quantile_may_have_a_lower_bound_only() -> None:
    samples = [float(i) for i in range(1, 101)]
    low, middle, high = interval_of_quantile(samples, 0.99)
    assert middle == pytest.approx(99.01)
    assert low == 97.0  # P(B ≤ 96) = 1.8%, but P(B ≤ 97) = 7.9%, for B ~ Binomial(100, 0.99)
    assert high == math.inf  # P(B = 100) = 37%, so no sample is an upper bound


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("count", [7, 50, 1000])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_order_statistics_are_the_closest_with_the_required_tails(
    quantile: float, count: int, level: float
) -> None:
    tail, below = (1 - level) / 2, stats.binom(count, quantile)
    ranks = range(1, count + 1)
    low_rank = max((r for r in ranks if below.cdf(r - 1) <= tail), default=None)
    high_rank = min((s for s in ranks if below.sf(s - 1) <= tail), default=None)
    low, _, high = interval_of_quantile([float(rank) for rank in ranks], quantile, level=level)
    assert low == (-math.inf if low_rank is None else low_rank)
    assert high == (math.inf if high_rank is None else high_rank)


@pytest.mark.parametrize("count", [3, 5, 10])
def test_the_interval_of_a_mean_has_its_nominal_coverage(count: int) -> None:
    draws = np.random.default_rng(1997 + count).normal(0.7, 0.1, (SIMULATIONS, count))
    covered = [low <= 0.7 <= high for low, _, high in map(interval_of_mean, draws.tolist())]
    assert T_COVERAGE[0] <= np.mean(covered) <= T_COVERAGE[1]


@pytest.mark.parametrize(("quantile", "count"), [(0.5, 6), (0.5, 25), (0.9, 60), (0.99, 500)])
def test_order_statistics_have_at_least_their_nominal_coverage(quantile: float, count: int) -> None:
    draws = np.random.default_rng(2003 + count).lognormal(0, 1, (SIMULATIONS, count))
    true = math.exp(stats.norm.ppf(quantile))
    intervals = [interval_of_quantile(draw, quantile) for draw in draws.tolist()]
    assert np.mean([low <= true <= high for low, _, high in intervals]) >= MIN_EXACT_COVERAGE
