"""The answer to a user's limits: what they exclude, what is left, and what to choose.

The script of the page gives the same answer in the same words: see `reports/html/page.js`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from reports.analysis.frontier import (
    STILL_LEARNING,
    Frontier,
    Needs,
    Quantity,
    Relaxation,
    closest,
    cost_of,
    excluded_by,
    frontier,
    has_clear_memory,
    label,
    relaxations,
)
from reports.analysis.groups import group_cases
from reports.analysis.overview import OverviewRow, overview_rows
from reports.format.numbers import count, duration, listed, memory_share, significant, size
from results import Record, RunFile

NOTHING_TO_CHOOSE = (
    "There is nothing to choose from: no architecture of this run has both a streamed step and a memory share that can "
    "be compared."
)
"""The answer for a run without candidates of which nothing else is known."""
NO_CANDIDATE = "There is nothing to choose from."
"""The answer for a run whose streamed architectures are all left out. The reasons follow."""
BY_COST_ONLY = (
    "Nothing is known of their memory, because no model has a score: run the plan with training and the probe accuracy "
    "to choose."
)
"""The end of the answer for a run without memory shares."""
NONE_EXCLUDED = "none of those considered"
"""What a limit excludes that excludes nothing. The script of the page has the same words."""
UNITS: dict[Quantity, str] = {"state_bytes": "of state", "step_seconds": "per step", "parameters": "parameters"}
"""What follows an amount in a sentence."""
NAMES: dict[Quantity, str] = {"state_bytes": "state", "step_seconds": "step", "parameters": "parameters"}
"""What a limit is called in a sentence."""
SIZE_UNITS = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "B": 1}
TIME_UNITS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}
LIMIT_DIGITS = 12
"""Limits are printed with at most this many digits, so that rounding errors do not show."""
AS_OPTION = str.maketrans({" ": None, ",": None, "µ": "u"})
"""Turns an amount into the value of an option: `5.01 µs` into `5.01us`."""


def answer_needs(
    run: RunFile, records: Sequence[Record], needs: Needs, options: Mapping[Quantity, str] | None = None
) -> list[str]:
    """Return the sentences of `answer` for a run.

    Args:
        run: The run.
        records: The records of the run.
        needs: The limits.
        options: The options that set the limits, such as `--max-step 5us`; None to describe the limits in words.
    """
    groups = group_cases(run, records)
    return answer(frontier(groups, overview_rows(groups)), needs, options)


def answer(choice: Frontier, needs: Needs, options: Mapping[Quantity, str] | None = None) -> list[str]:
    """Return sentences on what the limits leave, the choice among it, and what each limit excludes.

    If more training of what is left could change the choice, the sentences name a provisional frontier instead. If
    nothing is left, they say which single limit to relax, and by how much. The list is empty without limits.

    Args:
        choice: The frontier of the run.
        needs: The limits.
        options: The options that set the limits, such as `--max-step 5us`; None to describe the limits in words.
    """
    if not needs.limits():
        return []
    considered = choice.considered
    if choice.unscored:
        return _answer_by_costs(choice.unscored, needs, options)
    if not considered:
        return [NO_CANDIDATE, *notes(choice)] if choice.left_out else [NOTHING_TO_CHOOSE]
    left = [row for row in considered if not excluded_by(row, needs)]
    sentences = [
        f"Within the limits: {listed([label(row) for row in left]) if left else 'none'}.",
        *(_choice(choice, left) if left else [_relaxation(considered, needs, options)]),
        *_exclusions(considered, needs, options),
    ]
    return [*sentences, *notes(choice)]


def _answer_by_costs(rows: Sequence[OverviewRow], needs: Needs, options: Mapping[Quantity, str] | None) -> list[str]:
    """Return the sentences for a run without memory shares: which costs are within the limits."""
    left = [row for row in rows if not excluded_by(row, needs)]
    costs = [
        f"{row.arch} ({amount('state_bytes', row.state_bytes)} of state, {cost_in_words(row, 'step_seconds')})"
        for row in left
    ]
    return [
        f"Within the limits by cost: {listed(costs) if costs else 'none'}.",
        *([] if left else [_relaxation(rows, needs, options)]),
        *_exclusions(rows, needs, options),
        BY_COST_ONLY,
    ]


def _exclusions(considered: Sequence[OverviewRow], needs: Needs, options: Mapping[Quantity, str] | None) -> list[str]:
    """Return a sentence per limit on the architectures that it excludes."""
    sentences = []
    for quantity, limit in needs.limits().items():
        name = f"A limit of {exactly(quantity, limit)} {UNITS[quantity]}" if options is None else options[quantity]
        excluded = [
            f"{row.arch} ({cost_in_words(row, quantity)})" for row in considered if quantity in excluded_by(row, needs)
        ]
        sentences.append(f"{name} excludes {listed(excluded) if excluded else NONE_EXCLUDED}.")
    return sentences


def summary(row: OverviewRow, *, is_first: bool) -> str:
    """Return memory share, state and step cost: `88% memory share, 640 B of state, 1.20 µs per step`.

    The words are left out unless `is_first`: `88%, 640 B, 1.20 µs`. Interpreted steps are marked. If only single models
    show memory, and not the interval of their mean, the text says so: `38% memory share, seen in 2 of 6 models, 95%
    interval includes 0`.
    """
    share = memory_share(row.share, row.high)
    seen = f", seen in {row.using} of {row.models} models, 95% interval includes 0"
    source = seen if row.shows_memory and row.low <= 0 else ""
    state, step = amount("state_bytes", row.state_bytes), amount("step_seconds", row.step_seconds)
    mark = " interpreted" if row.cost is not None and row.cost.timing == "interpreted" else ""
    if is_first:
        return f"{share} memory share{source}, {state} of state, {step} per{mark} step"
    return f"{share}{source}, {state}, {step}{mark}"


def summaries(rows: Sequence[OverviewRow]) -> str:
    """Return one or more architectures to choose from, with summaries. Only the first summary has its words."""
    names = [f"{row.arch} ({summary(row, is_first=row is rows[0])})" for row in rows]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def amount(quantity: Quantity, value: float | None) -> str:
    """Format a cost with its unit: `8.0 MiB`, `5.00 µs`, `20,123`. None becomes a dash."""
    if quantity == "state_bytes":
        return size(value)
    if value is None:
        return "—"
    return duration(value) if quantity == "step_seconds" else count(round(value))


def exactly(quantity: Quantity, limit: float) -> str:
    """Return a limit without rounding, in its largest unit: `20 KiB`, `1,500 B`, `5 µs`, `20,000`."""
    if quantity == "parameters":
        return count(round(limit))
    if quantity == "state_bytes":
        name, unit = next((name, unit) for name, unit in SIZE_UNITS.items() if limit % unit == 0)
        return f"{limit / unit:,.0f} {name}"
    name, seconds = next(((name, unit) for name, unit in TIME_UNITS.items() if limit >= unit), ("ns", 1e-9))
    return f"{limit / seconds:.{LIMIT_DIGITS}g} {name}"


def rounded_up(quantity: Quantity, value: float) -> str:
    """Format a cost such that a limit of the printed amount is at least `value`: `8.1 MiB`, `5.01 µs`, `20,123`."""
    if quantity == "parameters":
        return amount(quantity, value)
    if quantity == "step_seconds":
        if value <= 0:
            return duration(value)
        unit = 10.0 ** (math.floor(math.log10(value)) - 2)
        return duration(_ceiling(value / unit) * unit)
    power = min(int(math.log2(max(value, 1))) // 10, 3)
    unit = 1024.0**power if power == 0 or value >= 100 * 1024**power else 1024.0**power / 10
    return size(_ceiling(value / unit) * unit)


def cost_in_words(row: OverviewRow, quantity: Quantity) -> str:
    """Return a cost with the position at which it was measured: `159 µs at position 8,192`."""
    value = cost_of(row, quantity)
    if value is None:
        return "not measured"
    if quantity == "parameters" or row.cost is None:
        return amount(quantity, value)
    how = ", interpreted" if quantity == "step_seconds" and row.cost.timing == "interpreted" else ""
    return f"{amount(quantity, value)} at position {row.cost.position:,}{how}"


def notes(choice: Frontier) -> list[str]:
    """Return the sentences that follow any answer: where costs are compared, and what is not considered."""
    return list(filter(None, [compared_where(choice), not_considered(choice)]))


def described(row: OverviewRow, *, is_first: bool) -> str:
    """Return the `summary` of an architecture, with a mark if it was still learning."""
    return summary(row, is_first=is_first) + (f"; {STILL_LEARNING}" if row.undecided else "")


def compared_where(choice: Frontier) -> str:
    """Return a sentence on the position at which costs are compared, if some architecture was measured further.

    If the architectures share no position, the sentence says so. The text is empty if all have the same last position.
    """
    rows = choice.considered
    if len({row.costs[-1].position for row in rows} | {row.compared_at for row in rows}) < 2:
        return ""
    if rows[0].compared_at is None:
        return "The architectures were measured at no common position, so costs at different ones are not compared."
    return f"Position {rows[0].compared_at:,} is the last at which all streamed architectures were measured."


def not_considered(choice: Frontier) -> str:
    """Return a sentence on the streamed architectures that are not considered. The text is empty if all are."""
    names = [f"{arch} ({reason})" for arch, reason in choice.left_out.items()]
    return f"Not considered: {listed(names)}." if names else ""


def _choice(choice: Frontier, left: Sequence[OverviewRow]) -> list[str]:
    if changing := choice.could_change(left):
        names = listed([row.arch for row in changing])
        found = choice.members([row for row in left if has_clear_memory(row)])
        described_rows = [f"{row.arch} ({described(row, is_first=row is found[0])})" for row in found]
        return [
            f"No choice yet: more training of {names} could change it.",
            *([f"Provisional frontier: {listed(described_rows)}."] if found else []),
        ]
    members = choice.members([row for row in left if not row.undecided])
    beaten = [label(row) for row in left if row not in members]
    choose = "Choose" if len(members) == 1 else "Choose by what matters most:"
    rest = [f"Beaten by {'it' if len(members) == 1 else 'one of these'}: {listed(beaten)}."] if beaten else []
    return [f"{choose} {summaries(members)}.", *rest]


def _relaxation(considered: Sequence[OverviewRow], needs: Needs, options: Mapping[Quantity, str] | None) -> str:
    """Return a sentence on the single limits that let an architecture through, smallest relative change first."""
    if found := relaxations(considered, needs):
        parts = [f"{_raised(each, options)}, which leaves {listed(list(each.archs))}" for each in found]
        return f"Raise one limit: {'; or '.join(parts)}."
    if nearest := closest(considered, needs):
        parts = [_raised(each, options) for each in nearest]
        return f"No single limit is enough. Closest is {nearest[0].archs[0]}: raise {listed(parts)}."
    return "No architecture has all these costs measured."


def _raised(relaxation: Relaxation, options: Mapping[Quantity, str] | None) -> str:
    """Return a limit with its new amount: `step to 5.01 µs (1.67 times)` or `--max-step to 5.01us (1.67 times)`."""
    name, text = NAMES[relaxation.quantity], rounded_up(relaxation.quantity, relaxation.value)
    if options is not None:
        name, text = options[relaxation.quantity].split()[0], text.translate(AS_OPTION)
    return f"{name} to {text} ({significant(relaxation.ratio)} times)"


def _ceiling(value: float) -> float:
    """Return the smallest whole number that is at least `value`, up to rounding errors."""
    return math.ceil(value * (1 - 1e-9))
