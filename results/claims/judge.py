"""Judge the claims of a run. Every claim gets its measured values and a verdict.

A claim is judged by the mean over seeds, separately in every condition. A condition is a group of cases that differ in
the seed only. A claim may hold in some conditions but not in all. The judge then looks for the smallest set of factors
that separates the two groups.

A condition is undecided if more training of cases that were still learning could change whether the claim holds. More
training can only improve a score or a loss, up to a perfect one. A claim that it could only support stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from statistics import fmean
from typing import Literal

from results.claims.factors import Factors, deciding, distinguished, factors_of, in_words, of_others
from results.claims.quantities import best_of, sequences_of, value_of
from results.schema.case import Case
from results.schema.claims import Cases, Claim, Quantity
from results.schema.record import Record
from results.statistics.convergence import convergence
from results.statistics.intervals import Interval, interval_of_mean, interval_of_one
from results.statistics.sampling_error import interval_of_difference, interval_of_scores

Verdict = Literal["reproduced", "not reproduced", "depends on", "undecided", "not comparable", "not measured"]
FEWEST_SEEDS = 3
"""Smallest number of seeds whose own spread is trusted. Two seeds agree by chance too often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of a claim in one condition. `interval` and `holds` are None if nothing was measured."""

    arch: str
    task: str
    against: str | None
    """The other architecture; None unless the claim compares two architectures."""
    factors: Factors
    seeds: int
    """Number of planned seeds."""
    values: tuple[float, ...]
    interval: Interval | None
    """The mean over seeds with its interval. The interval of a score contains that of the test sets."""
    holds: bool | None
    holding: int = 0
    """Number of seeds for which the claim holds by their own values."""
    learning: str = ""
    """Who was still learning, if more training could change `holds`: `lstm in 3 of 3 seeds`; empty if none could."""
    unsolved: int = 0
    """Number of trained seeds without a value because they never solved the task. The mean is then a lower bound."""

    @property
    def parts(self) -> str:
        """The condition as text: the values of all factors in which the conditions of the claim differ."""
        return in_words(self.factors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A claim with its verdict."""

    claim: Claim
    verdict: Verdict
    depends_on: str
    """The factors that decide whether the claim holds, with their values; empty unless the verdict is `depends on`."""
    findings: tuple[Finding, ...]

    @property
    def settled(self) -> bool:
        """Whether every finding is robust. If so, more seeds would hardly change the verdict."""
        return all(self.robust(finding) for finding in self.findings)

    def robust(self, finding: Finding) -> bool:
        """Return whether a finding is robust.

        A robust interval is entirely within or entirely outside the bounds of the claim. If a finding has a single
        value, the spread of its interval is taken from the other conditions (see `interval_of_one`). Two seeds that
        agree show no spread, so two values are robust only if their distance to the bounds exceeds such an interval.
        If some seeds never solved the task, a mean number of sequences is only a lower bound, so that it can be robust
        as a lower bound only. Findings without a measured value count as robust. All findings of an exact claim count
        as robust too.
        """
        claim, interval = self.claim, finding.interval
        if claim.exact or interval is None:
            return True
        if finding.unsolved and (claim.at_most is not None or not finding.holds):
            return False
        if len(finding.values) < FEWEST_SEEDS:
            others = [other.values for other in self.findings if len(other.values) >= FEWEST_SEEDS]
            interval = _hull(interval, interval_of_one(interval.middle, others))
        return (
            (claim.holds(interval.low) and claim.holds(interval.high))
            or (claim.at_least is not None and interval.high < claim.at_least)
            or (claim.at_most is not None and interval.low > claim.at_most)
        )


def judge(claims: Sequence[Claim], cases: Sequence[Case], records: Sequence[Record]) -> list[Entry]:
    """Judge each claim against the records, and return the entries in the order of the claims.

    A case without a record counts as planned but not measured. Cases that only serve to choose a learning rate do not
    count.
    """
    by_key = {record.key: record for record in records}
    reported = [case for case in cases if case.is_reported]
    return [_judge(claim, reported, by_key) for claim in claims]


