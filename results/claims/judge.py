"""The ledger: every claim of a run with what was measured of it, and a verdict.

A claim is judged in every condition that its cases differ in, by the mean over seeds. Where it holds in some
conditions and not in others, the ledger looks for the fewest differences between them that decide.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from results.claims.quantities import value_of
from results.schema.case import Case
from results.schema.claims import Cases, Claim
from results.schema.record import Record
from results.statistics.intervals import Interval, interval_of_mean, interval_of_one

Verdict = Literal["reproduced", "not reproduced", "depends on", "not measured"]
Factors = dict[str, str]
Condition = tuple[object, ...]
MAX_FACTORS = 3
"""More differences than this together explain nothing to a reader."""
MAX_ALTERNATIVES = 2
"""Equally good explanations that are told before they are only counted."""
MAX_COMBINATIONS = 2
"""Combinations of values that are told where several differences decide together: the findings list them all."""
LEFT_OUT = "its default"
AGAINST = "against "


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was measured of a claim in one condition; `interval` is None where nothing was."""

    arch: str
    task: str
    against: str | None
    """The other architecture of a comparison between architectures."""
    factors: Factors
    seeds: int
    """How many were planned."""
    values: tuple[float, ...]
    interval: Interval | None
    holds: bool | None

    @property
    def parts(self) -> str:
        """The condition in words: every way in which it differs from the others."""
        return ", ".join(f"{name}={value}" for name, value in self.factors.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A claim with its verdict."""

    claim: Claim
    verdict: Verdict
    depends_on: str
    """On what, and how; empty unless that is the verdict."""
    findings: tuple[Finding, ...]

    @property
    def settled(self) -> bool:
        """Whether every finding is firm: more seeds would hardly change the verdict."""
        return all(self.robust(finding) for finding in self.findings)

    def robust(self, finding: Finding) -> bool:
        """Whether the interval of a finding lies on one side of the bounds; True of what was not measured.

        A single seed has no interval. It is firm where it lies further from the bounds than seeds of the other
        conditions lie apart: see `interval_of_one`.
        """
        claim, interval = self.claim, finding.interval
        if claim.exact or interval is None:
            return True
        if len(finding.values) == 1:
            interval = interval_of_one(finding.values[0], [other.values for other in self.findings])
        return (
            (claim.holds(interval.low) and claim.holds(interval.high))
            or (claim.at_least is not None and interval.high < claim.at_least)
            or (claim.at_most is not None and interval.low > claim.at_most)
        )


def judge(claims: Sequence[Claim], cases: Sequence[Case], records: Sequence[Record]) -> list[Entry]:
    """Every claim judged, in order. A case without a record counts as planned and not measured."""
    by_key = {record.key: record for record in records}
    return [_judge(claim, cases, by_key) for claim in claims]


def _judge(claim: Claim, cases: Sequence[Case], records: dict[str, Record]) -> Entry:
    found = _without_shared(_findings(claim, cases, records))
    measured = [finding for finding in found if finding.holds is not None]
    depends_on = ""
    verdict: Verdict
    if not measured:
        verdict = "not measured"
    elif all(finding.holds for finding in measured):
        verdict = "reproduced"
    elif not any(finding.holds for finding in measured):
        verdict = "not reproduced"
    else:
        verdict, depends_on = "depends on", _deciding(measured)
    return Entry(claim=claim, verdict=verdict, depends_on=depends_on, findings=tuple(found))


def _findings(claim: Claim, cases: Sequence[Case], records: dict[str, Record]) -> list[Finding]:
    mine = _conditions(claim.cases, cases)
    against = claim.against
    if against is None or against.cases is None:
        return [_finding(claim, group, group, None, records) for group in mine]
    others = _conditions(against.cases, cases)
    return [
        _finding(claim, group, other, other[0], records)
        for group in mine
        for other in others
        if (group[0].task, group[0].length) == (other[0].task, other[0].length)
    ]


def _finding(
    claim: Claim, group: Sequence[Case], other: Sequence[Case], named: Case | None, records: dict[str, Record]
) -> Finding:
    of_seed = {case.seed: records.get(case.key) for case in other}
    values = []
    for case in group:
        value = _compared(claim, records.get(case.key), of_seed.get(case.seed))
        if value is not None:
            values.append(value)
    interval = interval_of_mean(values) if values else None
    factors = _factors(group[0])
    if named is not None:
        factors |= {f"{AGAINST}{name}": value for name, value in _factors(named).items()}
    return Finding(
        arch=group[0].arch,
        task=group[0].task,
        against=None if named is None or named.arch == group[0].arch else named.arch,
        factors=factors,
        seeds=len(group),
        values=tuple(values),
        interval=interval,
        holds=None if interval is None else claim.holds(interval.middle),
    )


def _compared(claim: Claim, record: Record | None, other: Record | None) -> float | None:
    value = None if record is None else value_of(claim.quantity, record)
    if claim.against is None or value is None:
        return value
    base = None if other is None else value_of(claim.against.quantity or claim.quantity, other)
    if base is None:
        return None
    if claim.against.by == "difference":
        return value - base
    return value / base if base != 0 else None


def _conditions(wanted: Cases, cases: Sequence[Case]) -> list[list[Case]]:
    """The matching cases, the seeds of one condition together."""
    found: defaultdict[Condition, list[Case]] = defaultdict(list)
    for case in cases:
        settings = all(getattr(case.protocol, field, None) == value for field, value in wanted.protocol.items())
        if settings and wanted.names(case.arch, case.task):
            found[case.model_copy(update={"seed": 0}).digest(),].append(case)
    return list(found.values())


def _factors(case: Case) -> Factors:
    """Everything that a condition could depend on."""
    architecture, options = _parsed(case.arch)
    task, parameters = _parsed(case.task)
    sizes = {"length": case.length, "depth": case.depth, "params": case.params, "width": case.width}
    protocol = {name: getattr(case.protocol, name) for name in type(case.protocol).model_fields}
    named = {"architecture": architecture, **options, "task": task, **parameters, **sizes, **protocol}
    return {name: str(value) for name, value in named.items()}


def _parsed(specification: str) -> tuple[str, dict[str, str]]:
    name, _, rest = specification.partition(":")
    pairs = (item.partition("=") for item in rest.split(",") if item)
    return name, {key: value for key, _, value in pairs}


def _without_shared(found: Sequence[Finding]) -> list[Finding]:
    """The findings with only those factors that differ among them."""
    names = dict.fromkeys(name for finding in found for name in finding.factors)
    differ = [
        name
        for name in names
        if len({finding.factors.get(name, LEFT_OUT) for finding in found}) > 1 and not _repeats(name, found)
    ]
    return [
        Finding(
            arch=finding.arch,
            task=finding.task,
            against=finding.against,
            factors={name: finding.factors.get(name, LEFT_OUT) for name in differ},
            seeds=finding.seeds,
            values=finding.values,
            interval=finding.interval,
            holds=finding.holds,
        )
        for finding in found
    ]


def _repeats(name: str, found: Sequence[Finding]) -> bool:
    """Whether a factor of the other side says no more than the same factor of this side: the task, say."""
    own = name.removeprefix(AGAINST)
    factors = [finding.factors for finding in found]
    return own != name and all(one.get(name, LEFT_OUT) == one.get(own, LEFT_OUT) for one in factors)


def _deciding(measured: Sequence[Finding]) -> str:
    """The fewest factors whose values decide, with the values on either side; equally good ones all named."""
    names = list(measured[0].factors)
    for size in range(1, MAX_FACTORS + 1):
        told = [_sides(measured, chosen) for chosen in itertools.combinations(names, size)]
        if kept := [text for text in told if text is not None]:
            more = len(kept) - MAX_ALTERNATIVES
            return " or ".join(kept[:MAX_ALTERNATIVES]) + (f", or {more} other explanations" if more > 0 else "")
    held = [finding.parts for finding in measured if finding.holds]
    return f"the case: it holds with {'; '.join(held)}"


def _sides(measured: Sequence[Finding], chosen: Sequence[str]) -> str | None:
    sides: dict[bool, dict[tuple[str, ...], None]] = {True: {}, False: {}}
    for finding in measured:
        assert finding.holds is not None
        sides[finding.holds][tuple(finding.factors[name] for name in chosen)] = None
    if sides[True].keys() & sides[False].keys():
        return None
    if len(chosen) == 1:
        holds, fails = (" / ".join(value for (value,) in sides[side]) for side in (True, False))
        return f"{chosen[0]} (holds with {holds}; not with {fails})"
    side = len(sides[True]) <= len(sides[False])
    fewer = [" and ".join(_setting(*pair) for pair in zip(chosen, values, strict=True)) for values in sides[side]]
    told = (
        f" (holds {'only' if side else 'except'} with {'; or '.join(fewer)})" if len(fewer) <= MAX_COMBINATIONS else ""
    )
    return f"{' and '.join(chosen)} together{told}"


def _setting(name: str, value: str) -> str:
    return f"{name} at {value}" if value == LEFT_OUT else f"{name}={value}"
