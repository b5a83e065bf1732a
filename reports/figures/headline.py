"""The first figure of a page: scores, or mean memory shares if the scores need too many panels."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.groups import Group
from reports.figures.accuracy import accuracy_against_length_figure
from reports.figures.drawing.canvas import Figure
from reports.figures.memory_share import memory_share_against_length_figure
from reports.figures.scores import score_by_architecture_figure

MAX_PANELS = 6
"""With more panels than this, the first figure shows means over tasks."""
MAX_SHOWN = 60
"""With more panels than this, a figure is omitted because it is unreadable."""
WIDTH = 7.4
"""The width in inches of a figure next to the streaming figure."""
MAX_TASKS_BESIDE = 3
"""With more tasks than this, panels next to the streaming figure would be too narrow, so the figure takes the width of
the page."""


def headline_figures(groups: Sequence[Group]) -> tuple[Figure | None, Figure | None]:
    """Return the first figure of the page, and a detailed figure if the first shows only means over tasks.

    The first figure is None if there is nothing to draw. The detailed figure is None if the first figure shows every
    task, or if there are more than `MAX_SHOWN` panels.
    """
    scored = [group for group in groups if group.evaluated_lengths()]
    if not scored:
        return None, None
    if all(len(group.evaluated_lengths()) == 1 for group in scored):
        return score_by_architecture_figure(groups, width=WIDTH), None
    if few_panels(scored, MAX_PANELS):
        is_beside = not few_panels(scored, 1) and len({group.task for group in scored}) <= MAX_TASKS_BESIDE
        return accuracy_against_length_figure(groups, width=WIDTH if is_beside else None), None
    first = memory_share_against_length_figure(groups)
    return first, accuracy_against_length_figure(groups) if few_panels(scored, MAX_SHOWN) else None


def few_panels(groups: Sequence[Group], limit: int) -> bool:
    """Return whether a figure with one panel per task and trained length has at most `limit` panels."""
    return len({(group.task, group.length) for group in groups}) <= limit
