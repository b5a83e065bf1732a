"""The ledger as people read it: claims, what was measured, and verdicts, for page and terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from reports.format import numbers
from results import AGAINST_PREFIX, DEFAULT_OPTION, Claim, Entry, Finding, Protocol, Record, RunFile, judge

SINGLE = "judged on a single seed, which gives no interval"
MAX_DECIMALS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFinding:
    """A condition, its value with interval, and whether the claim holds there."""

    condition: str
    value: str
    holds: bool
    robust: bool
    """Whether more seeds would hardly change that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One claim in words."""

    name: str
    text: str
    source: str
    measured: str
    rule: str
    verdict: str
    """`reproduced`, `not reproduced`, `depends on …` or `not measured`."""
    kind: str
    """The verdict without what it depends on."""
    doubt: str
    """Why the verdict is not firm; empty where it is."""
    findings: tuple[LedgerFinding, ...]
    """What was found in each condition that was measured."""
    unmeasured: tuple[str, ...]
    """Conditions that were planned and not measured."""


def ledger(run: RunFile, records: Sequence[Record]) -> list[LedgerRow]:
    """The claims of a run, judged, in their order; empty where its plan brings none."""
    return [_row(entry) for entry in judge(run.claims, run.cases, records)]


def summary(rows: Sequence[LedgerRow]) -> str:
    """`21 claims: 9 reproduced, 5 not reproduced, 4 depending on something, 3 not measured; 2 verdicts not firm.`"""
    kinds = Counter(row.kind for row in rows)
    words = {
        "reproduced": "reproduced",
        "not reproduced": "not reproduced",
        "depends on": "depending on something",
        "not measured": "not measured",
    }
    told = ", ".join(f"{kinds[kind]} {word}" for kind, word in words.items() if kinds[kind])
    doubted = sum(bool(row.doubt) for row in rows)
    doubt = f"; {numbers.plural(doubted, 'verdict')} not firm" if doubted else ""
    return f"{numbers.plural(len(rows), 'claim')}: {told}{doubt}."


def _row(entry: Entry) -> LedgerRow:
    claim = entry.claim
    return LedgerRow(
        name=claim.name,
        text=claim.text,
        source=claim.source,
        measured=claim.what,
        rule=claim.rule,
        verdict=f"{entry.verdict} {entry.depends_on}".strip(),
        kind=entry.verdict,
        doubt=_doubt(entry),
        findings=tuple(
            LedgerFinding(
                condition=_condition(finding, entry),
                value=_value(finding, claim),
                holds=finding.holds,
                robust=entry.robust(finding),
            )
            for finding in entry.findings
            if finding.holds is not None
        ),
        unmeasured=tuple(_condition(finding, entry) for finding in entry.findings if finding.holds is None),
    )


def _doubt(entry: Entry) -> str:
    """Why a verdict is not firm: conditions in which more seeds could tip it."""
    measured = [finding for finding in entry.findings if finding.holds is not None]
    robust = sum(entry.robust(finding) for finding in measured)
    if robust == len(measured):
        return ""
    if len(measured) == 1:
        return SINGLE if len(measured[0].values) == 1 else "more seeds could change this"
    others = "the other" if robust == len(measured) - 1 else "the others"
    return f"firm in {robust or 'none'} of {len(measured)} conditions" + (
        f"; more seeds could change {others}" if robust else ": more seeds could change this"
    )


def _condition(finding: Finding, entry: Entry) -> str:
    """What is special about a condition: its options that are no defaults, and protocol fields that are not usual."""
    told = []
    for name, value in finding.factors.items():
        others = [other.factors[name] for other in entry.findings]
        usual = name.removeprefix(AGAINST_PREFIX) in Protocol.model_fields and 2 * others.count(value) > len(others)
        if value != DEFAULT_OPTION and not usual:
            told.append(f"{name}={value}")
    return ", ".join(told) or (finding.arch if len(entry.findings) == 1 else "all at their defaults")


def _value(finding: Finding, claim: Claim) -> str:
    interval = finding.interval
    assert interval is not None
    text, count = _number(interval.middle, claim), len(finding.values)
    if isfinite(interval.low) and not claim.exact:
        lowest, highest = claim.range
        text += f" ({_number(max(interval.low, lowest), claim)} to {_number(min(interval.high, highest), claim)})"
    return f"{text}, {numbers.plural(count, 'seed')}" + ("" if count == finding.seeds else f" of {finding.seeds}")


def _number(value: float, claim: Claim) -> str:
    """With three decimals, or as many as show on which side of a bound it lies."""
    if value == int(value) and abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return numbers.significant(value)
    decimals = 3
    while decimals < MAX_DECIMALS and claim.holds(round(value, decimals)) != claim.holds(value):
        decimals += 1
    return f"{value:z.{decimals}f}"
