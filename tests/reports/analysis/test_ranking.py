"""Ranks and ties agree with scipy and with small examples computed by hand."""

from __future__ import annotations

import random

import pytest
from scipy import stats

from reports.analysis.ranking import Estimate, chance_agreement, distinguishable_pairs, ranks
from results import interval_of_mean, score_variance

CLOSE = 1e-9
"""The tolerance for two formulas that give the same number."""
FALSE_ALARMS = 0.05
BINOMIAL_SLACK = 0.02
"""About three standard errors of a share of 5% in a thousand trials."""


def of(**scores: list[float]) -> dict[str, Estimate]:
    return {name: Estimate.of(values) for name, values in scores.items()}


def test_one_sample_has_students_interval() -> None:
    values = [0.4, 0.7, 0.75, 0.9]
    assert Estimate.of(values).interval() == pytest.approx(interval_of_mean(values), abs=CLOSE)


def test_pair_is_distinguishable_if_and_only_if_welchs_test_is_significant() -> None:
    noise = random.Random(7)
    verdicts = set()
    for shift in (0.0, 0.1, 0.2, 0.3, 0.4):
        a = [noise.gauss(0.5 + shift, 0.05) for _ in range(4)]
        b = [noise.gauss(0.5, 0.15) for _ in range(3)]
        expected = stats.ttest_ind(a, b, equal_var=False).pvalue < 0.05
        assert bool(distinguishable_pairs(of(a=a, b=b))) == expected
        verdicts.add(expected)
    assert verdicts == {True, False}


def test_the_mean_over_settings_adds_their_variances() -> None:
    first, second = Estimate.of([0.0, 1.0]), Estimate.of([0.2, 0.4, 0.6])
    both = Estimate.over([first, second])
    assert both.mean == pytest.approx(0.45)
    half = both.interval().high - both.mean
    # Variances of the two means are 1/4 and 0.04/3; a quarter of their sum, with Satterthwaite's degrees of freedom.
    variances, freedoms = (0.25 / 4, 0.04 / 3 / 4), (1, 2)
    freedom = sum(variances) ** 2 / sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))
    assert half == pytest.approx(stats.t.ppf(0.975, freedom) * sum(variances) ** 0.5, abs=CLOSE)


def test_ranks_overlap_if_the_seeds_do_not_decide() -> None:
    seeds = {"low": [0.1, 0.1, 0.11, 0.1], "vague": [0.2, 0.5, 0.95, 0.55], "high": [0.9, 0.9, 0.91, 0.9]}
    by_name = ranks(of(**seeds))
    assert {name: (rank.first, rank.last, rank.ties) for name, rank in by_name.items()} == {
        "high": (1, 2, "a"),
        "vague": (1, 3, "ab"),
        "low": (2, 3, "b"),
    }
    assert list(by_name) == ["high", "vague", "low"]


def agreeing(value: float, seeds: int, sequences: int = 512) -> Estimate:
    """Return the estimate of seeds with equal scores on so many test sequences."""
    return Estimate.of([value] * seeds, test_variance=score_variance(value, sequences))


def test_two_seeds_that_agree_exactly_prove_nothing() -> None:
    assert distinguishable_pairs({"a": agreeing(1.0, 2), "b": agreeing(0.1, 2)}) == set()
    assert distinguishable_pairs({"a": agreeing(1.0, 3), "b": agreeing(0.1, 3)}) == {("a", "b")}
    assert distinguishable_pairs({"a": agreeing(1.0, 2), "b": agreeing(0.1, 4)}) == {("a", "b")}
    assert distinguishable_pairs(of(a=[1.0, 1.0], b=[0.1, 0.1])) == set()


def test_seeds_that_agree_have_the_error_of_their_test_sets() -> None:
    for sequences, pairs in ((64, set()), (4096, {("a", "b")})):
        estimates = {"a": agreeing(0.95, 3, sequences), "b": agreeing(0.9, 3, sequences)}
        assert distinguishable_pairs(estimates) == pairs
    assert distinguishable_pairs({"a": agreeing(1.0, 3, 1 << 20), "b": agreeing(0.985, 3, 1 << 20)}) == set()


