"""The section on growth and limits, as its template reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports import _growth
from reports._series import Group


def growth_section(found: Sequence[Group]) -> dict[str, Any] | None:
    """What `parts/growth.html.jinja` shows; None where nothing was streamed at two positions."""
    costs = _growth.stream_costs(found)
    if not costs:
        return None
    rows = _growth.growth_rows(costs)
    return {
        "rows": rows,
        "sentences": _growth.growth_sentences(rows, _growth.crossover_rows(costs, rows)),
        "verdict": _growth.verdict,
        "percent_interval": _growth.percent_interval,
        "nanoseconds_interval": _growth.nanoseconds_interval,
        "explanation": _growth.EXPLANATION,
    }
