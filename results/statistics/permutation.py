"""Permutation tests of many comparisons at once, and what goes with them: exact intervals, a test of order.

Units are fresh processes or seeds; `values_UC` holds one column a comparison, the base's units first, larger is worse.

    d = mean(new) - mean(base)                                              (1)
    s² = (sum of squares within both sides) / (U - 2)                       (2)
    T = d / (max(s, floor) · sqrt(1/base + 1/new))                          (3)
    p_c = share of labellings of the units whose T_c is as large            (4)
    p'_(c) = max over j ≤ c of the share whose max over (j), (j+1), … of T is as large as T_(j)     (5)

(5) is the step-down procedure of Westfall & Young 1993, ordered by T: Holm's, with the joint distribution of
all comparisons in place of the sum of their levels. Its least value is that of a single comparison, however many
are made, which Holm's is not: with six units a side p ≥ 1/924, and Holm's smallest of 168 would be 0.18.
Every labelling is applied to all comparisons together, so that what they share needs no model.

The floor keeps a few units that agree by chance from being taken for a quiet machine. It also makes T of quiet
comparisons light in the tails, without which 168 of them together would hide a real change in one.
"""
# U units of both sides, C comparisons, L labellings of the units, O orders, P pairs of one unit of each side

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from results.statistics.intervals import LEVEL

Floats = NDArray[np.float64]

MAX_LABELLINGS = 4000
"""All labellings up to this many (7 against 7 has 3,432), else a sample of them."""
CHUNK = 1 << 11
"""Comparisons whose labellings are held in memory together."""
TIE = 1e-9
"""Two statistics this close, as a share, are one: the order of summation decides no verdict."""
ORDERS = 2000


class PValues(NamedTuple):
    """How often chance alone gives as much: for each comparison by itself, and corrected for all of them."""

    alone: Floats
    corrected: Floats


class Bounds(NamedTuple):
    """Estimates with their intervals, one a comparison; infinite bounds where the units cannot give any."""

    low: Floats
    middle: Floats
    high: Floats


def smallest_p_value(base: int, new: int) -> float:
    """The smallest p of (4) and (5)."""
    if min(base, new) < 1 or base + new < 3:
        return 1.0
    return max(1 / math.comb(base + new, base), 1 / MAX_LABELLINGS)


def labellings(base: int, new: int, seed: int) -> Floats:
    """Rows of 0 and 1, 1 where a unit is called new; the true labelling first."""
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


def chances(values_UC: Floats, base: int, floor_C: Floats, seed: int = 0) -> PValues:
    """(4) and (5) for all comparisons of one family: time linear in their number, memory bounded."""
    comparisons = values_UC.shape[1]
    labels_LU = labellings(base, len(values_UC) - base, seed)
    true_C = _statistic(labels_LU[:1], values_UC, base, floor_C)[0]
    ascending = np.argsort(true_C, kind="stable")
    alone, corrected = np.empty(comparisons), np.empty(comparisons)
    highest_L = np.full(len(labels_LU), -np.inf)
    for start in range(0, comparisons, CHUNK):
        chunk = ascending[start : start + CHUNK]
        drawn_LC = _statistic(labels_LU, values_UC[:, chunk], base, floor_C[chunk])
        found, highest_L = step_down(drawn_LC, highest_L)
        alone[chunk], corrected[chunk] = found
    descending = ascending[::-1]
    corrected[descending] = np.maximum.accumulate(corrected[descending])
    return PValues(alone, corrected)


def step_down(drawn_LC: Floats, highest_L: Floats) -> tuple[PValues, Floats]:
    """(4) and (5), before its outer maximum, of columns in ascending order; the first row is the true labelling.

    `highest_L` is the highest of each labelling over the columns before these; the second result is the next such.
    """
    reached_C = drawn_LC[0] - TIE * np.abs(drawn_LC[0])
    alone_C = np.mean(drawn_LC >= reached_C, axis=0)
    running_LC = np.maximum.accumulate(np.column_stack([highest_L, drawn_LC]), axis=1)[:, 1:]
    return PValues(alone_C, np.mean(running_LC >= reached_C, axis=0)), running_LC[:, -1].copy()


def pooled_p_value(strata: list[Floats], base: list[int], floor: float, seed: int) -> float:
    """(4) of the mean over strata, whose units are labelled apart from one another: one value each, larger is worse."""
    generator = np.random.default_rng(seed)
    apart_L, variance_L = np.zeros(MAX_LABELLINGS), np.zeros(MAX_LABELLINGS)
    for values_U, count in zip(strata, base, strict=True):
        new = len(values_U) - count
        true_U = np.repeat([0.0, 1.0], [count, new])
        labels_LU = generator.permuted(np.tile(true_U, (MAX_LABELLINGS, 1)), axis=1)
        labels_LU[0] = true_U
        d_L, s_L = _parts(labels_LU, values_U[:, None], count, np.array([floor]))
        apart_L += d_L[:, 0]
        variance_L += np.square(s_L[:, 0]) * (1 / count + 1 / new)
    drawn_L = apart_L / np.sqrt(variance_L)
    return float(np.mean(drawn_L >= drawn_L[0] - TIE * abs(drawn_L[0])))


def shift(values_UC: Floats, base: int, level: float = LEVEL) -> Bounds:
    """Hodges & Lehmann's estimate of how far new lies from base, with its exact interval, whatever the distribution.

    The bounds are order statistics of all differences of a new and a base unit (Hollander & Wolfe 1999, section 4.3).
    """
    units, comparisons = values_UC.shape
    new = units - base
    ordered_PC = np.sort((values_UC[base:, None] - values_UC[None, :base]).reshape(new * base, comparisons), axis=0)
    middle = np.median(ordered_PC, axis=0)
    rank = _rank(base, new, level)
    if rank == 0:
        return Bounds(np.full(comparisons, -np.inf), middle, np.full(comparisons, np.inf))
    return Bounds(ordered_PC[rank - 1], middle, ordered_PC[-rank])


