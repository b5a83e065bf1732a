"""The evidence for each comparison of a report: families of like comparisons, tested together.

A family is what has the same kind and the same number of units a side. The level of the report is divided evenly
among its families (Bonferroni); one whose units are too few to reach the level is not tested and takes nothing away.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from results.comparison.units import HIGHER_IS_BETTER, Units
from results.comparison.verdict import ALONE, AUTOCORRELATED, Evidence, Thresholds
from results.statistics import permutation as resample
from results.statistics.permutation import Floats, smallest_p_value

UNTESTED = (1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The scores of one architecture over several cases: the mean over lengths of each seed, by case."""

    arch: str
    base: tuple[Floats, ...]
    new: tuple[Floats, ...]


def evidence(
    units: Sequence[Units], pools: Sequence[Pool], thresholds: Thresholds, beat: float
) -> tuple[list[Evidence], list[Evidence]]:
    """For each of the units, and for each of the pools. `beat` says how much slower the pulse of the new run was."""
    families: dict[tuple[str, int, int], list[int]] = defaultdict(list)
    for index, one in enumerate(units):
        families[one.kind, len(one.base), len(one.new)].append(index)
    tested = [family for family in families if family[0] != "size" and smallest_p_value(*family[1:]) <= ALONE]
    shares = len(tested) + bool(pools)
    found: dict[int, Evidence] = {}
    for family, members in families.items():
        kind, base, new = family
        if not base or not new or kind == "size":
            found |= {index: _of_size(units[index], thresholds) for index in members}
            continue
        values_UC = np.array([_worse(units[index]) for index in members]).T
        floor_C = np.array([thresholds.on_scale(units[index].metric) for index in members])
        bounds = (resample.shift if kind == "timing" else resample.difference)(values_UC, base)
        spread_C = resample.spread(values_UC, base)
        family_spread = float(np.median(spread_C))
        worse = better = None
        autocorrelated, drift = False, resample.drift(values_UC, base) if kind == "timing" else 0.0
        if family in tested:
            worse = resample.chances(values_UC, base, floor_C)
            better = resample.chances(-values_UC, base, floor_C)
            autocorrelated = kind == "timing" and resample.order_p_value(values_UC, base) <= AUTOCORRELATED
        for place, index in enumerate(members):
            one = units[index]
            found[index] = Evidence(
                kind=one.kind,
                units=(base, new),
                effect=float(bounds.middle[place]),
                low=float(bounds.low[place]),
                high=float(bounds.high[place]),
                spread=float(spread_C[place]),
                family_spread=family_spread,
                worse=UNTESTED if worse is None else _p_values(worse, place, shares),
                better=UNTESTED if better is None else _p_values(better, place, shares),
                threshold=floor_C[place],
                comparisons=len(members),
                equal=one.base == one.new,
                noisy=one.noisy,
                autocorrelated=autocorrelated,
                pulse=beat if kind == "timing" else 0.0,
                drift=drift,
            )
    floor = thresholds.on_scale("accuracy")
    return [found[index] for index in range(len(units))], _of_pools(pools, floor, shares)


def _worse(units: Units) -> tuple[float, ...]:
    """The units of both sides, larger being worse."""
    values = (*units.base, *units.new)
    return tuple(-value for value in values) if units.metric in HIGHER_IS_BETTER else values


def _p_values(found: resample.PValues, place: int, shares: int) -> tuple[float, float]:
    return float(found.alone[place]), min(1.0, float(found.corrected[place]) * shares)


def _of_size(one: Units, thresholds: Thresholds) -> Evidence:
    """A count: no chance is in it. One side without units is judged as too few."""
    before, after = (fmean(side) if side else math.nan for side in (one.base, one.new))
    effect = 0.0 if before == after else (after / before - 1 if before else math.inf)
    effect = 0.0 if math.isnan(effect) else effect
    return Evidence(
        kind=one.kind,
        units=(len(one.base), len(one.new)),
        effect=effect,
        low=effect,
        high=effect,
        spread=0.0,
        family_spread=0.0,
        worse=UNTESTED,
        better=UNTESTED,
        threshold=thresholds.of(one.metric),
        comparisons=1,
        equal=one.base == one.new,
        noisy=one.noisy,
        autocorrelated=False,
        pulse=0.0,
        drift=0.0,
    )


def _of_pools(pools: Sequence[Pool], floor: float, shares: int) -> list[Evidence]:
    """Holm's correction over the few pools."""
    worse = [_pool_p_value(pool, floor, -1.0) for pool in pools]
    better = [_pool_p_value(pool, floor, 1.0) for pool in pools]
    found = []
    for pool, down, down_corrected, up, up_corrected in zip(
        pools, worse, _holm(worse), better, _holm(better), strict=True
    ):
        apart = [float(before.mean() - after.mean()) for before, after in zip(pool.base, pool.new, strict=True)]
        errors = [side.var(ddof=1) / len(side) for sides in (pool.base, pool.new) for side in sides]
        effect, error = float(np.mean(apart)), math.sqrt(sum(errors)) / len(apart)
        units = sum(map(len, pool.base)), sum(map(len, pool.new))
        found.append(
            Evidence(
                kind="score",
                units=units,
                effect=effect,
                low=effect - 1.96 * error,
                high=effect + 1.96 * error,
                spread=error * math.sqrt(min(units) / 2),
                family_spread=0.0,
                worse=(down, min(1.0, down_corrected * shares)),
                better=(up, min(1.0, up_corrected * shares)),
                threshold=floor,
                comparisons=len(pools),
                equal=all(np.array_equal(*sides) for sides in zip(pool.base, pool.new, strict=True)),
                noisy=0.0,
                autocorrelated=False,
                pulse=0.0,
                drift=0.0,
            )
        )
    return found


def _pool_p_value(pool: Pool, floor: float, sign: float) -> float:
    strata = [sign * np.concatenate(sides) for sides in zip(pool.base, pool.new, strict=True)]
    return resample.pooled_p_value(strata, [len(base) for base in pool.base], floor, seed=0)


def _holm(chances: list[float]) -> list[float]:
    corrected = [0.0] * len(chances)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        highest = max(highest, min(1.0, chances[place] * (len(chances) - rank)))
        corrected[place] = highest
    return corrected
