"""Intervals of scores hold the error of their test sets, whatever the spread over seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from results import (
    Interval,
    difference_error,
    interval_of_difference,
    interval_of_mean,
    interval_of_score,
    interval_of_scores,
    score_variance,
    sequences_needed,
)
from results.statistics.sampling_error import newcombe

ROUNDING = 1e-9
"""Rounding error of two formulas for the same number."""
PRINTED = 5e-5
"""Rounding error of published intervals, which have four digits."""


@pytest.mark.parametrize(("score", "sequences"), [(0.0, 20), (0.078125, 512), (0.5, 64), (0.9, 1000), (1.0, 512)])
def test_the_interval_of_a_score_is_that_of_wilson(score: float, sequences: int) -> None:
    low, middle, high = interval_of_score(score, sequences)
    expected = stats.binomtest(round(score * sequences), sequences).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=ROUNDING)
    assert low <= middle == score <= high
    assert high - low > 0


def test_seeds_that_agree_have_the_interval_of_all_their_test_sequences() -> None:
    assert interval_of_mean([1.0] * 3) == Interval(1.0, 1.0, 1.0)
    low, middle, high = interval_of_scores([1.0] * 3, 512)
    assert (middle, high) == (1.0, 1.0)
    assert low == interval_of_score(1.0, 3 * 512).low < 0.998


def test_seeds_that_differ_have_students_interval() -> None:
    scores = [0.2, 0.5, 0.9]
    assert interval_of_scores(scores, 512) == pytest.approx(interval_of_mean(scores), abs=ROUNDING)


def test_a_single_seed_has_the_interval_of_its_test_set() -> None:
    assert interval_of_scores([0.7], 512) == interval_of_score(0.7, 512)
    with pytest.raises(ValueError, match="at least one sample"):
        interval_of_scores([], 512)


def test_many_answers_per_sequence_are_covered_too() -> None:
    """All answers of half of the sequences are right, and those of the others are right at random."""
    generator = np.random.default_rng(0)
    right = np.where(generator.random((1000, 200)) < 0.5, 10, generator.binomial(10, 0.4, (1000, 200)))
    scores = right.mean(axis=1) / 10
    covered = [low <= 0.7 <= high for low, _, high in (interval_of_score(score, 200) for score in scores.tolist())]
    assert np.mean(covered) >= 0.95


def test_the_interval_of_a_difference_is_that_of_newcombe() -> None:
    # Newcombe 1998, table II, example (a): 56/70 - 48/80, method 10.
    found = newcombe(interval_of_score(56 / 70, 70), interval_of_score(48 / 80, 80))
    assert found == pytest.approx((0.0524, 0.2, 0.3339), abs=PRINTED)


def test_a_difference_of_seeds_that_agree_is_not_exact() -> None:
    low, middle, high = interval_of_difference([0.65, 0.65], [0.6, 0.6], 512)
    assert middle == pytest.approx(0.05)
    assert low < 0.01 and high > 0.09
    assert interval_of_difference([0.65], [0.6], 1024) == pytest.approx((low, middle, high))
    wide = interval_of_difference([0.9, 0.1, 0.5], [0.5, 0.5, 0.5], 512)
    assert wide == pytest.approx(interval_of_mean([0.4, -0.4, 0.0]))


def test_the_variance_of_a_score_is_positive_at_the_ends_and_nearly_binomial_between() -> None:
    assert score_variance(1.0, 512) == score_variance(0.0, 512) > 0
    assert score_variance(0.5, 512) == pytest.approx(0.25 / 512, rel=0.01)


@pytest.mark.parametrize(("seeds", "sequences"), [(1, 4802), (2, 2401), (3, 1601), (5, 961), (10, 481)])
def test_as_many_sequences_are_needed_as_the_error_demands(seeds: int, sequences: int) -> None:
    """Check that a difference of 0.02 needs (1.96 / 0.02)² / 2 sequences, divided by the seeds."""
    assert sequences_needed(0.02, seeds) == sequences == math.ceil(3.841459 / 0.02**2 / 2 / seeds)
    assert difference_error(sequences, seeds) <= 0.02 < difference_error(sequences - 1, seeds)
