"""The ledger as people read it: claims, what was measured, and verdicts, for page and terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from reports import _numbers as written
from results import AGAINST, LEFT_OUT, Claim, Entry, Finding, Protocol, Record, RunFile, judge

UNSETTLED = "more seeds could change this: an interval crosses the bound"
SINGLE = "a single seed, which gives no interval"


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
    findings: tuple[tuple[str, str, bool | None], ...]
    """For each measured condition its name, value with interval, and whether the claim holds there."""
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
    doubt = f"; {written.plural(doubted, 'verdict')} not firm" if doubted else ""
    return f"{written.plural(len(rows), 'claim')}: {told}{doubt}."


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
            (_condition(finding, entry), _value(finding, claim), finding.holds)
            for finding in entry.findings
            if finding.holds is not None
        ),
        unmeasured=tuple(_condition(finding, entry) for finding in entry.findings if finding.holds is None),
    )


def _doubt(entry: Entry) -> str:
    """Why a verdict is not firm: an interval that crosses a bound, and conditions that have no interval."""
    measured = [finding for finding in entry.findings if finding.holds is not None]
    loose = [finding for finding in measured if not entry.firm(finding)]
    single = sum(len(finding.values) == 1 for finding in loose)
    reasons = [UNSETTLED] if len(loose) > single else []
    if single:
        where = "judged on" if single == len(measured) else f"{single} of {len(measured)} conditions rest on"
        reasons.append(f"{where} {SINGLE}")
    return "; ".join(reasons)


def _condition(finding: Finding, entry: Entry) -> str:
    """What is special about a condition: its options that are no defaults, and protocol fields that are not usual."""
    told = []
    for name, value in finding.factors.items():
        others = [other.factors[name] for other in entry.findings]
        usual = name.removeprefix(AGAINST) in Protocol.model_fields and 2 * others.count(value) > len(others)
        if value != LEFT_OUT and not usual:
            told.append(f"{name}={value}")
    return ", ".join(told) or (finding.arch if len(entry.findings) == 1 else "all at their defaults")


def _value(finding: Finding, claim: Claim) -> str:
    interval = finding.interval
    assert interval is not None
    text, count = _number(interval.middle), len(finding.values)
    if isfinite(interval.low) and not claim.exact:
        low, high = (max(interval.low, 0.0), min(interval.high, 1.0)) if claim.share else (interval.low, interval.high)
        text += f" ({_number(low)} to {_number(high)})"
    return f"{text}, {written.plural(count, 'seed')}" + ("" if count == finding.seeds else f" of {finding.seeds}")


def _number(value: float) -> str:
    if value == int(value) and abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:z.3f}" if abs(value) < 100 else written.significant(value)
