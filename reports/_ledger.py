"""The ledger as people read it: claims, what was measured, and verdicts, for page and terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from reports import _numbers as written
from results import AGAINST, LEFT_OUT, Entry, Finding, Protocol, Record, RunFile, judge

UNSETTLED = "more seeds could change this: an interval crosses the bound"


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
    """For each condition its name, value with interval, and whether the claim holds there."""


def ledger(run: RunFile, records: Sequence[Record]) -> list[LedgerRow]:
    """The claims of a run, judged, in their order; empty where its plan brings none."""
    return [_row(entry) for entry in judge(run.claims, run.cases, records)]


def summary(rows: Sequence[LedgerRow]) -> str:
    """`21 claims: 9 reproduced, 5 not reproduced, 4 depending on something, 3 not measured.`"""
    kinds = Counter(row.kind for row in rows)
    words = {
        "reproduced": "reproduced",
        "not reproduced": "not reproduced",
        "depends on": "depending on something",
        "not measured": "not measured",
    }
    told = ", ".join(f"{kinds[kind]} {word}" for kind, word in words.items() if kinds[kind])
    return f"{written.plural(len(rows), 'claim')}: {told}."


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
        doubt="" if entry.settled or entry.verdict == "not measured" else UNSETTLED,
        findings=tuple((_condition(finding, entry), _value(finding), finding.holds) for finding in entry.findings),
    )


def _condition(finding: Finding, entry: Entry) -> str:
    """What is special about a condition: its options that are no defaults, and protocol fields that are not usual."""
    told = []
    for name, value in finding.factors.items():
        others = [other.factors[name] for other in entry.findings]
        usual = name.removeprefix(AGAINST) in Protocol.model_fields and 2 * others.count(value) > len(others)
        if value != LEFT_OUT and not usual:
            told.append(f"{name}={value}")
    return ", ".join(told) or (finding.arch if len(entry.findings) == 1 else "all else at its default")


def _value(finding: Finding) -> str:
    interval = finding.interval
    if interval is None:
        return f"not measured, 0/{finding.seeds} seeds"
    text = _number(interval.middle)
    if isfinite(interval.low):
        text += f" ({_number(interval.low)} to {_number(interval.high)})"
    return f"{text}, {len(finding.values)}/{finding.seeds} seeds"


def _number(value: float) -> str:
    if value == int(value) and abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 100 else written.significant(value)