def _judge(claim: Claim, cases: Sequence[Case], records: dict[str, Record]) -> Entry:
    findings = _findings(claim, cases, records)
    factors = distinguished([finding.factors for finding in findings])
    findings = [replace(finding, factors=own) for finding, own in zip(findings, factors, strict=True)]
    measured = [finding for finding in findings if finding.holds is not None]
    depends_on = ""
    verdict: Verdict
    decided = [finding for finding in measured if not finding.learning]
    if not measured:
        verdict = "not measured"
    elif claim.not_comparable:
        verdict = "not comparable"
    elif len(decided) < len(measured) and len({finding.holds for finding in decided}) < 2:
        verdict = "undecided"
    elif all(finding.holds for finding in decided):
        verdict = "reproduced"
    elif not any(finding.holds for finding in decided):
        verdict = "not reproduced"
    else:
        verdict, depends_on = "depends on", deciding([(finding.factors, bool(finding.holds)) for finding in decided])
    return Entry(claim=claim, verdict=verdict, depends_on=depends_on, findings=tuple(findings))


def _findings(claim: Claim, cases: Sequence[Case], records: dict[str, Record]) -> list[Finding]:
    groups = _conditions(claim.cases, cases)
    against = claim.against
    if against is None or against.cases is None:
        return [_finding(claim, group, group, None, records) for group in groups]
    others = _conditions(against.cases, cases)
    return [
        _finding(claim, group, other, other[0], records)
        for group in groups
        for other in others
        if (group[0].task, group[0].length) == (other[0].task, other[0].length)
    ]


def _finding(
    claim: Claim, group: Sequence[Case], other: Sequence[Case], opponent: Case | None, records: dict[str, Record]
) -> Finding:
    """Return the finding of one condition.

    Args:
        claim: The claim to judge.
        group: Cases of the condition, one per seed.
        other: Cases that the group is compared with, seed by seed; the group itself if the claim compares no cases.
        opponent: A case of `other` if the claim compares cases, else None.
        records: All records by key.
    """
    of_seed = {case.seed: records.get(case.key) for case in other}
    pairs = [(records.get(case.key), of_seed.get(case.seed)) for case in group]
    measured = [(own, base) for own, base in pairs if _compared(claim, own, base) is not None]
    values = [value for own, base in measured if (value := _compared(claim, own, base)) is not None]
    interval = _interval(claim, measured, values) if values else None
    factors = factors_of(group[0]) | ({} if opponent is None else of_others(factors_of(opponent)))
    return Finding(
        arch=group[0].arch,
        task=group[0].task,
        against=None if opponent is None or opponent.arch == group[0].arch else opponent.arch,
        factors=factors,
        seeds=len(group),
        values=tuple(values),
        interval=interval,
        holds=None if interval is None else claim.holds(interval.middle) or claim.overlaps(interval.low, interval.high),
        holding=sum(map(claim.holds, values)),
        unsolved=sum(_is_unsolved(claim, own) for own, _ in pairs),
        learning=_learning(claim, pairs, is_self_compared=opponent is None),
    )


def _interval(
    claim: Claim, measured: Sequence[tuple[Record | None, Record | None]], values: Sequence[float]
) -> Interval:
    """Return the mean of the values with its interval.

    The interval of a score, or of a difference of scores, contains the error of the test sets. That of a single score
    is this error. A ratio of scores has Student's interval only.

    Args:
        claim: The claim to judge.
        measured: The record of each seed with a value, with the record that it is compared with.
        values: The value of each of these seeds.
    """
    over_seeds = interval_of_mean(values)
    own = _scores([record for record, _ in measured], claim.quantity)
    if own is None:
        return over_seeds
    if claim.against is None:
        return interval_of_scores(*own)
    base = _scores([record for _, record in measured], claim.against.quantity or claim.quantity)
    if base is None or claim.against.by != "difference":
        return over_seeds
    return interval_of_difference(own[0], base[0], min(own[1], base[1]))


def _is_unsolved(claim: Claim, record: Record | None) -> bool:
    """Return whether a claim on a number of sequences has no value for a seed because it never solved its task."""
    if claim.quantity.metric != "sequences_until_solved" or record is None or record.training is None:
        return False
    return _value(claim.quantity, record, is_best=False) is None


