"""Who can be told apart: ranks with their intervals and groups of ties, as far as the seeds allow.

Two architectures are told apart where Welch's test on their seeds' scores says so after Holm's correction
over all pairs of their contest, and their means differ by more than `NEARLY_EQUAL`. Seeds that agree exactly
have no spread to test with; such means are told apart by `NEARLY_EQUAL` alone.
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
NEARLY_EQUAL = 0.02
"""Mean scores this close count as equal, as in the comparison of runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean, and the variance of each independent part that it is put together from, with its degrees of freedom."""

    mean: float
    parts: tuple[tuple[float, int], ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """The mean of at least two values."""
        return cls(mean=float(np.mean(values)), parts=((float(np.var(values, ddof=1)) / len(values), len(values) - 1),))

    @classmethod
    def over(cls, estimates: Sequence[Estimate]) -> Estimate:
        """The mean of estimates that share no values: of settings that are what they are, not a sample of others."""
        count = len(estimates)
        return cls(
            mean=sum(one.mean for one in estimates) / count,
            parts=tuple((variance / count**2, freedom) for one in estimates for variance, freedom in one.parts),
        )

    def interval(self) -> Interval:
        """Student's 95% interval, with the degrees of freedom of Satterthwaite (1946)."""
        half = float(stdtrit(_freedom(self.parts), 1 - LEVEL / 2)) * math.sqrt(_variance(self.parts))
        return Interval(self.mean - half, self.mean, self.mean + half)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """A place in a contest: between `first` and `last`, and the letters of the ties that it belongs to."""

    first: int
    last: int
    ties: str


def ranks(estimates: Mapping[str, Estimate]) -> dict[str, Rank]:
    """A rank for each, best first."""
    best_first = sorted(estimates, key=lambda name: -estimates[name].mean)
    apart = are_distinguishable(estimates)
    letters = _letters(best_first, apart)
    return {
        name: Rank(
            first=1 + sum((other, name) in apart for other in estimates),
            last=len(estimates) - sum((name, other) in apart for other in estimates),
            ties=letters[name],
        )
        for name in best_first
    }


def are_distinguishable(estimates: Mapping[str, Estimate]) -> set[tuple[str, str]]:
    """The pairs (better, worse) that the seeds tell apart."""
    pairs = [(a, b) if estimates[a].mean >= estimates[b].mean else (b, a) for a, b in combinations(estimates, 2)]
    tested = sorted((_p_value(estimates[better], estimates[worse]), (better, worse)) for better, worse in pairs)
    found: set[tuple[str, str]] = set()
    for place, (chance, (better, worse)) in enumerate(tested):
        if chance > LEVEL / (len(tested) - place):
            break
        if estimates[better].mean - estimates[worse].mean > NEARLY_EQUAL:
            found.add((better, worse))
    return found


def _p_value(a: Estimate, b: Estimate) -> float:
    """The two-sided p-value of Welch's test (Welch 1947)."""
    parts, difference = a.parts + b.parts, abs(a.mean - b.mean)
    if _variance(parts) == 0:
        return 1.0 if difference == 0 else 0.0
    return 2 * float(stdtr(_freedom(parts), -difference / math.sqrt(_variance(parts))))


def _variance(parts: Sequence[tuple[float, int]]) -> float:
    return sum(variance for variance, _ in parts)


def _freedom(parts: Sequence[tuple[float, int]]) -> float:
    spread = sum(variance**2 / freedom for variance, freedom in parts)
    return _variance(parts) ** 2 / spread if spread else float(sum(freedom for _, freedom in parts))


def _letters(best_first: Sequence[str], apart: set[tuple[str, str]]) -> dict[str, str]:
    """Compact letters by insertion and absorption (Piepho 2004): two share one where they are not told apart."""
    columns = [set(best_first)] if best_first else []
    for better, worse in apart:
        for column in [column for column in columns if {better, worse} <= column]:
            columns.remove(column)
            for smaller in (column - {better}, column - {worse}):
                if not any(smaller <= other for other in columns):
                    columns = [other for other in columns if not other <= smaller] + [smaller]
    order = sorted(columns, key=lambda column: sorted(best_first.index(name) for name in column))
    return {
        name: "".join(_letter(place) for place, column in enumerate(order) if name in column) for name in best_first
    }


def _letter(place: int) -> str:
    """One character for each place, however many there are: past the English alphabet comes the rest of Latin."""
    return ascii_letters[place] if place < len(ascii_letters) else chr(0x100 + place)
