"""The figure that a reader sees first: who remembers over what distance, in as few panels as fit one screen."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.groups import Group
from reports.figures.accuracy import accuracy_against_length_figure
from reports.figures.canvas import Figure
from reports.figures.overview import memory_share_against_length_figure
from reports.figures.scores import score_by_architecture_figure

MAX_PANELS = 6
MAX_SHOWN = 60
"""With more panels than this nobody finds one: the tables have the numbers, and each case its curve."""
WIDTH = 7.4
"""Inches across, of a figure with the streaming figure at its side."""


def headline_figures(found: Sequence[Group]) -> tuple[Figure | None, Figure | None]:
    """The first figure of the page, and the figure of every task where the first one cannot show them all."""
    scored = [group for group in found if group.evaluated_lengths()]
    if not scored:
        return None, None
    if all(len(group.evaluated_lengths()) == 1 for group in scored):
        return score_by_architecture_figure(found, across=WIDTH), None
    if few_panels(scored, MAX_PANELS):
        return accuracy_against_length_figure(found, across=None if few_panels(scored, 1) else WIDTH), None
    first = memory_share_against_length_figure(found)
    return first, accuracy_against_length_figure(found) if few_panels(scored, MAX_SHOWN) else None


def few_panels(found: Sequence[Group], most: int) -> bool:
    """Whether a panel for each task and trained length makes no more than `most`."""
    return len({(group.task, group.length) for group in found}) <= most
