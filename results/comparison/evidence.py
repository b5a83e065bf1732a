"""Compute the effect size and the p-value of every comparison of a report.

A family contains all comparisons with the same kind of metric and the same number of units per side. The comparisons
of a family are tested together. The level of the report is divided evenly among the tested families (Bonferroni). All
pools together count as one more family. A family with too few units for p to reach `ALONE` is not tested.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from results.comparison.units import Units
from results.comparison.verdict import ALONE, AUTOCORRELATED, Evidence, Thresholds
from results.statistics import permutation
from results.statistics.intervals import Interval
from results.statistics.permutation import Floats, smallest_p_value
from results.statistics.sampling_error import interval_of_score, newcombe, score_variance

UNTESTED = (1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The scores of one architecture in several pairs of cases, from both runs.

    Each array belongs to one pair. It has one score per seed, averaged over the test lengths.
    """

    arch: str
    sequences: int
    """Smallest number of test sequences of a seed at one length."""
    base: tuple[Floats, ...]
    new: tuple[Floats, ...]


def evidence(
    units: Sequence[Units],
    pools: Sequence[Pool],
    thresholds: Thresholds,
    calibration_change: float,
    *,
    other_families: int = 0,
) -> tuple[list[Evidence], list[Evidence]]:
    """Return the evidence for each of the units and for each of the pools.

    Args:
        units: Comparisons of single cases.
        pools: Comparisons of whole architectures.
        thresholds: Smallest relevant effects.
        calibration_change: Logarithm of the ratio of calibration seconds, new to base.
        other_families: Number of families that are tested elsewhere, and that share the level of the report.
    """
    families: dict[tuple[str, int, int], list[int]] = defaultdict(list)
    for index, unit in enumerate(units):
        families[unit.kind, len(unit.base), len(unit.new)].append(index)
    tested = [family for family in families if _is_tested(*family)]
    shares = len(tested) + bool(pools) + other_families
    by_index: dict[int, Evidence] = {}
    for family, members in families.items():
        kind, base, new = family
        if not base or not new or kind == "size":
            by_index |= {index: _of_size(units[index], thresholds) for index in members}
            continue
        values_UC = np.array([_larger_is_worse(units[index]) for index in members]).T
        floor_C = np.array([thresholds.on_scale(units[index].metric) for index in members])
        bounds = (permutation.shift if kind == "timing" else permutation.difference)(values_UC, base)
        spread_C = permutation.spread(values_UC, base)
        family_spread = float(np.median(spread_C))
        worse = better = None
        times = units[members[0]].times
        autocorrelated, drift = False, permutation.drift(values_UC, base, times) if kind == "timing" else 0.0
        if family in tested:
            worse = permutation.p_values(values_UC, base, floor_C)
            better = permutation.p_values(-values_UC, base, floor_C)
            autocorrelated = kind == "timing" and permutation.order_p_value(values_UC, base) <= AUTOCORRELATED
        for column, index in enumerate(members):
            unit = units[index]
            low, high = float(bounds.low[column]), float(bounds.high[column])
            if unit.sequences is not None:
                of_tests = _of_tests(unit.base, unit.new, unit.sequences)
                low, high = min(low, of_tests.low), max(high, of_tests.high)
            by_index[index] = Evidence(
                kind=unit.kind,
                units=(base, new),
                effect=float(bounds.middle[column]),
                low=low,
                high=high,
                spread=float(spread_C[column]),
                family_spread=family_spread,
                worse=UNTESTED if worse is None else _p_values(worse, column, shares),
                better=UNTESTED if better is None else _p_values(better, column, shares),
                threshold=floor_C[column],
                comparisons=len(members),
                equal=unit.base == unit.new,
                noisy=unit.noisy,
                autocorrelated=autocorrelated,
                calibration_change=calibration_change if kind == "timing" else 0.0,
                drift=drift,
            )
    floor = thresholds.on_scale("accuracy")
    return [by_index[index] for index in range(len(units))], _of_pools(pools, floor, shares)


def tested_families(units: Sequence[Units], pools: Sequence[Pool]) -> int:
    """Return the number of families that `evidence` tests."""
    families = {(unit.kind, len(unit.base), len(unit.new)) for unit in units}
    return sum(_is_tested(*family) for family in families) + bool(pools)


