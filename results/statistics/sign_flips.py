"""Sign-flip tests of many comparisons that were measured in pairs, with intervals.

A pair is a fresh process of the base and one of the new version, side by side in time and in random order. `values_PC`
has one row per pair and one column per comparison: the difference d of the two processes, new minus base. A comparison
that has fewer pairs than others has NaN in its last rows. Larger values are worse. The equations use n for the number
of pairs of a comparison.

    T   = sqrt(n) · mean(d) / max(s, floor)                                 (1)
    s²  = (Σ d² - n · mean(d)²) / (n - 1)                                   (2)

If the versions do not differ, exchanging the two processes of a pair only changes the sign of its d. So the p-value of
a comparison is the share of sign assignments whose T is at least the observed one. The signs of a pair are changed in
all comparisons together, and the step-down procedure of Westfall & Young (1993) corrects for their number; see
`permutation.py`. The order of the two processes is drawn at random for every second pair, and the next pair has the
other order. So a steady change of the machine's speed cancels. A change that repeats every two pairs does not.

The interval is that of the signed-rank test (Hollander & Wolfe 1999, section 3.3): order statistics of the averages of
two d. It assumes that the noise of d is symmetric, as it is if both processes have the same noise.
"""

# Shape suffixes: P pairs, C comparisons, L assignments of signs (labellings), W averages of two pairs

from __future__ import annotations

import functools
import itertools

import numpy as np

from results.statistics.permutation import Bounds, Floats, PValues, step_down_p_values

MAX_ASSIGNMENTS = 4096
"""Maximum number of sign assignments: all those of 12 pairs. For more pairs, a random sample of this size is used."""


def smallest_p_value(pairs: int) -> float:
    """Return the smallest possible p-value of `pairs` pairs."""
    return max(2.0**-pairs, 1 / MAX_ASSIGNMENTS)


@functools.cache
def assignments(pairs: int, seed: int = 0) -> Floats:
    """Return assignments of signs as rows of 1 and -1, (assignments, pairs). The first row is the observed one.

    If there are more than `MAX_ASSIGNMENTS`, the result is a random sample of this size, drawn with `seed`.
    """
    if 2**pairs <= MAX_ASSIGNMENTS:
        rows_LP = np.array(list(itertools.product((1.0, -1.0), repeat=pairs)))
    else:
        rows_LP = np.random.default_rng(seed).choice((1.0, -1.0), (MAX_ASSIGNMENTS, pairs))
        rows_LP[0] = 1.0
    rows_LP.setflags(write=False)  # all callers share them
    return rows_LP


def p_values(values_PC: Floats, floor_C: Floats, seed: int = 0) -> PValues:
    """Return the one-sided p-values of all comparisons: alone, and corrected for all of them.

    Args:
        values_PC: Differences, (pairs, comparisons); larger is worse, and NaN fills up comparisons with fewer pairs.
        floor_C: Lower bound of the spread per comparison, (comparisons,).
        seed: Seed of the random sample of assignments.
    """
    signs_LP = assignments(len(values_PC), seed)
    true_C = statistic(signs_LP[:1], values_PC, floor_C)[0]
    return step_down_p_values(true_C, lambda chunk: statistic(signs_LP, values_PC[:, chunk], floor_C[chunk]))


def statistic(signs_LP: Floats, values_PC: Floats, floor_C: Floats) -> Floats:
    """Return T of (1), (assignments, comparisons).

    Args:
        signs_LP: Assignments of signs, (assignments, pairs).
        values_PC: Differences, (pairs, comparisons); NaN fills up comparisons with fewer pairs.
        floor_C: Lower bound of the spread per comparison, (comparisons,).
    """
    pairs_C = np.maximum(np.isfinite(values_PC).sum(axis=0), 1)
    measured_PC = np.nan_to_num(values_PC)
    mean_LC = (signs_LP @ measured_PC) / pairs_C
    within_LC = np.square(measured_PC).sum(axis=0) - pairs_C * np.square(mean_LC)
    spread_LC = np.sqrt(np.maximum(within_LC / np.maximum(pairs_C - 1, 1), np.square(floor_C)))  # (2)
    statistic_LC: Floats = np.sqrt(pairs_C) * mean_LC / spread_LC  # (1)
    return statistic_LC


def shift(values_PC: Floats, level: float) -> Bounds:
    """Return the Hodges-Lehmann estimates of the differences, with their intervals of confidence `level`.

    The estimate is the median of the averages of all two d, each d with itself included. `values_PC` has shape (pairs,
    comparisons) and no NaN. Bounds are infinite if there are too few pairs.
    """
    pairs, comparisons = values_PC.shape
    first, second = np.triu_indices(pairs)
    ordered_WC = np.sort((values_PC[first] + values_PC[second]) / 2, axis=0)
    middle_C = np.median(ordered_WC, axis=0)
    rank = rank_of(pairs, level)
    if rank == 0:
        return Bounds(np.full(comparisons, -np.inf), middle_C, np.full(comparisons, np.inf))
    return Bounds(ordered_WC[rank - 1], middle_C, ordered_WC[-rank])


def rank_of(pairs: int, level: float) -> int:
    """Return the largest k with P(W < k) ≤ (1 - level) / 2, or 0 if no positive k qualifies.

    W is the signed-rank statistic of `pairs` pairs.
    """
    ways = np.zeros(pairs * (pairs + 1) // 2 + 1)
    ways[0] = 1.0
    for rank in range(1, pairs + 1):  # multiply the generating function by 1 + x^rank
        ways[rank:] = ways[rank:] + ways[:-rank]
    below = np.cumsum(ways) / 2.0**pairs
    return int(np.searchsorted(below, (1 - level) / 2, side="right"))