def _scores(records: Sequence[Record | None], quantity: Quantity) -> tuple[list[float], int] | None:
    """Return the scores of some records, and the number of sequences on which each was measured.

    The result is None if the quantity is not a score, or if a record lacks it.
    """
    known = [record for record in records if record is not None]
    values = [value for record in known if (value := value_of(quantity, record)) is not None]
    sizes = [size for record in known if (size := sequences_of(quantity, record)) is not None]
    if not values or not len(values) == len(sizes) == len(records):
        return None
    return values, min(sizes)


def _hull(interval: Interval, other: Interval) -> Interval:
    """Return the smallest interval that contains two intervals of one mean, or `other` if `interval` is unbounded."""
    if not isfinite(interval.low):
        return other
    return Interval(min(interval.low, other.low), interval.middle, max(interval.high, other.high))


def _learning(claim: Claim, pairs: Sequence[tuple[Record | None, Record | None]], *, is_self_compared: bool) -> str:
    """Return who was still learning, if more training of it could change whether a claim holds in one condition.

    The result is empty if none could. A claim that compares two quantities of the same case is not judged by it, since
    more training could move both.

    Args:
        claim: The claim to judge.
        pairs: The record of each seed, with the record that it is compared with.
        is_self_compared: Whether the claim compares no cases.
    """
    if claim.not_comparable or (is_self_compared and claim.against is not None):
        return ""
    measured = [(own, base) for own, base in pairs if _compared(claim, own, base) is not None]
    parts = []
    for side in (0,) if is_self_compared else (0, 1):
        records = [record for pair in measured if (record := pair[side]) is not None]
        learning = [record for record in records if convergence(record) == "still learning"]
        if learning and _could_change(claim, measured, side):
            seeds = "seed" if len(records) == 1 else "seeds"
            parts.append(f"{learning[0].case.arch} in {len(learning)} of {len(records)} {seeds}")
    return " and ".join(parts)


def _could_change(claim: Claim, pairs: Sequence[tuple[Record | None, Record | None]], side: int) -> bool:
    """Return whether more training of the records on one side, 0 or 1, could change whether a claim holds."""
    now = [_compared(claim, own, base) for own, base in pairs]
    best = [_compared(claim, own, base, improved=side) for own, base in pairs]
    present = fmean(value for value in now if value is not None)
    possible = fmean(inf if value is None else value for value in best)
    if claim.holds(present):
        return not claim.holds(possible)
    low, high = sorted((present, possible))
    return claim.holds(min(max(low, -inf if claim.at_least is None else claim.at_least), high))


def _compared(
    claim: Claim, record: Record | None, other: Record | None, *, improved: int | None = None
) -> float | None:
    """Return the value of a claim for one seed, or None if it was not measured.

    Args:
        claim: The claim.
        record: The record of the seed.
        other: The record that it is compared with.
        improved: The side with the best value that more training could give, 0 or 1; None for the values as measured.
    """
    value = None if record is None else _value(claim.quantity, record, is_best=improved == 0)
    if claim.against is None or value is None:
        return value
    base = None if other is None else _value(claim.against.quantity or claim.quantity, other, is_best=improved == 1)
    if base is None:
        return None
    if claim.against.by == "difference":
        return value - base
    return value / base if base != 0 else None


def _value(quantity: Quantity, record: Record, *, is_best: bool) -> float | None:
    """Return a value as measured, or the best one that more training could give if the case was still learning."""
    value = value_of(quantity, record)
    best = best_of(quantity)
    if not is_best or value is None or best is None or convergence(record) != "still learning":
        return value
    return best


def _conditions(selection: Cases, cases: Sequence[Case]) -> list[list[Case]]:
    """Return the selected cases, grouped by condition."""
    groups: defaultdict[str, list[Case]] = defaultdict(list)
    for case in cases:
        has_settings = all(getattr(case.protocol, name, None) == value for name, value in selection.protocol.items())
        has_size = selection.depth in (None, case.depth) and selection.length in (None, case.length)
        if has_settings and has_size and selection.selects(case.arch, case.task):
            groups[case.model_copy(update={"seed": 0}).digest()].append(case)
    return list(groups.values())
