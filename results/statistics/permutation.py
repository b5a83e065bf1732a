"""Permutation tests of many comparisons together, with intervals and a test of order.

Units are fresh processes or seeds. `values_UC` has one row per unit and one column per comparison. The units of the
base come first. Larger values are worse. The equations use U for the number of all units, and `base` and `new` for
those of each side.

    d = mean(new) - mean(base)                                              (1)
    s² = (sum of squares within both sides) / (U - 2)                       (2)
    T = d / (max(s, floor) · sqrt(1/base + 1/new))                          (3)
    p_c = share of labellings whose T_c is at least the observed T_c        (4)
    p'_(c) = max over j ≤ c of the share whose max over (j), (j+1), … of T is at least T_(j)        (5)

A labelling assigns each unit to the base or the new side. In (5), the index (j) counts the comparisons in descending
order of the observed T. Each share is a share of labellings.

(5) is the step-down procedure of Westfall & Young (1993). For any number of comparisons, the smallest p-value of (5) is
that of a single comparison. This p-value is 1/924 with six units per side. Holm's procedure does not use the joint
distribution of the comparisons. For 175 comparisons, its smallest p-value is 175/924 = 0.19. Every labelling is
applied to all comparisons together, so their dependence needs no model.

The floor is a lower bound of the spread. A few units may agree by chance, and the floor keeps T small in that case. The
floor also gives T of quiet comparisons light tails. So many quiet comparisons do not hide a real change in another
comparison.
"""

# Shape suffixes: U units of both sides, C comparisons, L labellings of the units, O orders of the units,
# P pairs of one unit of each side

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from results.statistics.intervals import LEVEL

Floats = NDArray[np.float64]

MAX_LABELLINGS = 4000
"""Maximum number of labellings. If more labellings exist, a random sample of this size is used. Seven against seven
units have 3,432 labellings."""
CHUNK = 1 << 11
"""Maximum number of comparisons per chunk, which limits the memory use."""
TIE = 1e-9
"""Statistics that differ by less than this share count as equal. So rounding decides no verdict."""
ORDERS = 2000
"""Number of random orders in the test of order."""


class PValues(NamedTuple):
    """One-sided p-values, (comparisons,): of each comparison alone, and corrected for all comparisons of a family."""

    alone: Floats
    corrected: Floats


class Bounds(NamedTuple):
    """Estimates with intervals, (comparisons,) each. Bounds are infinite if there are too few units."""

    low: Floats
    middle: Floats
    high: Floats


def smallest_p_value(base: int, new: int) -> float:
    """Return the smallest possible p-value of (4) and (5) for `base` against `new` units.

    The result is 1 if a side has no units, or if there are fewer than three units in all.
    """
    if min(base, new) < 1 or base + new < 3:
        return 1.0
    return max(1 / math.comb(base + new, base), 1 / MAX_LABELLINGS)


def labellings(base: int, new: int, seed: int) -> Floats:
    """Return labellings as rows of 0 (base) and 1 (new), (labellings, units). The first row is the true labelling.

    If there are more than `MAX_LABELLINGS` labellings, the result is a random sample of this size.

    Args:
        base: Number of units of the base.
        new: Number of units of the new run.
        seed: Seed of the random sample.
    """
    units = base + new
    true_U = np.repeat([0.0, 1.0], [base, new])
    if math.comb(units, new) <= MAX_LABELLINGS:
        chosen = np.array(list(itertools.combinations(range(units), new)))[::-1]
        rows_LU = np.zeros((len(chosen), units))
        np.put_along_axis(rows_LU, chosen, 1.0, axis=1)
        return rows_LU
    rows_LU = np.random.default_rng(seed).permuted(np.tile(true_U, (MAX_LABELLINGS, 1)), axis=1)
    rows_LU[0] = true_U
    return rows_LU


