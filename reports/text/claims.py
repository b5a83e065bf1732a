"""The ledger of claims in words, for the page and the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite

from reports.format import numbers
from results import AGAINST_PREFIX, DEFAULT_OPTION, Claim, Entry, Finding, Protocol, Record, RunFile, judge

SINGLE_SEED = "judged on a single seed, which gives no interval over seeds"
MAX_DECIMALS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFinding:
    """The result of a claim in one condition."""

    condition: str
    value: str
    """The value with its number of seeds, and with its interval if there is one. The number of seeds for which the
    claim holds follows, if it holds for some only, or for none although it holds for the mean."""
    holds: bool
    robust: bool
    """Whether more seeds are unlikely to change `holds`."""
    learning: str
    """Who was still learning, if more training could change `holds`: `lstm in 3 of 3 seeds`; empty if none could."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One row of the ledger: a claim with its verdict and findings, as text."""

    name: str
    text: str
    source: str
    published: str
    """The published value with its spread, such as `0.525 ± 0.02`; empty if the claim states none."""
    remarks: tuple[str, ...]
    """Sentences on the comparison: how our protocol differs, why there is no verdict, and what was tried."""
    measured: str
    """The measured quantity."""
    rule: str
    """The bounds that the value must satisfy, such as `at least 0.9`; empty if it is not comparable."""
    verdict: str
    """`reproduced`, `not reproduced`, `depends on …`, `undecided`, `not comparable` or `not measured`."""
    kind: str
    """The verdict without the factors that it depends on."""
    doubt: str
    """The reason why the verdict is undecided or not robust; empty if it is robust or nothing was measured."""
    findings: tuple[LedgerFinding, ...]
    """One finding per measured condition."""
    unmeasured: tuple[str, ...]
    """The conditions that were planned but not measured."""


def ledger(run: RunFile, records: Sequence[Record]) -> list[LedgerRow]:
    """Judge the claims of a run, and return one row per claim, in the order of the claims."""
    return [_row(entry) for entry in judge(run.claims, run.cases, records)]


def summary(rows: Sequence[LedgerRow]) -> str:
    """Return a sentence with the number of claims per verdict and the number of verdicts that are not robust.

    Example: `21 claims: 9 reproduced, 5 not reproduced, 4 depending on the condition, 3 not measured; 2 verdicts not
    robust.`
    """
    kinds = Counter(row.kind for row in rows)
    words = {
        "reproduced": "reproduced",
        "not reproduced": "not reproduced",
        "depends on": "depending on the condition",
        "undecided": "undecided",
        "not comparable": "not comparable",
        "not measured": "not measured",
    }
    counts = ", ".join(f"{kinds[kind]} {word}" for kind, word in words.items() if kinds[kind])
    doubtful = sum(bool(row.doubt) for row in rows if row.kind != "undecided")
    doubt = f"; {numbers.plural(doubtful, 'verdict')} not robust" if doubtful else ""
    return f"{numbers.plural(len(rows), 'claim')}: {counts}{doubt}."


def _row(entry: Entry) -> LedgerRow:
    claim = entry.claim
    return LedgerRow(
        name=claim.name,
        text=claim.text,
        source=claim.source,
        published=_published(claim),
        remarks=tuple(ledger_remarks(claim)),
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
                robust=entry.robust(finding) and not finding.learning,
                learning=finding.learning,
            )
            for finding in entry.findings
            if finding.holds is not None
        ),
        unmeasured=tuple(_condition(finding, entry) for finding in entry.findings if finding.holds is None),
    )


def _published(claim: Claim) -> str:
    if claim.published is None:
        return ""
    is_exact = abs(claim.published) >= 100 or round(claim.published, 3) == claim.published
    value = _number(claim.published, claim) if is_exact else f"{claim.published:g}"
    return value + ("" if claim.spread is None else f" ± {claim.spread:g}")


def ledger_remarks(claim: Claim) -> Iterator[str]:
    """Yield what a plan says about the protocol of a claim, and about what was tried."""
    if claim.differs:
        yield f"Our protocol differs: {claim.differs}."
    if claim.not_comparable:
        yield f"Not comparable: {claim.not_comparable}."
    if claim.tried:
        yield f"Tried: {claim.tried}."


def _doubt(entry: Entry) -> str:
    """Return the reason why the verdict is undecided or not robust.

    The text is empty if all measured findings are decided and robust.
    """
    learning = list(dict.fromkeys(finding.learning for finding in entry.findings if finding.learning))
    if entry.verdict == "undecided":
        return f"still learning: {learning[0] if len(learning) == 1 else _conditions(entry)}; give more steps"
    measured = [finding for finding in entry.findings if finding.holds is not None]
    robust = sum(entry.robust(finding) for finding in measured)
    if robust == len(measured):
        return ""
    if len(measured) == 1 and (unsolved := measured[0].unsolved):
        seeds = f"{unsolved} of {measured[0].seeds} seeds"
        return f"{seeds} never solved the task, so the mean over the others is only a lower bound"
    if len(measured) == 1:
        return SINGLE_SEED if len(measured[0].values) == 1 else "more seeds could change this"
    others = "the other" if robust == len(measured) - 1 else "the others"
    return f"robust in {robust or 'none'} of {len(measured)} conditions" + (
        f"; more seeds could change {others}" if robust else "; more seeds could change this"
    )


def _conditions(entry: Entry) -> str:
    undecided = sum(bool(finding.learning) for finding in entry.findings)
    return f"in {undecided} of {sum(finding.holds is not None for finding in entry.findings)} conditions"


def _condition(finding: Finding, entry: Entry) -> str:
    """Return the name of a condition: its factors without default options and usual protocol values.

    A protocol value is usual if more than half of the conditions have it. If no factor is left, the name is `all
    defaults`, or the architecture if there is a single condition.
    """
    parts = []
    for name, value in finding.factors.items():
        others = [other.factors[name] for other in entry.findings]
        usual = name.removeprefix(AGAINST_PREFIX) in Protocol.model_fields and 2 * others.count(value) > len(others)
        if value != DEFAULT_OPTION and not usual:
            parts.append(f"{name}={value}")
    return ", ".join(parts) or (finding.arch if len(entry.findings) == 1 else "all defaults")


def _value(finding: Finding, claim: Claim) -> str:
    interval = finding.interval
    assert interval is not None
    text, count = _number(interval.middle, claim), len(finding.values)
    if isfinite(interval.low) and not claim.exact:
        lowest, highest = claim.range
        text += f" ({_number(max(interval.low, lowest), claim)} to {_number(min(interval.high, highest), claim)})"
    seeds = numbers.plural(count, "seed") + ("" if count == finding.seeds else f" of {finding.seeds}")
    some = ""
    if finding.holding < count and (finding.holding or finding.holds):
        some = f", holds for {finding.holding or 'none'}"
    return f"{text}, {seeds}{some}"


def _number(value: float, claim: Claim) -> str:
    """Format a value with three decimals, or without decimals if its magnitude is at least 100.

    Numbers of sequences have no decimals. From a magnitude of 100, whole numbers keep all digits, and other values have
    three significant digits. Below 100, up to `MAX_DECIMALS` decimals are used if rounding to three decimals moves the
    value across a bound.
    """
    if value == int(value) and abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return numbers.significant(value)
    if claim.range == (0.0, inf):
        return f"{value:z.0f}"
    decimals = 3
    while decimals < MAX_DECIMALS and claim.holds(round(value, decimals)) != claim.holds(value):
        decimals += 1
    return f"{value:z.{decimals}f}"
