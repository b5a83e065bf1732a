"""The variables of the first section: the overview, the main figure, the recommendation and the limits."""

from __future__ import annotations

from typing import Any

from reports.analysis.memory_share import shared_settings
from reports.html.needs import answer_values
from reports.html.page_data import PageData
from reports.text.losses import loss_note
from reports.text.recommendation import exceptions, left_out, recommendation_sentences

BESIDE_INCHES = 7.4
"""The largest width in inches of a main figure that stands beside the overview."""


def overview_values(data: PageData) -> dict[str, Any] | None:
    """Return the variables of the overview, or None if there is neither an overview, a figure nor a recommendation."""
    recommended = recommendation_sentences(data.frontier)
    limits = answer_values(data.frontier, data.needs, " ".join(recommended))
    if not (data.overview or data.main_figure or recommended or limits["needs_data"] or limits["needs_answer"]):
        return None
    members = data.frontier.members()
    is_choice = len(data.frontier.candidates) > 1 and len(members) == 1 and not data.frontier.could_change()
    return {
        "overview": data.overview,
        "figures": [] if data.main_figure is None else [data.main_figure],
        "beside_inches": BESIDE_INCHES,
        "is_called": data.is_called,
        "settings": list(shared_settings(data.groups)),
        "recommendation": recommended[0] if recommended else "",
        "reasons": " ".join(recommended[1:]),
        "frontier": [row.arch for row in members],
        "is_single_choice": is_choice,
        "exceptions": exceptions(data.groups, data.frontier),
        **limits,
        "left_out": left_out(data.groups, data.overview),
        "loss_note": loss_note(data.groups),
    }
