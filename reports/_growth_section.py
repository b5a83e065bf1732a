"""The section on growth and limits, as its template reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports import _growth, _limits
from reports._series import Group


def growth_section(found: Sequence[Group]) -> dict[str, Any] | None:
    """What `parts/growth.html.jinja` shows; None where nothing was streamed at two positions."""
    rows = _growth.growth_rows(found)
    if not rows:
        return None
    shares = _limits.step_shares(found)
    return {
        "rows": rows,
        "sentences": _growth.growth_sentences(found),
        "shares": shares,
        "positions": sorted({position for kept in shares.values() for position in kept}),
        "verdict": _growth.verdict,
        "percent_interval": _growth.percent_interval,
        "nanoseconds_interval": _growth.nanoseconds_interval,
        "percent": _limits.percent,
        "explanation": _growth.EXPLANATION,
        "limit_explanation": _limits.EXPLANATION,
    }