def p_values(values_UC: Floats, base: int, floor_C: Floats, seed: int = 0) -> PValues:
    """Return the p-values (4) and (5) of all comparisons of one family.

    Args:
        values_UC: Values of the units, (units, comparisons), base first; larger is worse.
        base: Number of units of the base.
        floor_C: Lower bound of the spread per comparison, (comparisons,).
        seed: Seed of the random sample of labellings.
    """
    labels_LU = labellings(base, len(values_UC) - base, seed)
    true_C = statistic(labels_LU[:1], values_UC, base, floor_C)[0]
    return step_down_p_values(true_C, lambda chunk: statistic(labels_LU, values_UC[:, chunk], base, floor_C[chunk]))


def step_down_p_values(true_C: Floats, statistic_of: Callable[[NDArray[np.intp]], Floats]) -> PValues:
    """Return the p-values (4) and (5) of all comparisons of one family. Chunks of comparisons limit the memory use.

    Args:
        true_C: Observed statistics T, (comparisons,).
        statistic_of: Function that returns T of the comparisons with the given indices, (labellings, indices), with the
            true labelling in row 0.
    """
    ascending = np.argsort(true_C, kind="stable")
    alone, corrected = np.empty(len(true_C)), np.empty(len(true_C))
    highest_L: Floats = np.array([-np.inf])
    for start in range(0, len(true_C), CHUNK):
        chunk = ascending[start : start + CHUNK]
        statistic_LC = statistic_of(chunk)
        highest_L = np.broadcast_to(highest_L, len(statistic_LC))
        (alone[chunk], corrected[chunk]), highest_L = step_down(statistic_LC, highest_L)
    descending = ascending[::-1]
    corrected[descending] = np.maximum.accumulate(corrected[descending])
    return PValues(alone, corrected)


def step_down(statistic_LC: Floats, highest_L: Floats) -> tuple[PValues, Floats]:
    """Return the p-values (4) and (5) for a chunk of comparisons. The outer maximum of (5) is left to the caller.

    Args:
        statistic_LC: Statistics T, (labellings, comparisons), with the true labelling in row 0. Comparisons are in
            ascending order of their true T.
        highest_L: Largest T per labelling over all earlier chunks, (labellings,).

    Returns:
        The p-values, and `highest_L` for the next chunk.
    """
    reached_C = statistic_LC[0] - TIE * np.abs(statistic_LC[0])
    alone_C = np.mean(statistic_LC >= reached_C, axis=0)
    running_LC = np.maximum.accumulate(np.column_stack([highest_L, statistic_LC]), axis=1)[:, 1:]
    return PValues(alone_C, np.mean(running_LC >= reached_C, axis=0)), running_LC[:, -1].copy()


def pooled_p_value(strata: list[Floats], base: list[int], floor: float, seed: int) -> float:
    """Return the p-value (4) for the mean difference over strata. Units are permuted within each stratum only.

    Args:
        strata: Values of the units of each stratum, (units,), base first; larger is worse.
        base: Number of base units in each stratum.
        floor: Lower bound of the spread.
        seed: Seed of the random labellings.
    """
    generator = np.random.default_rng(seed)
    difference_L, variance_L = np.zeros(MAX_LABELLINGS), np.zeros(MAX_LABELLINGS)
    for values_U, count in zip(strata, base, strict=True):
        new = len(values_U) - count
        true_U = np.repeat([0.0, 1.0], [count, new])
        labels_LU = generator.permuted(np.tile(true_U, (MAX_LABELLINGS, 1)), axis=1)
        labels_LU[0] = true_U
        d_L, s_L = _parts(labels_LU, values_U[:, None], count, np.array([floor]))
        difference_L += d_L[:, 0]
        variance_L += np.square(s_L[:, 0]) * (1 / count + 1 / new)
    statistic_L = difference_L / np.sqrt(variance_L)
    return float(np.mean(statistic_L >= statistic_L[0] - TIE * abs(statistic_L[0])))