def difference(values_UC: Floats, base: int, level: float = LEVEL) -> Bounds:
    """The difference of the means with Welch's interval: scores of seeds, where every failed seed must count."""
    new = len(values_UC) - base
    middle = values_UC[base:].mean(axis=0) - values_UC[:base].mean(axis=0)
    if min(base, new) < 2:
        return Bounds(np.full_like(middle, -np.inf), middle, np.full_like(middle, np.inf))
    a_C, b_C = values_UC[:base].var(axis=0, ddof=1) / base, values_UC[base:].var(axis=0, ddof=1) / new
    below_C = np.square(a_C) / (base - 1) + np.square(b_C) / (new - 1)
    freedom_C = np.divide(np.square(a_C + b_C), below_C, out=np.full_like(middle, base + new - 2.0), where=below_C > 0)
    half_C = scipy.stats.t.ppf((1 + level) / 2, freedom_C) * np.sqrt(a_C + b_C)
    return Bounds(middle - half_C, middle, middle + half_C)


def spread(values_UC: Floats, base: int) -> Floats:
    """(2), its root."""
    within_C = sum(np.square(side - side.mean(axis=0)).sum(axis=0) for side in (values_UC[:base], values_UC[base:]))
    freedom = max(1, len(values_UC) - 2)
    found: Floats = np.sqrt(within_C / freedom)
    return found


def drift(values_UC: Floats, base: int) -> float:
    """How far apart a straight drift, as it shows within the sides, puts the sides: the median of the comparisons.

    It takes the base's units to come before the new ones, one after the other.
    """
    sides = (values_UC[:base], values_UC[base:])
    products_C, squares = np.zeros(values_UC.shape[1]), 0.0
    for side in sides:
        places_U = np.arange(len(side)) - (len(side) - 1) / 2
        products_C += places_U @ side
        squares += float(np.square(places_U).sum())
    return float(np.median(products_C)) / squares * len(values_UC) / 2 if squares else 0.0


def order_p_value(values_UC: Floats, base: int, seed: int = 0) -> float:
    """How often units in a random order look as restless as these in theirs, all comparisons together.

    Two statistics, each over the comparisons' residuals e and products e eᵀ: the lag-1 autocorrelation within the
    sides, and the square of a slope that both sides share; the smaller chance counts, doubled. The units of all
    comparisons change places together, as what moves a machine moves all of them.
    """
    sides = [values_UC[:base], values_UC[base:]]
    left_UC = np.concatenate([side - side.mean(axis=0) for side in sides])
    total_C = np.square(left_UC).sum(axis=0)
    moving = total_C > 0
    if min(map(len, sides)) < 3 or not moving.any():
        return 1.0
    alike_UU = (left_UC[:, moving] / total_C[moving]) @ left_UC[:, moving].T
    generator = np.random.default_rng(seed)
    orders_OU = np.concatenate(
        [generator.permuted(np.tile(np.arange(len(side)), (ORDERS, 1)), axis=1) for side in sides], axis=1
    )
    orders_OU[0] = np.concatenate([np.arange(len(side)) for side in sides])
    orders_OU[:, base:] += base
    slope_U = np.concatenate([np.arange(len(side)) - (len(side) - 1) / 2 for side in sides])
    lag_O = (
        alike_UU[orders_OU[:, :-1], orders_OU[:, 1:]].sum(axis=1) - alike_UU[orders_OU[:, base - 1], orders_OU[:, base]]
    )
    slopes_OU = np.zeros(orders_OU.shape)
    np.put_along_axis(slopes_OU, orders_OU, np.broadcast_to(slope_U, orders_OU.shape), axis=1)
    trend_O = np.einsum("ou,ou->o", slopes_OU @ alike_UU, slopes_OU)
    return min(1.0, 2 * min(float(np.mean(drawn >= drawn[0] - TIE * abs(drawn[0]))) for drawn in (lag_O, trend_O)))


def _rank(base: int, new: int, level: float) -> int:
    """The largest k for which P(U < k) ≤ (1 - level) / 2, U being Mann & Whitney's; 0 where there is none."""
    ways = np.zeros(base * new + 1)
    ways[0] = 1.0
    for size in range(1, base + 1):  # (1 - x^(new+i)) / (1 - x^i), by multiplying and dividing power series
        ways[new + size :] = ways[new + size :] - ways[: -(new + size)]
        for power in range(size, len(ways)):
            ways[power] += ways[power - size]
    below = np.cumsum(ways) / math.comb(base + new, base)
    return int(np.searchsorted(below, (1 - level) / 2, side="right"))


def _statistic(labels_LU: Floats, values_UC: Floats, base: int, floor_C: Floats) -> Floats:
    """(3), by labelling and comparison."""
    apart_LC, spread_LC = _parts(labels_LU, values_UC, base, floor_C)
    return np.divide(apart_LC, spread_LC * math.sqrt(1 / base + 1 / (len(values_UC) - base)), out=apart_LC)


def _parts(labels_LU: Floats, values_UC: Floats, base: int, floor_C: Floats) -> tuple[Floats, Floats]:
    units = len(values_UC)
    new = units - base
    centred_UC = values_UC - values_UC.mean(axis=0)
    apart_LC = (labels_LU @ centred_UC) * (units / (base * new))  # (1): centred, the sides' sums are opposite
    within_LC = np.square(centred_UC).sum(axis=0) - np.square(apart_LC) * (base * new / units)
    return apart_LC, np.sqrt(np.maximum(within_LC / max(1, units - 2), np.square(floor_C)))  # (2)
