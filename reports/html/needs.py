"""The data with which the script of the page answers to the reader's limits, and the answer without the script."""

from __future__ import annotations

import json
from typing import Any

from reports.analysis.frontier import QUANTITIES, Frontier, Needs, cost_of, label
from reports.analysis.overview import OverviewRow
from reports.text.needs import answer, cost_in_words, exactly, notes, rounded_up, summary


def answer_values(frontier: Frontier, needs: Needs) -> dict[str, Any]:
    """Return the variables of the template: `needs_data`, `needs_answer` and `limits`.

    `needs_data` is a JSON document with the numbers and the words of each candidate. It is empty without candidates, so
    that the page shows no fields. `needs_answer` are the sentences for `needs`. `limits` are the texts of the fields,
    empty without a limit.
    """
    return {
        "needs_data": json.dumps(_document(frontier), ensure_ascii=False) if frontier.candidates else "",
        "needs_answer": answer(frontier, needs),
        "limits": dict.fromkeys(QUANTITIES, "")
        | {quantity: exactly(quantity, limit) for quantity, limit in needs.limits().items()},
    }


def _document(frontier: Frontier) -> dict[str, Any]:
    names = [row.arch for row in frontier.candidates]
    return {
        "candidates": [_candidate(row) for row in frontier.candidates],
        "beats": sorted([names.index(better), names.index(worse)] for better, worse in frontier.beats),
        "notes": notes(frontier),
    }


def _candidate(row: OverviewRow) -> dict[str, Any]:
    costs = {quantity: cost_of(row, quantity) for quantity in QUANTITIES}
    return {
        "arch": row.arch,
        "label": label(row),
        "is_ranked": row.has_ranked_cost,
        "first": summary(row, is_first=True),
        "short": summary(row, is_first=False),
        "costs": costs,
        "words": {quantity: cost_in_words(row, quantity) for quantity in QUANTITIES},
        "raised": {quantity: "" if cost is None else rounded_up(quantity, cost) for quantity, cost in costs.items()},
    }
