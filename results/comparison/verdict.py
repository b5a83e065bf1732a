"""Decide the verdict of one comparison from its effect, interval and p-values.

regressed       the effect exceeds the threshold, p is at most `ALONE`, and the corrected p is at most `LEVEL`
improved        the effect and both p-values meet these conditions in the better direction
unchanged       the effect is within the threshold, and its interval lies within twice the threshold
inconclusive    everything else: too few units to reach the levels, a wide interval, or a disturbed machine
not comparable  the two sides were measured under different conditions

Sizes are exact, so only the threshold decides. Scores that are equal on every seed are unchanged. The change of a
timing is inconclusive if a disturbed or drifting machine could explain it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from results.comparison.units import COMPARED_AS
from results.schema.metrics import ComparedAs
from results.statistics.permutation import smallest_p_value

Change = Literal["regressed", "improved", "unchanged", "inconclusive", "not comparable"]
VERDICTS: tuple[Change, ...] = ("regressed", "improved", "not comparable", "inconclusive", "unchanged")
"""All verdicts in the order of the rows."""

ALONE = 0.01
"""Maximum rate of false alarms per comparison."""
LEVEL = 0.05
"""Maximum rate of reports with a false alarm, per direction."""
NOISY = 0.25
"""Maximum share of disturbed blocks. A median tolerates almost 50%, even if all those blocks are slow."""
AUTOCORRELATED = 0.002
"""Maximum p-value at which units count as autocorrelated. Each family of a report is tested once."""
MIN_SPREADS_OF_AUTOCORRELATED = 4.0
"""Effect above which autocorrelated units can show a change, in multiples of their spread. A linear drift without
noise through two runs of six units causes a difference of 3.2 spreads."""
POWER = 0.9
"""Probability with which the suggested additional units settle a comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The smallest relevant effects, relative for timings and sizes, and absolute for scores."""

    timing: float = 0.10
    timing_in_turns: float = 0.03
    """Threshold in place of `timing` if the two runs were measured in turns."""
    score: float = 0.02
    size: float = 0.0
    by_metric: Mapping[str, float] = field(default_factory=dict)

    def of(self, metric: str) -> float:
        """Return the threshold of a metric in `by_metric` or, if there is none, the threshold of its kind."""
        return self.by_metric.get(metric, getattr(self, COMPARED_AS[metric]))

    def for_turns(self) -> Thresholds:
        """Return the thresholds for two runs that were measured in turns."""
        return replace(self, timing=self.timing_in_turns)

    def on_scale(self, metric: str) -> float:
        """Return the threshold on the scale of the test, which is logarithmic for timings. The result is never zero."""
        threshold = self.of(metric)
        return max(math.log1p(threshold) if COMPARED_AS[metric] == "timing" else threshold, 1e-6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The statistics of one comparison. Effects are on the scale of the test, and positive effects are worse."""

    kind: ComparedAs
    units: tuple[int, int]
    """Number of units of the base and of the new run."""
    effect: float
    low: float
    high: float
    spread: float
    """Standard deviation of the units within both sides."""
    family_spread: float
    """Median spread of the family. A single spread may be too small, since few units may agree by chance."""
    worse: tuple[float, float]
    """p-values for the worse direction: alone, and corrected over the report. They are 1 if nothing was tested."""
    better: tuple[float, float]
    """p-values for the better direction."""
    threshold: float
    comparisons: int
    """Number of comparisons of the same family in the report."""
    equal: bool
    """Whether every unit has the same value on both sides."""
    noisy: float
    """Share of disturbed blocks."""
    autocorrelated: bool
    """Whether successive units resemble each other more than a random order explains."""
    calibration_change: float
    """Slow-down of the calibration product in the new run, on the scale of the test."""
    drift: float
    """Slow-down of the new run that a linear drift within both runs would cause, on the scale of the test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict with its reason."""

    verdict: Change
    reason: str = ""
    additional_units: int | None = None
    """Additional units per side that would settle an inconclusive verdict; None if units would not help."""


