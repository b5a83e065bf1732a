"""Why comparisons have no clear verdict, in one line per reason."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reports.format import numbers
from results.comparison import Comparison, Row

NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
Reason = tuple[str, str]
"""Verdict, and reason without its numbers if they may differ."""


def reasons_in_words(comparison: Comparison) -> list[str]:
    """Return one line per reason for which rows are inconclusive or not comparable, the most frequent first.

    Reasons that differ in their numbers only are one. The line then has the range of each number, and how many more
    repetitions, pairs, files or seeds decide these rows, if this is known:
    `38 rows inconclusive, too few: 1 against 1 process; need 4 more --repeat`.
    """
    groups: dict[Reason, list[Row]] = {}
    for row in comparison.rows:
        if row.reason and row.verdict in ("inconclusive", "not comparable"):
            # The numbers of what is not comparable are values of fields, such as versions.
            masked = NUMBER.sub("#", row.reason) if row.verdict == "inconclusive" else row.reason
            groups.setdefault((row.verdict, masked), []).append(row)
    lines = []
    for (verdict, _), rows in sorted(groups.items(), key=lambda group: -len(group[1])):
        reason = _with_ranges([row.reason for row in rows]) if verdict == "inconclusive" else rows[0].reason
        needed = needed_to_decide(comparison, rows)
        need = f"; need {needed}" if needed else ""
        lines.append(f"{numbers.plural(len(rows), 'row')} {verdict}, {reason}{need}")
    return lines


def needed_to_decide(comparison: Comparison, rows: Sequence[Row]) -> str:
    """Return how many more repetitions, pairs, files or seeds decide those of `rows` that are inconclusive.

    Example: `2 to 5 more --repeat and 3 more --seeds`. The text is empty if no row states such a number.
    """
    parts = []
    repeated = "files per side" if comparison.is_of_files else "pairs" if comparison.in_turns else "--repeat"
    for kind, option in (("timing", repeated), ("score", "--seeds")):
        needed = [
            row.additional_units
            for row in rows
            if row.verdict == "inconclusive" and row.kind == kind and row.additional_units
        ]
        if needed:
            parts.append(f"{_range([f'{count:,}' for count in sorted(needed)])} more {option}")
    return " and ".join(parts)


def _with_ranges(reasons: Sequence[str]) -> str:
    """Return a reason that several texts state with different numbers, with the range of each number."""
    ranges = (
        _range(sorted(values, key=lambda value: float(value.replace(",", ""))))
        for values in zip(*map(NUMBER.findall, reasons), strict=True)
    )
    return NUMBER.sub(lambda _: next(ranges), reasons[0])


def _range(ordered: Sequence[str]) -> str:
    first, last = ordered[0], ordered[-1]
    return first if first == last else f"{first} to {last}"
