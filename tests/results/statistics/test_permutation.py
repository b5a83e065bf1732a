"""Test p-values and exact intervals against scipy and against exhaustive enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from results.statistics import permutation

ROUNDING = 1e-12
"""Rounding error of sums of a dozen numbers near 1 in a different order."""


def normal_values(units: int, comparisons: int, seed: int = 0) -> permutation.Floats:
    """Return standard normal values, (units, comparisons)."""
    return np.random.default_rng(seed).standard_normal((units, comparisons))


def test_the_p_value_of_one_comparison_matches_scipy() -> None:
    for seed in range(5):
        values = normal_values(11, 1, seed)
        expected = stats.permutation_test(
            (values[5:, 0], values[:5, 0]), lambda a, b: a.mean() - b.mean(), alternative="greater", n_resamples=np.inf
        ).pvalue
        result = permutation.p_values(values, 5, np.array([0.0]))
        assert result.alone[0] == pytest.approx(expected, abs=ROUNDING)
        assert result.corrected[0] == result.alone[0]


def test_the_correction_matches_the_definition_of_step_down() -> None:
    values, floor = normal_values(8, 6, 3), np.full(6, 0.5)
    values[4:, 2] += 3.0
    values[4:, 4] += 2.0
    labels = permutation.labellings(4, 4, 0)
    table = permutation.statistic(labels, values, 4, floor)
    order = np.argsort(-table[0])
    expected, highest = np.empty(6), 0.0
    for rank, column in enumerate(order):
        largest = table[:, order[rank:]].max(axis=1)
        highest = max(highest, float(np.mean(largest >= table[0, column] - 1e-9)))
        expected[column] = highest
    assert permutation.p_values(values, 4, floor).corrected == pytest.approx(expected, abs=ROUNDING)


def test_chunks_of_a_family_give_the_same_p_values(monkeypatch: pytest.MonkeyPatch) -> None:
    values, floor = normal_values(10, 50), np.full(50, 0.1)
    whole = permutation.p_values(values, 5, floor)
    monkeypatch.setattr(permutation, "CHUNK", 7)
    parts = permutation.p_values(values, 5, floor)
    assert np.array_equal(whole.alone, parts.alone)
    assert np.array_equal(whole.corrected, parts.corrected)


def test_complete_separation_has_the_smallest_p_value() -> None:
    values = np.concatenate([np.zeros((6, 200)), np.ones((6, 200))]) + 1e-3 * normal_values(12, 200)
    result = permutation.p_values(values, 6, np.full(200, 0.1))
    assert result.alone == pytest.approx(np.full(200, 1 / 924), abs=ROUNDING)
    assert result.corrected == pytest.approx(np.full(200, 1 / 924), abs=ROUNDING)
    assert permutation.smallest_p_value(6, 6) == 1 / math.comb(12, 6)
    assert permutation.smallest_p_value(1, 1) == permutation.smallest_p_value(0, 9) == 1.0


def test_many_units_use_a_seeded_sample_of_labellings() -> None:
    values = normal_values(20, 3)
    first, again = (permutation.p_values(values, 10, np.zeros(3)) for _ in range(2))
    assert np.array_equal(first.alone, again.alone)
    expected = stats.ttest_ind(values[10:], values[:10], alternative="greater").pvalue
    assert first.alone == pytest.approx(
        expected, abs=0.03
    )  # 4,000 labellings, and a t distribution instead of the exact one


@pytest.mark.parametrize(("base", "new"), [(4, 4), (5, 7), (6, 6)])
def test_the_interval_of_a_shift_has_the_coverage_of_its_rank(base: int, new: int) -> None:
    statistics = [
        sum(one > other for one in chosen for other in set(range(base + new)) - set(chosen))
        for chosen in itertools.combinations(range(base + new), new)
    ]
    rank = permutation.rank_of(base, new, 0.95)
    below = np.mean([statistic < rank for statistic in statistics])
    one_more = np.mean([statistic < rank + 1 for statistic in statistics])
    assert below <= 0.025 < one_more


def test_too_few_units_have_an_estimate_without_bounds() -> None:
    result = permutation.shift(np.array([[0.0], [0.0], [1.0], [3.0]]), 2)
    assert (result.low[0], result.middle[0], result.high[0]) == (-math.inf, 2.0, math.inf)


def test_the_difference_of_means_matches_welchs_interval() -> None:
    values = normal_values(9, 4)
    result = permutation.difference(values, 4)
    expected = stats.ttest_ind(values[4:], values[:4], equal_var=False).confidence_interval()
    assert result.low == pytest.approx(expected.low)
    assert result.high == pytest.approx(expected.high)


def test_the_order_matters_only_if_neighbours_are_similar() -> None:
    steady = normal_values(12, 50)
    rising = steady + 0.5 * np.tile(np.arange(6), 2)[:, None]
    assert permutation.order_p_value(rising, 6) <= 3 / permutation.ORDERS
    assert permutation.order_p_value(steady, 6) > 0.01
    assert permutation.order_p_value(np.ones((12, 3)), 6) == 1.0


@pytest.mark.parametrize(("base", "new"), [(6, 6), (4, 9)])
def test_a_drift_is_the_common_slope_times_the_distance_between_the_sides(base: int, new: int) -> None:
    values = normal_values(base + new, 5)
    side = np.repeat([1.0, 0.0], [base, new])
    design = np.column_stack([side, 1 - side, np.arange(base + new)])  # one level per side, one slope for both
    slopes = np.linalg.lstsq(design, values, rcond=None)[0][2]
    middles = (base + (new - 1) / 2) - (base - 1) / 2
    assert permutation.drift(values, base) == pytest.approx(float(np.median(slopes)) * middles, rel=1e3 * ROUNDING)
    assert permutation.drift(values[:2], 1) == 0.0


def test_units_are_permuted_within_each_stratum() -> None:
    separate = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    assert permutation.pooled_p_value([separate], [3], 0.02, 0) == pytest.approx(1 / 20, abs=0.02)
    assert permutation.pooled_p_value([separate] * 2, [3] * 2, 0.02, 0) == pytest.approx(1 / 400, abs=0.003)
    assert permutation.pooled_p_value([-separate] * 2, [3] * 2, 0.02, 0) == pytest.approx(1.0, abs=0.01)


def test_a_drift_is_continued_to_the_times_of_the_other_side() -> None:
    slope = 0.01
    in_turns = np.array([*range(0, 12, 2), *range(1, 12, 2)], dtype=float)
    one_by_one = np.arange(12.0)
    assert permutation.drift(slope * in_turns[:, None], 6, in_turns) == pytest.approx(slope)
    assert permutation.drift(slope * one_by_one[:, None], 6, one_by_one) == pytest.approx(6 * slope)
    assert permutation.drift(slope * one_by_one[:, None], 6) == pytest.approx(6 * slope)
    assert permutation.drift(np.zeros((2, 1)), 1) == 0.0