def decide(evidence: Evidence) -> Decision:
    """Return the verdict of a comparison whose sides are comparable."""
    e = evidence
    if 0 in e.units:
        return Decision(verdict="inconclusive", reason=f"too few: {e.units[0]} against {e.units[1]} measured units")
    if e.kind == "size":
        return _decide_size(e)
    if e.kind == "score" and e.equal:
        return Decision(verdict="unchanged", reason="equal on every seed")
    unit = "seed" if e.kind == "score" else "process"
    if e.noisy > NOISY:
        reason = f"noisy: {e.noisy:.0%} of blocks were disturbed; repeat on a quiet machine"
        return Decision(verdict="inconclusive", reason=reason)
    if smallest_p_value(*e.units) > ALONE:
        reason = f"too few: {e.units[0]} against {e.units[1]} {_plural(unit, max(e.units))}"
        return Decision(
            verdict="inconclusive", reason=reason, additional_units=additional_units_to_reach_alone(*e.units)
        )
    size = abs(e.effect)
    tolerated = MIN_SPREADS_OF_AUTOCORRELATED * max(e.spread, e.family_spread)
    if e.autocorrelated and size <= tolerated and max(size, tolerated) > e.threshold:
        return Decision(verdict="inconclusive", reason="unstable: timings of successive processes are correlated")
    if size > e.threshold:
        if may_explain(e.calibration_change, e):
            reason = f"unstable: the machine itself was {slower(e.calibration_change)} (calibration)"
            return Decision(verdict="inconclusive", reason=reason)
        if may_explain(e.drift, e):
            reason = f"unstable: a drift within the runs would make the new run {slower(e.drift)}"
            return Decision(verdict="inconclusive", reason=reason)
        alone, corrected = e.worse if e.effect > 0 else e.better
        if alone <= ALONE and corrected <= LEVEL:
            return Decision(verdict="regressed" if e.effect > 0 else "improved")
        return Decision(verdict="inconclusive", reason="not significant", additional_units=_additional_units(e, size))
    limit = 2 * e.threshold
    if -limit < e.low and e.high < limit:
        return Decision(verdict="unchanged")
    reason = "the interval is too wide"
    return Decision(verdict="inconclusive", reason=reason, additional_units=_additional_units(e, limit - size))


def additional_units_to_reach_alone(base: int, new: int) -> int:
    """Return how many more units the smaller side needs before p can be as small as `ALONE`.

    The larger side is assumed to grow only if the smaller side overtakes it.
    """
    enough = min(base, new)
    while smallest_p_value(max(base, enough), max(new, enough)) > ALONE:
        enough += 1
    return enough - min(base, new)


def _decide_size(e: Evidence) -> Decision:
    if abs(e.effect) <= e.threshold:
        return Decision(verdict="unchanged", reason="" if e.equal else "within the threshold")
    reason = "exact count" if math.isfinite(e.effect) else "exact count; the base is 0, so no ratio exists"
    return Decision(verdict="regressed" if e.effect > 0 else "improved", reason=reason)


def may_explain(machine_change: float, e: Evidence) -> bool:
    """Return whether a change of the machine may account for at least half of the effect.

    `machine_change` is on the scale of the test. A change of at most half of the threshold is ignored.
    """
    same_direction = machine_change * e.effect > 0
    return abs(machine_change) > e.threshold / 2 and same_direction and abs(e.effect) <= 2 * abs(machine_change)


def slower(log_ratio: float) -> str:
    """Return a logarithm of a ratio of durations as text, such as `12% slower`."""
    return f"{abs(math.expm1(log_ratio)):.0%} {'slower' if log_ratio > 0 else 'faster'}"


def _additional_units(e: Evidence, target: float) -> int:
    """Return how many more units per side show a difference of `target` with probability `POWER`, but at least 1.

    The estimate assumes that the spread does not change.
    """
    from scipy.stats import norm

    needed = float(norm.isf(LEVEL / max(1, e.comparisons)) + norm.ppf(POWER))
    count = math.ceil(2 * (needed * e.spread / target) ** 2)
    return max(1, count - min(e.units))


def _plural(unit: str, number: int) -> str:
    return unit if number == 1 else {"seed": "seeds", "process": "processes"}[unit]