def shift(values_UC: Floats, base: int, level: float = LEVEL) -> Bounds:
    """Return the Hodges-Lehmann estimate of the shift from base to new, with a distribution-free exact interval.

    `values_UC` has shape (units, comparisons), with the `base` units of the base first. The bounds are order statistics
    of all differences, new minus base unit (Hollander & Wolfe 1999, section 4.3).
    """
    units, comparisons = values_UC.shape
    new = units - base
    ordered_PC = np.sort((values_UC[base:, None] - values_UC[None, :base]).reshape(new * base, comparisons), axis=0)
    middle = np.median(ordered_PC, axis=0)
    rank = rank_of(base, new, level)
    if rank == 0:
        return Bounds(np.full(comparisons, -np.inf), middle, np.full(comparisons, np.inf))
    return Bounds(ordered_PC[rank - 1], middle, ordered_PC[-rank])


def difference(values_UC: Floats, base: int, level: float = LEVEL) -> Bounds:
    """Return the difference of the means, new minus base, with Welch's interval.

    `values_UC` has shape (units, comparisons), with the `base` units of the base first. Scores use the means,
    since a median would hide a few seeds with low scores. The bounds are infinite if a side has fewer than two units.
    """
    from scipy import stats

    new = len(values_UC) - base
    middle = values_UC[base:].mean(axis=0) - values_UC[:base].mean(axis=0)
    if min(base, new) < 2:
        return Bounds(np.full_like(middle, -np.inf), middle, np.full_like(middle, np.inf))
    a_C, b_C = values_UC[:base].var(axis=0, ddof=1) / base, values_UC[base:].var(axis=0, ddof=1) / new
    below_C = np.square(a_C) / (base - 1) + np.square(b_C) / (new - 1)
    freedom_C = np.divide(np.square(a_C + b_C), below_C, out=np.full_like(middle, base + new - 2.0), where=below_C > 0)
    half_C = stats.t.ppf((1 + level) / 2, freedom_C) * np.sqrt(a_C + b_C)
    return Bounds(middle - half_C, middle, middle + half_C)


def spread(values_UC: Floats, base: int) -> Floats:
    """Return s of (2), (comparisons,): the pooled standard deviation within the two sides."""
    within_C = sum(np.square(side - side.mean(axis=0)).sum(axis=0) for side in (values_UC[:base], values_UC[base:]))
    freedom = max(1, len(values_UC) - 2)
    spread_C: Floats = np.sqrt(within_C / freedom)
    return spread_C


def drift(values_UC: Floats, base: int, times: Sequence[float] = ()) -> float:
    """Return the difference between the sides that the linear drift within the sides explains.

    The drift is assumed to continue between the sides. The result is the median over comparisons. It is 0 if no side
    has two units.

    Args:
        values_UC: Values of the units, (units, comparisons), base first, each side in the order of its measurement.
        base: Number of units of the base.
        times: When each unit was measured, (units,). If it is empty, the units followed each other, base first.
    """
    times_U = np.asarray(times if len(times) else range(len(values_UC)), dtype=np.float64)
    sides = slice(None, base), slice(base, None)
    products_C, squares = np.zeros(values_UC.shape[1]), 0.0
    for side in sides:
        centred_U = times_U[side] - times_U[side].mean()
        products_C += centred_U @ values_UC[side]
        squares += float(np.square(centred_U).sum())
    apart = float(times_U[base:].mean() - times_U[:base].mean())
    return float(np.median(products_C)) / squares * apart if squares else 0.0