def test_a_mean_over_settings_has_as_many_seeds_as_its_setting_with_the_fewest() -> None:
    over = {name: Estimate.over([agreeing(value, 2), agreeing(value, 3)]) for name, value in (("a", 1.0), ("b", 0.1))}
    assert over["a"].seeds == 2
    assert distinguishable_pairs(over) == set()


def test_three_seeds_are_too_few_if_seeds_of_another_architecture_differ_as_much() -> None:
    """Seeds of `mixed` solve the task or fail, so those of the others may all have done so by chance."""
    clear = {"high": agreeing(0.9, 3), "low": agreeing(0.1, 3)}
    assert distinguishable_pairs(clear | {"other": agreeing(0.5, 3)}) >= {("high", "low")}
    assert distinguishable_pairs(clear | {"mixed": Estimate.of([0.1, 0.9, 0.1])}) == set()
    five = {"high": agreeing(0.9, 5), "low": agreeing(0.1, 5)}
    assert distinguishable_pairs(five | {"mixed": Estimate.of([0.1, 0.9, 0.1, 0.9, 0.1])}) == {("high", "low")}


def test_the_bound_of_a_pair_holds_for_a_table_without_mixed_seeds() -> None:
    """Check (2) for many probabilities, numbers of architectures and numbers of seeds."""
    for seeds in (2, 3, 4, 5):
        for archs in range(2, 12):
            for q in (0.05 * step for step in range(1, 20)):
                solve, fail = q**seeds, (1 - q) ** seeds
                assert (solve + fail) ** archs - solve**archs - fail**archs <= 2 / 4**seeds + CLOSE


def test_chance_agreement_is_the_probability_that_equal_architectures_seem_to_differ() -> None:
    """Check that all seeds of one solve a task and all of the other fail, if each solves it with probability ½."""
    assert [chance_agreement(seeds, seeds) for seeds in (2, 3, 5)] == pytest.approx([2 / 16, 2 / 64, 2 / 1024])
    assert chance_agreement(2, 3) > 0.05 > chance_agreement(2, 4)


def test_equal_architectures_are_rarely_distinguishable() -> None:
    noise = random.Random(3)
    alarms = sum(
        bool(distinguishable_pairs({str(n): Estimate.of([noise.gauss(0.5, 0.1) for _ in range(5)]) for n in range(4)}))
        for _ in range(1000)
    )
    assert alarms / 1000 <= FALSE_ALARMS + BINOMIAL_SLACK


def test_names_share_a_letter_if_and_only_if_they_are_indistinguishable() -> None:
    noise = random.Random(11)
    for _ in range(50):
        estimates = {str(n): Estimate.of([noise.gauss(0.15 * (n % 5), 0.04) for _ in range(3)]) for n in range(8)}
        pairs, by_name = distinguishable_pairs(estimates), ranks(estimates)
        for a in estimates:
            for b in estimates:
                if a != b:
                    assert bool(set(by_name[a].ties) & set(by_name[b].ties)) == (not {(a, b), (b, a)} & pairs)
    assert ranks({}) == {}


def test_undecided_name_is_never_the_worse_one_of_a_pair() -> None:
    estimates = of(low=[0.1, 0.1, 0.11], high=[0.9, 0.9, 0.91])
    assert distinguishable_pairs(estimates) == {("high", "low")}
    for rise, pairs in ((0.5, set()), (0.01, {("high", "low")})):
        low = Estimate.of([0.1, 0.1, 0.11], rise)
        assert distinguishable_pairs(estimates | {"low": low}) == pairs
    high = Estimate.of([0.9, 0.9, 0.91], 0.09)
    assert distinguishable_pairs(estimates | {"high": high}) == {("high", "low")}


def test_possible_rise_of_a_mean_is_the_mean_of_the_possible_rises() -> None:
    both = Estimate.over([Estimate.of([0.5, 0.5], 0.3), Estimate.of([0.5, 0.5])])
    assert both.possible_rise == pytest.approx(0.15)
    assert both.is_undecided
