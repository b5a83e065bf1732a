"""Learning rates in words: where they came from, which lie at the edge of their grid, and what tuning cost."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.learning_rates import RateRow, TuningCost
from reports.format.numbers import duration, listed, plural

MAX_NAMED = 4
"""A sentence names at most this many architectures with their settings. The others are only counted."""


def sources(rows: Sequence[RateRow]) -> list[str]:
    """Return sentences that say where the learning rates of a run came from. The list is empty without rows."""
    sentences = []
    grids = {tuple(result.learning_rate for result in row.results): row for row in rows if row.source == "tuned"}
    for grid, row in grids.items():
        seeds = max((len(result.scores) + result.diverged + result.missing for result in row.results), default=0)
        sentences.append(
            f"Learning rates were chosen from {listed([f'{rate:g}' for rate in grid])} per architecture, task and "
            f"length, by the mean validation score of {plural(seeds, 'seed')} that {_are(seeds)} not reported."
        )
    fixed = [row for row in rows if row.source == "plan"]
    rates = sorted({row.learning_rate for row in fixed if row.learning_rate is not None})
    if fixed and len(rates) == 1:
        sentences.append(f"The plan fixes the learning rate of {_subject(fixed, rows)} at {rates[0]:g}.")
    elif fixed and rates:
        sentences.append(
            f"The plan fixes the learning rates of {_subject(fixed, rows)}, from {rates[0]:g} to {rates[-1]:g}."
        )
    finders = list(dict.fromkeys(row.found_by for row in fixed if row.found_by is not None))
    if finders:
        sentences.append(f"According to the plan, they were found by {listed(finders)}.")
    return sentences


def edge_warning(rows: Sequence[RateRow]) -> str:
    """Return a sentence that names the rates at the edge of their grid; empty if there is none.

    Both rates of a grid of two lie at its edge, which the sentence says once.
    """
    at_edge_rows = [row for row in rows if row.edge]
    if at_edge_rows and all(len(row.results) == 2 for row in at_edge_rows):
        return "The grid has only two learning rates, so that both lie at its edge: a wider grid may find better ones."
    at_edge = [f"{_place(row)} ({row.learning_rate:g}, the {row.edge})" for row in at_edge_rows]
    if not at_edge:
        return ""
    where = _named(at_edge)
    return f"The best learning rate lies at the edge of the grid for {where}: a wider grid may find a better one."


def missing_warning(rows: Sequence[RateRow]) -> str:
    """Return a sentence that counts the tuning cases without a usable record; empty if there is none."""
    incomplete = [f"{_place(row)} ({row.missing} of {_planned(row)})" for row in rows if row.missing]
    if not incomplete:
        return ""
    return f"Tuning cases failed or are missing for {_named(incomplete)}: these rates were chosen from the others."


def cost_sentence(cost: TuningCost | None) -> str:
    """Return a sentence that says what tuning cost; empty if there was none."""
    if cost is None:
        return ""
    return (
        f"Tuning trained {plural(cost.cases, 'case')} in {duration(cost.seconds)}, "
        f"{cost.share:.0%} of all training time."
    )


def _planned(row: RateRow) -> int:
    return sum(len(result.scores) + result.diverged + result.missing for result in row.results)


def _place(row: RateRow) -> str:
    return f"{row.arch} on {row.task} at {row.length:,}"


def _named(places: Sequence[str]) -> str:
    further = len(places) - MAX_NAMED
    return listed([*places[:MAX_NAMED], *([f"{further} more"] if further > 0 else [])])


def _subject(fixed: Sequence[RateRow], rows: Sequence[RateRow]) -> str:
    archs = list(dict.fromkeys(row.arch for row in fixed))
    return "all architectures" if len(fixed) == len(rows) else listed(archs)


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