def order_p_value(values_UC: Floats, base: int, seed: int = 0) -> float:
    """Return the p-value of the hypothesis that the order of the units does not matter in any comparison.

    The residuals e are the deviations from the mean of each side. Two statistics are computed from e eᵀ, which is
    scaled per comparison and summed over comparisons. The first is the lag-1 autocorrelation within the sides. The
    second is the square of a common slope of the two sides. The result is twice the smaller p-value (Bonferroni). All
    comparisons are reordered together, since changes of the machine affect all of them. The result is 1 if a side has
    fewer than three units, or if no value varies.
    """
    sides = [values_UC[:base], values_UC[base:]]
    residuals_UC = np.concatenate([side - side.mean(axis=0) for side in sides])
    total_C = np.square(residuals_UC).sum(axis=0)
    varies_C = total_C > 0
    if min(map(len, sides)) < 3 or not varies_C.any():
        return 1.0
    products_UU = (residuals_UC[:, varies_C] / total_C[varies_C]) @ residuals_UC[:, varies_C].T
    generator = np.random.default_rng(seed)
    orders_OU = np.concatenate(
        [generator.permuted(np.tile(np.arange(len(side)), (ORDERS, 1)), axis=1) for side in sides], axis=1
    )
    orders_OU[0] = np.concatenate([np.arange(len(side)) for side in sides])
    orders_OU[:, base:] += base
    slope_U = np.concatenate([np.arange(len(side)) - (len(side) - 1) / 2 for side in sides])
    lag_O = products_UU[orders_OU[:, :-1], orders_OU[:, 1:]].sum(axis=1)
    lag_O -= products_UU[orders_OU[:, base - 1], orders_OU[:, base]]  # this pair spans the two sides
    slopes_OU = np.zeros(orders_OU.shape)
    np.put_along_axis(slopes_OU, orders_OU, np.broadcast_to(slope_U, orders_OU.shape), axis=1)
    trend_O = np.einsum("ou,ou->o", slopes_OU @ products_UU, slopes_OU)
    smallest = min(float(np.mean(each_O >= each_O[0] - TIE * abs(each_O[0]))) for each_O in (lag_O, trend_O))
    return min(1.0, 2 * smallest)


def rank_of(base: int, new: int, level: float) -> int:
    """Return the largest k with P(U < k) ≤ (1 - level) / 2, or 0 if no positive k qualifies.

    U is the Mann-Whitney statistic of `base` against `new` units.
    """
    ways = np.zeros(base * new + 1)
    ways[0] = 1.0
    for size in range(1, base + 1):  # multiply the generating function by (1 - x^(new+size)) / (1 - x^size)
        ways[new + size :] = ways[new + size :] - ways[: -(new + size)]
        for power in range(size, len(ways)):
            ways[power] += ways[power - size]
    below = np.cumsum(ways) / math.comb(base + new, base)
    return int(np.searchsorted(below, (1 - level) / 2, side="right"))


def statistic(labels_LU: Floats, values_UC: Floats, base: int, floor_C: Floats) -> Floats:
    """Return T of (3), (labellings, comparisons).

    Args:
        labels_LU: Labellings as rows of 0 (base) and 1 (new), (labellings, units).
        values_UC: Values of the units, (units, comparisons), base first; larger is worse.
        base: Number of units of the base.
        floor_C: Lower bound of the spread per comparison, (comparisons,).
    """
    difference_LC, spread_LC = _parts(labels_LU, values_UC, base, floor_C)
    scale = math.sqrt(1 / base + 1 / (len(values_UC) - base))
    return np.divide(difference_LC, spread_LC * scale, out=difference_LC)


def _parts(labels_LU: Floats, values_UC: Floats, base: int, floor_C: Floats) -> tuple[Floats, Floats]:
    """Return d of (1), and max(s, floor) of (3), (labellings, comparisons) each.

    Args:
        labels_LU: Labellings as rows of 0 (base) and 1 (new), (labellings, units).
        values_UC: Values of the units, (units, comparisons), base first; larger is worse.
        base: Number of units of the base.
        floor_C: Lower bound of the spread per comparison, (comparisons,).
    """
    units = len(values_UC)
    new = units - base
    centred_UC = values_UC - values_UC.mean(axis=0)
    # (1): the values are centred, so the sums of the two sides are opposite.
    difference_LC = (labels_LU @ centred_UC) * (units / (base * new))
    within_LC = np.square(centred_UC).sum(axis=0) - np.square(difference_LC) * (base * new / units)
    return difference_LC, np.sqrt(np.maximum(within_LC / max(1, units - 2), np.square(floor_C)))  # (2)
