"""Judge the timings of two versions that were measured in turns, pair by pair.

A pair is one fresh process per version, side by side in time and in random order. It has one value per comparison: the
logarithm of the ratio of the two processes. `sign_flips.py` has the test and the interval.

The test looks at the pairs several times: after 8 of them, then after 12, and so on (`LOOKS`). A comparison is settled
at the first look at which it is

    regressed or improved   the effect exceeds the threshold, and both p-values are small enough
    unchanged               the effect and its whole interval lie within the threshold

and its later pairs do not count. Each look may use a share of the rate of false alarms (`SHARES`). The shares add up to
less than 1, so all looks together keep `ALONE` and `LEVEL` (Bonferroni). A comparison that is never settled is judged
by its last look. Then it is also unchanged if the interval lies within twice the threshold, as in `verdict.py`.

The comparisons that were settled earlier still count when p-values are corrected for the number of comparisons, with
the pairs that they have. Otherwise only those with large effects would be left, and the correction would be too small.

`judge_in_turns` repeats all looks from the stored records. What it says at a look depends on the pairs up to this look
only. So a run and a later `check` of its records agree.
"""

# Shape suffixes: P pairs, C comparisons

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from results.comparison.evidence import UNTESTED
from results.comparison.pairing import Pair
from results.comparison.units import At, Units, paired_units
from results.comparison.verdict import ALONE, LEVEL, NOISY, Decision, Evidence, Thresholds, may_explain, slower
from results.schema.record import Record
from results.schema.run import RunFile
from results.statistics import sign_flips
from results.statistics.permutation import Bounds, PValues

LOOKS = (8, 12, 16, 20, 28, 40)
"""Numbers of pairs at which the test looks. With fewer than eight pairs, no p-value is as small as a look requires. The
numbers are even, so that each version came first in half of the pairs."""
SHARES = (0.4, 0.1, 0.1, 0.1, 0.05, 0.05)
"""Share of the rate of false alarms that each look may use. The first look needs 0.4, since the smallest p-value of
eight pairs is 1/256. The rest to 1 is a margin for processes that resemble those before them."""
INTERVAL_LEVEL = 0.97
"""Confidence of the interval at one look. The interval of the look that settles a comparison then contains the true
ratio in about 95%, although this look is chosen by the data."""

SHARES_OF_LOOKS = dict(zip(LOOKS, SHARES, strict=True))
NO_BOUNDS = Bounds(*(np.array([bound]) for bound in (-np.inf, 0.0, np.inf)))
"""The interval of a comparison without pairs."""
MIN_TARGET = 1e-4
"""Smallest half-width of an interval for which a number of pairs is suggested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A comparison with its evidence and its verdict.

    Timings that were measured in turns are judged by the look that settled them or, if they are not settled, by their
    last look.
    """

    units: Units
    evidence: Evidence
    decision: Decision
    settled: bool = True
    """Whether more pairs of processes cannot change the verdict."""

    def needs_more(self, limit: int) -> bool:
        """Return whether the comparison is not settled, and `limit` pairs may settle it.

        The width of an interval falls with the square root of the number of pairs. If an effect is within the threshold
        and its interval would still be too wide after `limit` pairs, more of them are of no use.
        """
        e, pairs = self.evidence, self.evidence.units[0]
        if self.settled or pairs >= limit:
            return False
        if pairs < LOOKS[0] or abs(e.effect) > e.threshold:
            return True
        return (e.high - e.low) / 2 * math.sqrt(pairs / limit) < 2 * e.threshold - abs(e.effect)


def were_measured_in_turns(base: RunFile, new: RunFile) -> bool:
    """Return whether two runs were measured in turns with each other, `base` as the base."""
    sides = (base.turns, "base", new), (new.turns, "new", base)
    return all(turns is not None and (turns.side, turns.other) == (side, other.id) for turns, side, other in sides)


def judge_in_turns(
    pairs: Sequence[Pair], timings: Sequence[Units], thresholds: Thresholds, families: int
) -> list[Judged]:
    """Return the judgement of each comparison in `timings`.

    Args:
        pairs: Paired cases of the two runs.
        timings: Comparisons of timings whose two sides may be compared, with all of their pairs of processes.
        thresholds: Smallest relevant effects. That of timings is `timing_in_turns`.
        families: Number of families of comparisons among which the level of the report is divided.
    """
    judged: dict[int, Judged] = {}
    most = max((record.repetitions for pair in pairs for record in pair.base.values()), default=0)
    for look in LOOKS:
        if judged and look > most:
            break
        until_now = [_until(pair, look) for pair in pairs]
        base = [record for pair in until_now for record in pair.base.values()]
        new = [record for pair in until_now for record in pair.new.values()]
        paired = paired_units(until_now, base, new, in_turns=True)
        found = {_key(each): each for each in paired.units}
        units = [found.get(_key(each), replace(each, base=(), new=())) for each in timings]
        known = evidence_in_turns(units, thresholds.for_turns(), families, paired.calibration_change)
        for index, (each, evidence) in enumerate(zip(units, known, strict=True)):
            if index not in judged or (not judged[index].settled and len(each.base) == look):
                decision = decide_in_turns(evidence, is_last=False)
                settled = decision.verdict != "inconclusive"
                judged[index] = Judged(units=each, evidence=evidence, decision=decision, settled=settled)
    return [
        each if each.settled else replace(each, decision=decide_in_turns(each.evidence, is_last=True))
        for _, each in sorted(judged.items())
    ]


