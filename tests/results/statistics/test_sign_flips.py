"""Test the sign-flip test against enumeration, and its interval against published tables."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from results.statistics import sign_flips
from results.statistics.sign_flips import Floats, assignments, p_values, rank_of, shift, smallest_p_value, statistic

FLOOR = 1e-6


def differences(pairs: int, comparisons: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((pairs, comparisons))


def test_all_assignments_of_few_pairs_are_used_once_and_the_observed_one_is_first() -> None:
    rows = assignments(8)
    assert len({tuple(row) for row in rows.tolist()}) == 256
    assert rows[0].tolist() == [1.0] * 8


def test_a_sample_of_the_assignments_of_many_pairs_is_used() -> None:
    rows = assignments(16)
    assert rows.shape == (sign_flips.MAX_ASSIGNMENTS, 16)
    assert rows[0].tolist() == [1.0] * 16
    assert abs(rows[1:].mean()) < 0.02


def test_statistic_is_that_of_students_test() -> None:
    values = differences(9, 3)
    expected = math.sqrt(9) * values.mean(axis=0) / values.std(axis=0, ddof=1)
    assert statistic(np.ones((1, 9)), values, np.full(3, FLOOR))[0] == pytest.approx(expected)


def test_p_value_is_the_share_of_assignments_with_as_large_a_mean() -> None:
    values = differences(7, 1, seed=3)
    means = [float(np.dot(signs, values[:, 0])) for signs in itertools.product((1, -1), repeat=7)]
    share = sum(mean >= means[0] - 1e-9 for mean in means) / len(means)
    # The sum of squares does not depend on the signs, so T rises with the mean.
    assert p_values(values, np.array([FLOOR])).alone[0] == share


@pytest.mark.parametrize("pairs", [8, 12])
def test_equal_signs_have_the_smallest_p_value(pairs: int) -> None:
    found = p_values(np.full((pairs, 1), 0.1) + 0.01 * differences(pairs, 1), np.array([FLOOR]))
    assert found.alone[0] == found.corrected[0] == smallest_p_value(pairs) == 2.0**-pairs


def test_exactly_a_share_of_all_sign_assignments_reaches_each_level() -> None:
    """Without a change all assignments of signs are equally probable, so each p-value occurs as often as it says."""
    sizes = np.abs(differences(6, 1, seed=1))
    found = [
        p_values(sizes * np.array(signs)[:, None], np.array([FLOOR])).alone[0]
        for signs in itertools.product((1.0, -1.0), repeat=6)
    ]
    for level in (1 / 64, 0.05, 0.25, 0.5):
        assert np.mean(np.array(found) <= level) <= level
    assert sorted(found) == pytest.approx([(index + 1) / 64 for index in range(64)])


def test_corrected_p_values_keep_the_level_of_a_report() -> None:
    generator = np.random.default_rng(5)
    smallest = [p_values(generator.standard_normal((8, 30)), np.full(30, FLOOR)).corrected.min() for _ in range(200)]
    assert np.mean(np.array(smallest) <= 0.1) <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / 200)


def test_a_comparison_with_fewer_pairs_is_tested_by_its_own_pairs() -> None:
    values = differences(12, 2, seed=2)
    values[8:, 1] = np.nan
    floor = np.full(2, FLOOR)
    assert p_values(values, floor).alone[1] == p_values(values[:8, 1:], floor[1:]).alone[0]
    assert p_values(values, floor).alone[0] == p_values(values[:, :1], floor[:1]).alone[0]


@pytest.mark.parametrize(("pairs", "largest"), [(6, 0), (8, 3), (10, 8), (12, 13), (15, 25), (20, 52)])
def test_rank_is_that_of_published_tables(pairs: int, largest: int) -> None:
    """Wilcoxon's table for the two-sided level 0.05 has the largest significant sum of ranks."""
    assert rank_of(pairs, 0.95) == largest + 1


def test_interval_contains_the_estimate_and_moves_with_the_values() -> None:
    values = differences(10, 4)
    found, moved = shift(values, 0.95), shift(values + 2.5, 0.95)
    assert np.all(found.low < found.middle) and np.all(found.middle < found.high)
    assert moved.low == pytest.approx(found.low + 2.5)
    assert moved.middle == pytest.approx(found.middle + 2.5)


def test_interval_covers_the_shift_as_often_as_it_says() -> None:
    bounds = shift(differences(8, 20_000), 0.95)
    ranks = sum(1 for signs in itertools.product((0, 1), repeat=8) if np.dot(signs, range(1, 9)) < rank_of(8, 0.95))
    exact = 1 - 2 * ranks / 256
    covered = float(np.mean((bounds.low <= 0) & (bounds.high >= 0)))
    assert exact >= 0.95
    assert covered == pytest.approx(exact, abs=4 * math.sqrt(0.05 * 0.95 / 20_000))


def test_too_few_pairs_have_no_interval() -> None:
    bounds = shift(differences(3, 1), 0.95)
    assert (bounds.low[0], bounds.high[0]) == (-math.inf, math.inf)
