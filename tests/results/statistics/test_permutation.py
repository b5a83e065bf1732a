"""Permutation chances and exact intervals against scipy and against counting by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from results.statistics import permutation as resample

ROUNDING = 1e-12
"""Sums of a dozen numbers near 1, in another order."""


def drawn(units: int, comparisons: int, seed: int = 0) -> resample.Floats:
    return np.random.default_rng(seed).standard_normal((units, comparisons))


def test_one_comparison_has_the_chance_that_scipy_finds() -> None:
    for seed in range(5):
        values = drawn(11, 1, seed)
        theirs = stats.permutation_test(
            (values[5:, 0], values[:5, 0]), lambda a, b: a.mean() - b.mean(), alternative="greater", n_resamples=np.inf
        ).pvalue
        found = resample.chances(values, 5, np.array([0.0]))
        assert found.alone[0] == pytest.approx(theirs, abs=ROUNDING)
        assert found.corrected[0] == found.alone[0]


def test_the_correction_is_step_down_by_its_definition() -> None:
    values, floor = drawn(8, 6, 3), np.full(6, 0.5)
    values[4:, 2] += 3.0
    values[4:, 4] += 2.0
    labels = resample.labellings(4, 4, 0)
    table = resample._statistic(labels, values, 4, floor)
    order = np.argsort(-table[0])
    expected, highest = np.empty(6), 0.0
    for rank, column in enumerate(order):
        largest = table[:, order[rank:]].max(axis=1)
        highest = max(highest, float(np.mean(largest >= table[0, column] - 1e-9)))
        expected[column] = highest
    assert resample.chances(values, 4, floor).corrected == pytest.approx(expected, abs=ROUNDING)


def test_a_family_larger_than_memory_holds_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values, floor = drawn(10, 50), np.full(50, 0.1)
    whole = resample.chances(values, 5, floor)
    monkeypatch.setattr(resample, "CHUNK", 7)
    parts = resample.chances(values, 5, floor)
    assert np.array_equal(whole.alone, parts.alone)
    assert np.array_equal(whole.corrected, parts.corrected)


def test_the_least_chance_is_that_of_full_separation() -> None:
    values = np.concatenate([np.zeros((6, 200)), np.ones((6, 200))]) + 1e-3 * drawn(12, 200)
    found = resample.chances(values, 6, np.full(200, 0.1))
    assert found.alone == pytest.approx(np.full(200, 1 / 924), abs=ROUNDING)
    assert found.corrected == pytest.approx(np.full(200, 1 / 924), abs=ROUNDING)
    assert resample.smallest_p_value(6, 6) == 1 / math.comb(12, 6)
    assert resample.smallest_p_value(1, 1) == resample.smallest_p_value(0, 9) == 1.0


def test_many_units_are_labelled_by_a_seeded_sample() -> None:
    values = drawn(20, 3)
    first, again = (resample.chances(values, 10, np.zeros(3)) for _ in range(2))
    assert np.array_equal(first.alone, again.alone)
    theirs = stats.ttest_ind(values[10:], values[:10], alternative="greater").pvalue
    assert first.alone == pytest.approx(theirs, abs=0.03)  # 4,000 labellings, and t for the permutation's own law


@pytest.mark.parametrize(("base", "new"), [(4, 4), (5, 7), (6, 6)])
def test_the_interval_of_a_shift_has_the_coverage_of_its_rank(base: int, new: int) -> None:
    statistics = [
        sum(one > other for one in chosen for other in set(range(base + new)) - set(chosen))
        for chosen in itertools.combinations(range(base + new), new)
    ]
    rank = resample._rank(base, new, 0.95)
    below = np.mean([statistic < rank for statistic in statistics])
    one_more = np.mean([statistic < rank + 1 for statistic in statistics])
    assert below <= 0.025 < one_more


def test_too_few_units_have_no_bounds_and_still_a_middle() -> None:
    found = resample.shift(np.array([[0.0], [0.0], [1.0], [3.0]]), 2)
    assert (found.low[0], found.middle[0], found.high[0]) == (-math.inf, 2.0, math.inf)


def test_the_difference_of_means_has_welchs_interval() -> None:
    values = drawn(9, 4)
    found = resample.difference(values, 4)
    theirs = stats.ttest_ind(values[4:], values[:4], equal_var=False).confidence_interval()
    assert found.low == pytest.approx(theirs.low)
    assert found.high == pytest.approx(theirs.high)


def test_an_order_is_seen_where_neighbours_are_alike_and_only_there() -> None:
    steady = drawn(12, 50)
    rising = steady + 0.5 * np.tile(np.arange(6), 2)[:, None]
    assert resample.order_p_value(rising, 6) <= 3 / resample.ORDERS
    assert resample.order_p_value(steady, 6) > 0.01
    assert resample.order_p_value(np.ones((12, 3)), 6) == 1.0


@pytest.mark.parametrize(("base", "new"), [(6, 6), (4, 9)])
def test_a_drift_is_the_slope_that_both_sides_share_over_the_distance_of_their_middles(base: int, new: int) -> None:
    values = drawn(base + new, 5)
    side = np.repeat([1.0, 0.0], [base, new])
    design = np.column_stack([side, 1 - side, np.arange(base + new)])  # a level for each side, one slope for both
    slopes = np.linalg.lstsq(design, values, rcond=None)[0][2]
    middles = (base + (new - 1) / 2) - (base - 1) / 2
    assert resample.drift(values, base) == pytest.approx(float(np.median(slopes)) * middles, rel=1e3 * ROUNDING)
    assert resample.drift(values[:2], 1) == 0.0


def test_strata_are_pooled_by_labelling_each_apart() -> None:
    separate = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    assert resample.pooled_p_value([separate], [3], 0.02, 0) == pytest.approx(1 / 20, abs=0.02)
    assert resample.pooled_p_value([separate] * 2, [3] * 2, 0.02, 0) == pytest.approx(1 / 400, abs=0.003)
    assert resample.pooled_p_value([-separate] * 2, [3] * 2, 0.02, 0) == pytest.approx(1.0, abs=0.01)