def evidence_in_turns(
    units: Sequence[Units], thresholds: Thresholds, families: int, calibration_change: float
) -> list[Evidence]:
    """Return the evidence for each comparison of timings, from all of its pairs.

    The p-values are divided by the share of the look at the number of pairs. So `ALONE` and `LEVEL` are their limits.

    Args:
        units: Comparisons of timings, whose two sides correspond.
        thresholds: Smallest relevant effects.
        families: Number of families of comparisons among which the level of the report is divided.
        calibration_change: Logarithm of the ratio of calibration seconds, new to base.
    """
    if not units:
        return []
    counts = [len(each.base) for each in units]
    values_PC = np.full((max(counts), len(units)), np.nan)
    for column, each in enumerate(units):
        values_PC[: counts[column], column] = np.subtract(each.new, each.base)
    floor_C = np.array([thresholds.on_scale(each.metric) for each in units])
    worse, better = sign_flips.p_values(values_PC, floor_C), sign_flips.p_values(-values_PC, floor_C)
    evidence = []
    for column, each in enumerate(units):
        pairs = counts[column]
        of_pairs_P1 = values_PC[:pairs, column : column + 1]
        bounds = sign_flips.shift(of_pairs_P1, INTERVAL_LEVEL) if pairs else NO_BOUNDS
        spread = float(of_pairs_P1.std(ddof=1)) if pairs > 1 else 0.0
        shares = SHARES_OF_LOOKS.get(pairs)
        evidence.append(
            Evidence(
                kind="timing",
                units=(pairs, pairs),
                effect=float(bounds.middle[0]),
                low=float(bounds.low[0]),
                high=float(bounds.high[0]),
                spread=spread,
                family_spread=spread,
                worse=_p_values(worse, column, shares, families),
                better=_p_values(better, column, shares, families),
                threshold=float(floor_C[column]),
                comparisons=len(units),
                equal=each.base == each.new,
                noisy=each.noisy,
                autocorrelated=False,
                calibration_change=calibration_change,
                drift=0.0,
            )
        )
    return evidence


def decide_in_turns(evidence: Evidence, *, is_last: bool) -> Decision:
    """Return the verdict at one look. `is_last` says whether no later look will judge the comparison."""
    e = evidence
    pairs, size = e.units[0], abs(e.effect)
    if pairs < LOOKS[0]:
        reason = f"too few: {pairs} {'pair' if pairs == 1 else 'pairs'} of processes"
        return Decision(verdict="inconclusive", reason=reason, additional_units=LOOKS[0] - pairs)
    if e.noisy > NOISY:
        reason = f"noisy: {e.noisy:.0%} of blocks were disturbed; repeat on a quiet machine"
        return Decision(verdict="inconclusive", reason=reason)
    if size > e.threshold:
        if may_explain(e.calibration_change, e):
            reason = f"unstable: the machine itself was {slower(e.calibration_change)} (calibration)"
            return Decision(verdict="inconclusive", reason=reason)
        alone, corrected = e.worse if e.effect > 0 else e.better
        if alone <= ALONE and corrected <= LEVEL:
            return Decision(verdict="regressed" if e.effect > 0 else "improved")
        return Decision(verdict="inconclusive", reason="not significant", additional_units=_pairs_to_show(e, size))
    limit = 2 * e.threshold if is_last else e.threshold
    if -limit < e.low and e.high < limit:
        return Decision(verdict="unchanged")
    reason = "the interval is too wide"
    return Decision(verdict="inconclusive", reason=reason, additional_units=_pairs_to_show(e, limit - size))


def _key(units: Units) -> tuple[int, str, At]:
    return units.pair, units.metric, units.at


def _pairs_to_show(e: Evidence, target: float) -> int:
    """Return how many more pairs bring the half-width of the interval down to `target`, but at least 1."""
    return max(1, math.ceil(e.units[0] * (((e.high - e.low) / 2 / max(target, MIN_TARGET)) ** 2 - 1)))


def _p_values(family: PValues, column: int, share: float | None, families: int) -> tuple[float, float]:
    """Return the p-values of one comparison, divided by the share of its look; 1 if there is no look."""
    if share is None:
        return UNTESTED
    return min(1.0, float(family.alone[column]) / share), min(1.0, float(family.corrected[column]) * families / share)


def _until(pair: Pair, count: int) -> Pair:
    """Return a pair of cases with the timings of the first `count` processes only."""

    def until(record: Record) -> Record:
        kept = tuple(each for each in record.measurements if each.process < count)
        return record.model_copy(update={"measurements": kept})

    base, new = ({seed: until(record) for seed, record in side.items()} for side in (pair.base, pair.new))
    return replace(pair, base=base, new=new)
