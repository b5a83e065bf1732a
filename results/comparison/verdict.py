"""One verdict for one comparison, from its effect, its interval and its chances.

regressed       the effect is beyond the threshold, chance alone gives as much in at most `ALONE` of labellings,
                and in at most `LEVEL` after the correction over the report
improved        the same in the better direction
unchanged       the effect is within the threshold, and its interval rules out twice the threshold
inconclusive    everything else: too few units for the levels to be reached, too wide an interval, a disturbed machine
not comparable  the two sides were not measured alike
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import scipy

from results.comparison.units import JUDGED, Kind
from results.statistics.permutation import smallest_p_value

Change = Literal["regressed", "improved", "unchanged", "inconclusive", "not comparable"]
VERDICTS: tuple[Change, ...] = ("regressed", "improved", "not comparable", "inconclusive", "unchanged")

ALONE = 0.01
"""Most false alarms a comparison."""
LEVEL = 0.05
"""Most reports with a false alarm, in each direction."""
NOISY = 0.25
"""Share of disturbed blocks from which on a side cannot be judged: a median stands fewer, if they all lean one way."""
AUTOCORRELATED = 0.002
"""Chance at which the order of the units is taken to matter; each family of a report is looked at once."""
WIDE_OF_DRIFT = 4.0
"""Spreads of the units that an effect must span where their order matters. A straight drift through both runs
makes a difference of 2.7 spreads of six units."""
POWER = 0.9
"""With which the further units are to settle a comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The least effect that matters: a share of a timing or a size, a difference of a score."""

    timing: float = 0.10
    score: float = 0.02
    size: float = 0.0
    by_metric: Mapping[str, float] = field(default_factory=dict)

    def of(self, metric: str) -> float:
        return self.by_metric.get(metric, getattr(self, JUDGED[metric]))

    def on_scale(self, metric: str) -> float:
        """As (3) takes it: of timings the logarithm, and never quite zero."""
        threshold = self.of(metric)
        return max(math.log1p(threshold) if JUDGED[metric] == "timing" else threshold, 1e-6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of one comparison. Effects are on the scale of the test, larger is worse."""

    kind: Kind
    units: tuple[int, int]
    effect: float
    low: float
    high: float
    spread: float
    family_spread: float
    """The median of its family: few units may agree by chance."""
    worse: tuple[float, float]
    """The chance of so bad a difference: alone, and corrected over the report; 1 where none was tested."""
    better: tuple[float, float]
    threshold: float
    comparisons: int
    """In the report, of its kind."""
    equal: bool
    """Whether every unit has the same value on both sides."""
    noisy: float
    autocorrelated: bool
    pulse: float
    """How much slower the machine's pulse was in the new run; on the scale of the test."""
    drift: float
    """How much slower the new run would be by the drift within the runs alone; on the scale of the test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A verdict, why, and how many further units a side would settle an inconclusive one."""

    verdict: Change
    reason: str = ""
    further: int | None = None


def found(evidence: Evidence) -> Finding:
    """The verdict on comparable sides."""
    e = evidence
    if e.kind == "size":
        return _of_size(e)
    if e.kind == "score" and e.equal:
        return Finding(verdict="unchanged", reason="equal on every seed")
    unit = "seed" if e.kind == "score" else "process"
    if e.noisy > NOISY:
        return Finding(
            verdict="inconclusive", reason=f"noisy: {e.noisy:.0%} of blocks were disturbed; repeat on a quiet machine"
        )
    if smallest_p_value(*e.units) > ALONE:
        further = additional_units_to_reach(*e.units)
        reason = f"too few: {e.units[0]} against {e.units[1]} {_plural(unit, max(e.units))}"
        return Finding(verdict="inconclusive", reason=reason, further=further)
    size = abs(e.effect)
    drift = WIDE_OF_DRIFT * max(e.spread, e.family_spread)
    if e.autocorrelated and size <= drift and max(size, drift) > e.threshold:
        return Finding(verdict="inconclusive", reason="unstable: successive processes resemble each other")
    if size > e.threshold:
        if _explains(e.pulse, e):
            return Finding(verdict="inconclusive", reason=f"unstable: the machine's pulse was {_slower(e.pulse)}")
        if _explains(e.drift, e):
            reason = f"unstable: a drift within the runs would make the new one {_slower(e.drift)}"
            return Finding(verdict="inconclusive", reason=reason)
        alone, corrected = e.worse if e.effect > 0 else e.better
        if alone <= ALONE and corrected <= LEVEL:
            return Finding(verdict="regressed" if e.effect > 0 else "improved")
        return Finding(verdict="inconclusive", reason="may be chance", further=_additional_units(e, size))
    twice = 2 * e.threshold
    if -twice < e.low and e.high < twice:
        return Finding(verdict="unchanged")
    return Finding(verdict="inconclusive", reason="interval too wide", further=_additional_units(e, twice - size))


def _explains(moved: float, e: Evidence) -> bool:
    """Whether half of the effect or more may be what moved the whole machine."""
    return abs(moved) > e.threshold / 2 and moved * e.effect > 0 and abs(e.effect) <= 2 * abs(moved)


def _slower(moved: float) -> str:
    return f"{abs(math.expm1(moved)):.0%} {'slower' if moved > 0 else 'faster'}"


def additional_units_to_reach(base: int, new: int) -> int:
    """How many more units the smaller side needs, the other drawing level with it, to make `ALONE` reachable."""
    enough = min(base, new)
    while smallest_p_value(max(base, enough), max(new, enough)) > ALONE:
        enough += 1
    return enough - min(base, new)


def _additional_units(e: Evidence, target: float) -> int:
    """How many more units a side show a difference of `target`, the spread being as it was."""
    needed = float(scipy.stats.norm.isf(LEVEL / max(1, e.comparisons)) + scipy.stats.norm.ppf(POWER))
    count = math.ceil(2 * (needed * e.spread / target) ** 2)
    return max(1, count - min(e.units))


def _of_size(e: Evidence) -> Finding:
    if abs(e.effect) <= e.threshold:
        return Finding(verdict="unchanged", reason="" if e.equal else "within the threshold")
    return Finding(verdict="regressed" if e.effect > 0 else "improved", reason="counted, not sampled")


def _plural(unit: str, number: int) -> str:
    return unit if number == 1 else {"seed": "seeds", "process": "processes"}[unit]