def _is_tested(kind: str, base: int, new: int) -> bool:
    return kind != "size" and smallest_p_value(base, new) <= ALONE


def _of_tests(base: Sequence[float], new: Sequence[float], sequences: int) -> Interval:
    """Return the interval that test sets alone leave in the loss of score from base to new.

    Base and new have one score per seed, each on so many test sequences. The two sides count as independent, although
    equal seeds have equal test sequences.
    """
    return newcombe(*(interval_of_score(fmean(side), len(side) * sequences) for side in (base, new)))


def _larger_is_worse(units: Units) -> tuple[float, ...]:
    """Return the units of both sides, negated if a higher value is better."""
    values = (*units.base, *units.new)
    return tuple(-value for value in values) if units.higher_is_better else values


def _p_values(family: permutation.PValues, column: int, shares: int) -> tuple[float, float]:
    """Return the p-values of one comparison: alone, and corrected over the family and over all families.

    `shares` is the number of families among which the level of the report is divided.
    """
    return float(family.alone[column]), min(1.0, float(family.corrected[column]) * shares)


def _of_size(units: Units, thresholds: Thresholds) -> Evidence:
    """Return the evidence for an exact count, or for a metric without units on one side.

    The effect is 0 if a side has no units. It is infinite if only the base is 0.
    """
    before, after = (fmean(side) if side else math.nan for side in (units.base, units.new))
    effect = 0.0 if before == after else (after / before - 1 if before else math.inf)
    effect = 0.0 if math.isnan(effect) else effect
    return Evidence(
        kind=units.kind,
        units=(len(units.base), len(units.new)),
        effect=effect,
        low=effect,
        high=effect,
        spread=0.0,
        family_spread=0.0,
        worse=UNTESTED,
        better=UNTESTED,
        threshold=thresholds.of(units.metric),
        comparisons=1,
        equal=bool(units.base) and units.base == units.new,
        noisy=units.noisy,
        autocorrelated=False,
        calibration_change=0.0,
        drift=0.0,
    )


def _of_pools(pools: Sequence[Pool], floor: float, shares: int) -> list[Evidence]:
    """Return the evidence for the pools, with Holm's correction over all pools.

    `floor` is the lower bound of the spread of scores. `shares` is the number of families among which the level of the
    report is divided.
    """
    worse = [_pool_p_value(pool, floor, -1.0) for pool in pools]
    better = [_pool_p_value(pool, floor, 1.0) for pool in pools]
    evidences = []
    for pool, worse_alone, worse_corrected, better_alone, better_corrected in zip(
        pools, worse, _holm(worse), better, _holm(better), strict=True
    ):
        losses = [float(before.mean() - after.mean()) for before, after in zip(pool.base, pool.new, strict=True)]
        variances = [
            max(side.var(ddof=1), score_variance(float(side.mean()), pool.sequences)) / len(side)
            for sides in (pool.base, pool.new)
            for side in sides
        ]
        effect, error = float(np.mean(losses)), math.sqrt(sum(variances)) / len(losses)
        units = sum(map(len, pool.base)), sum(map(len, pool.new))
        evidences.append(
            Evidence(
                kind="score",
                units=units,
                effect=effect,
                low=effect - 1.96 * error,
                high=effect + 1.96 * error,
                spread=error * math.sqrt(min(units) / 2),
                family_spread=0.0,
                worse=(worse_alone, min(1.0, worse_corrected * shares)),
                better=(better_alone, min(1.0, better_corrected * shares)),
                threshold=floor,
                comparisons=len(pools),
                equal=all(np.array_equal(*sides) for sides in zip(pool.base, pool.new, strict=True)),
                noisy=0.0,
                autocorrelated=False,
                calibration_change=0.0,
                drift=0.0,
            )
        )
    return evidences


def _pool_p_value(pool: Pool, floor: float, sign: float) -> float:
    strata = [sign * np.concatenate(sides) for sides in zip(pool.base, pool.new, strict=True)]
    return permutation.pooled_p_value(strata, [len(base) for base in pool.base], floor, seed=0)


def _holm(p_values: list[float]) -> list[float]:
    """Return p-values after Holm's correction, in the given order."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = largest
    return corrected
