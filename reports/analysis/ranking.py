"""Rank architectures as far as the seeds allow, with letters for statistically indistinguishable ones.

Two architectures are distinguishable if their mean scores differ significantly and by more than `NEARLY_EQUAL`.
Significance is decided by Welch's test on the scores of the seeds, with Holm's correction over all pairs. Seeds may
agree by chance, so the variance of an architecture is at least that which its test sets leave.

Seeds that agree prove little if they are few. Suppose that architectures are equal, and that each of their seeds solves
the task with probability q. Then all a seeds of one solve it and all b seeds of another fail with a probability of

    q^a (1 - q)^b <= (a / (a + b))^a (b / (a + b))^b                    (1)

No test of the scores notices this. So two architectures are distinguishable only if twice the bound (1) is at most 5%.
Two seeds of each do not suffice (12.5%), and three do (3.1%). If the seeds of any architecture of the table differ by
more than `LUCKY_SHARE` of the difference between the two, seeds do fail by chance there. Then twice (1), times the
number of pairs, must be at most 5%. Otherwise no architecture has seeds of both kinds. For k equal architectures with n
seeds each, the probability of this and of a wrong pair is

    (q^n + (1 - q)^n)^k - q^(k n) - (1 - q)^(k n) <= 2 / 4^n            (2)

so the bound for a single pair holds for the whole table.

An architecture whose mean could still rise with more training is never the worse one of a distinguishable pair.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from string import ascii_letters

import numpy as np
from scipy.special import stdtr, stdtrit

from results import Interval

LEVEL = 0.05
"""The family-wise significance level of the tests. Intervals have a coverage of 1 − `LEVEL`."""
NEARLY_EQUAL = 0.02
"""Mean scores count as equal up to this difference. The comparison of two runs has the same default."""
LUCKY_SHARE = 0.75
"""If seeds of one architecture differ by more than this share of the difference between two others, that difference may
be luck: one had only good seeds, and the other only bad ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean with the variances of its independent parts."""

    mean: float
    parts: tuple[tuple[float, int], ...]
    """Variance and degrees of freedom of each part; the variances add up to the variance of the mean."""
    seeds: int
    """The smallest number of seeds in a part."""
    spread: float
    """The range of the seeds of a part, divided by the number of parts: how much a single part could move the mean."""
    possible_rise: float = 0.0
    """The most by which the mean could rise with more training; see `reports.analysis.convergence`."""

    @property
    def is_undecided(self) -> bool:
        """Whether the mean could rise by more than `NEARLY_EQUAL` with more training."""
        return self.possible_rise > NEARLY_EQUAL

    @classmethod
    def of(cls, values: Sequence[float], possible_rise: float = 0.0, test_variance: float = 0.0) -> Estimate:
        """Estimate a mean over seeds.

        Args:
            values: At least two values, one per seed.
            possible_rise: The most by which the mean could rise.
            test_variance: The mean variance of a value that its test set causes. The variance over seeds is at least
                this.
        """
        variance = max(float(np.var(values, ddof=1)), test_variance)
        return cls(
            mean=float(np.mean(values)),
            parts=((variance / len(values), len(values) - 1),),
            seeds=len(values),
            spread=max(values) - min(values),
            possible_rise=possible_rise,
        )

    @classmethod
    def over(cls, estimates: Sequence[Estimate]) -> Estimate:
        """Return the mean of independent estimates.

        The variance of this mean is computed from the variances of the estimates, not from the spread of their means.
        """
        count = len(estimates)
        return cls(
            mean=sum(estimate.mean for estimate in estimates) / count,
            parts=tuple(
                (variance / count**2, freedom) for estimate in estimates for variance, freedom in estimate.parts
            ),
            seeds=min(estimate.seeds for estimate in estimates),
            spread=max(estimate.spread for estimate in estimates) / count,
            possible_rise=sum(estimate.possible_rise for estimate in estimates) / count,
        )

    def interval(self) -> Interval:
        """Return the 95% t interval of the mean, with effective degrees of freedom (Satterthwaite 1946)."""
        half = float(stdtrit(_freedom(self.parts), 1 - LEVEL / 2)) * math.sqrt(_variance(self.parts))
        return Interval(self.mean - half, self.mean, self.mean + half)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """The range of ranks that the seeds allow."""

    first: int
    """The best rank, counted from 1."""
    last: int
    """The worst rank."""
    ties: str
    """Letters; names that share a letter are statistically indistinguishable, or the worse one is undecided."""


def ranks(estimates: Mapping[str, Estimate]) -> dict[str, Rank]:
    """Return the range of ranks of each name, highest mean first."""
    best_first = sorted(estimates, key=lambda name: -estimates[name].mean)
    distinguishable = distinguishable_pairs(estimates)
    letters = _letters(best_first, distinguishable)
    return {
        name: Rank(
            first=1 + sum((other, name) in distinguishable for other in estimates),
            last=len(estimates) - sum((name, other) in distinguishable for other in estimates),
            ties=letters[name],
        )
        for name in best_first
    }


def distinguishable_pairs(estimates: Mapping[str, Estimate]) -> set[tuple[str, str]]:
    """Return the distinguishable pairs of names as (better, worse).

    A pair is distinguishable if its means differ by more than `NEARLY_EQUAL`, if the difference is significant by
    Welch's test with Holm's correction, and if there are enough seeds by (1) and (2). Pairs whose worse name is
    undecided are left out, after the correction.
    """
    pairs = [(a, b) if estimates[a].mean >= estimates[b].mean else (b, a) for a, b in combinations(estimates, 2)]
    tested = sorted((_p_value(estimates[better], estimates[worse]), (better, worse)) for better, worse in pairs)
    widest = max((estimate.spread for estimate in estimates.values()), default=0.0)
    significant: set[tuple[str, str]] = set()
    for position, (p_value, (better, worse)) in enumerate(tested):
        if p_value > LEVEL / (len(tested) - position):
            break
        first, second = estimates[better], estimates[worse]
        difference = first.mean - second.mean
        comparisons = len(tested) if widest > LUCKY_SHARE * difference else 1
        has_enough_seeds = comparisons * chance_agreement(first.seeds, second.seeds) <= LEVEL
        if difference > NEARLY_EQUAL and has_enough_seeds and not second.is_undecided:
            significant.add((better, worse))
    return significant


def chance_agreement(first: int, second: int) -> float:
    """Return twice the bound (1) for so many seeds of two architectures."""
    total = first + second
    return 2 * (first / total) ** first * (second / total) ** second


def _p_value(a: Estimate, b: Estimate) -> float:
    """Return the two-sided p-value of Welch's test for equal means (Welch 1947).

    Without variance, as of values that no test set measured, the p-value is 1 if the means are equal, and 0 if not.
    """
    parts, difference = a.parts + b.parts, abs(a.mean - b.mean)
    if _variance(parts) == 0:
        return 1.0 if difference == 0 else 0.0
    return 2 * float(stdtr(_freedom(parts), -difference / math.sqrt(_variance(parts))))


def _variance(parts: Sequence[tuple[float, int]]) -> float:
    return sum(variance for variance, _ in parts)


def _freedom(parts: Sequence[tuple[float, int]]) -> float:
    """Return the effective degrees of freedom of a sum of variances (Satterthwaite 1946).

    `parts` are pairs of a variance and its degrees of freedom. If all variances are 0, the result is the sum of the
    degrees of freedom.
    """
    spread = sum(variance**2 / freedom for variance, freedom in parts)
    return _variance(parts) ** 2 / spread if spread else float(sum(freedom for _, freedom in parts))


def _letters(best_first: Sequence[str], distinguishable: set[tuple[str, str]]) -> dict[str, str]:
    """Return the letters of each name, by insertion and absorption (Piepho 2004).

    Two names share a letter if and only if they are not distinguishable.
    """
    columns = [set(best_first)] if best_first else []
    for better, worse in distinguishable:
        for column in [column for column in columns if {better, worse} <= column]:
            columns.remove(column)
            for smaller in (column - {better}, column - {worse}):
                if not any(smaller <= other for other in columns):
                    columns = [other for other in columns if not other <= smaller] + [smaller]
    order = sorted(columns, key=lambda column: sorted(best_first.index(name) for name in column))
    return {
        name: "".join(_letter(index) for index, column in enumerate(order) if name in column) for name in best_first
    }


def _letter(index: int) -> str:
    """Return the letter for an index that is counted from 0: a–z, A–Z, then further Latin letters."""
    return ascii_letters[index] if index < len(ascii_letters) else chr(0x100 + index)
