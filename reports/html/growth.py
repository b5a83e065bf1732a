"""The section on growth and limits, as its template reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.analysis.groups import Group
from reports.analysis.growth import crossover_rows, growth_rows, stream_costs
from reports.text import growth as text


def growth_section(found: Sequence[Group]) -> dict[str, Any] | None:
    """What `growth.html.jinja` shows; None where nothing was streamed at two positions."""
    costs = stream_costs(found)
    if not costs:
        return None
    rows = growth_rows(costs)
    return {
        "rows": rows,
        "sentences": text.growth_sentences(rows, crossover_rows(costs, rows)),
        "verdict": text.verdict,
        "percent_interval": text.percent_interval,
        "nanoseconds_interval": text.nanoseconds_interval,
        "explanation": text.EXPLANATION,
    }
