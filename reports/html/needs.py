"""The data with which the script of the page answers to the reader's limits, and the answer without the script."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from reports.analysis.frontier import QUANTITIES, Frontier, Needs, cost_of, has_clear_memory, label
from reports.analysis.overview import OverviewRow
from reports.text.needs import NO_CANDIDATE, answer, cost_in_words, described, exactly, notes, rounded_up


def answer_values(frontier: Frontier, needs: Needs, said: str = "") -> dict[str, Any]:
    """Return the variables of the template: `needs_data`, `needs_answer` and `limits`.

    `needs_data` is a JSON document with the numbers and the words of each considered architecture. It is empty if no
    architecture was streamed, so that the page shows no fields. `needs_answer` are the sentences for `needs`. `limits`
    are the texts of the fields, empty without a limit.

    Args:
        frontier: The frontier of the run.
        needs: The limits.
        said: What the page says above the answer. The answer does not repeat its sentences.
    """
    is_streamed = bool(frontier.considered or frontier.left_out)
    repeated = [note for note in notes(frontier) if note in said]
    return {
        "needs_data": json.dumps(_document(frontier, repeated), ensure_ascii=False) if is_streamed else "",
        "needs_answer": [sentence for sentence in answer(frontier, needs) if sentence not in repeated],
        "limits": dict.fromkeys(QUANTITIES, "")
        | {quantity: exactly(quantity, limit) for quantity, limit in needs.limits().items()},
    }


def _document(frontier: Frontier, repeated: Collection[str]) -> dict[str, Any]:
    names = [row.arch for row in frontier.considered]
    return {
        "candidates": [_candidate(row) for row in frontier.considered],
        "beats": _numbered(frontier.beats, names),
        "settled": _numbered(frontier.settled, names),
        "notes": [note for note in notes(frontier) if note not in repeated],
        "no_candidate": NO_CANDIDATE,
    }


def _numbered(pairs: Collection[tuple[str, str]], names: Sequence[str]) -> list[list[int]]:
    return sorted([names.index(better), names.index(worse)] for better, worse in pairs)


def _candidate(row: OverviewRow) -> dict[str, Any]:
    costs = {quantity: cost_of(row, quantity) for quantity in QUANTITIES}
    return {
        "arch": row.arch,
        "label": label(row),
        "is_ranked": row.has_ranked_cost,
        "is_undecided": row.undecided,
        "has_memory": has_clear_memory(row),
        "first": described(row, is_first=True),
        "short": described(row, is_first=False),
        "costs": costs,
        "words": {quantity: cost_in_words(row, quantity) for quantity in QUANTITIES},
        "raised": {quantity: "" if cost is None else rounded_up(quantity, cost) for quantity, cost in costs.items()},
    }
