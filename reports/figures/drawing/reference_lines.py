"""Horizontal lines at the scores of strategies without a memory, and of partial strategies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from reports.analysis.groups import Group
from reports.figures.drawing.canvas import INK, PALE
from reports.figures.drawing.paper import LEGEND_PREFIX, is_in_column
from reports.figures.drawing.scale import Scale, current_scale
from reports.format.numbers import short_score
from results import ReferenceScores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

Heights = dict[int, float]
"""The score of a strategy by test length."""

CHANCE_DASH = (0, (1, 1.5))
MEMORYLESS_DASH = (0, (4, 2))
STRATEGY_DASH = (0, (1, 4))
STRATEGY = "partial strategy"
"""The name of all partial strategies in a legend, which shows no heights to tell them apart."""
STRATEGY_DISTANCE = 0.03
"""A partial strategy has a line only if its score is at least this far from those of all other lines of the panel."""
LABEL_GAP: dict[Scale, float] = {"page": 0.15, "slide": 0.25}
"""The smallest distance between the labels of two lines, in units of the score. Labels of two lines of text need it.
The panels of a slide are lower."""
STRATEGIES_EXPLAINED = (
    " A pale dotted line is a partial strategy, which uses some of the past but not all that the task asks for."
)


def reference_lines(axes: Axes, rivals: Sequence[Group], lengths: Sequence[int]) -> None:
    """Draw lines for chance, the memoryless baseline and partial strategies, and name them.

    The scores are taken from `rivals` at the test `lengths`. If a score is the same at all lengths, its line spans the
    whole panel.
    """
    by_length = _references(rivals, lengths)
    chance = {length: reference.chance for length, reference in by_length.items()}
    memoryless = {
        length: reference.memoryless_score
        for length, reference in by_length.items()
        if reference.memoryless_score is not None
    }
    lines = []
    for name, heights, colour, dash in (
        ("chance", chance, INK, CHANCE_DASH),
        ("memoryless baseline", memoryless, INK, MEMORYLESS_DASH),
        *(
            (STRATEGY if is_in_column() else name, own, PALE, STRATEGY_DASH)
            for name, own in _strategies(by_length, [chance, memoryless])
        ),
    ):
        if heights:
            x = sorted(heights)
            if len(set(heights.values())) == 1:
                line = axes.axhline(heights[x[0]], color=colour, linewidth=0.9, linestyle=dash, zorder=1)
            else:
                y = [heights[at] for at in x]
                (line,) = axes.plot(x, y, color=colour, linewidth=0.9, linestyle=dash, zorder=1)
            lines.append((line, heights[x[-1]], name, short_score(heights[x[-1]])))
    _name_lines(axes, lines)


def _name_lines(axes: Axes, lines: Sequence[tuple[Line2D, float, str, str]]) -> None:
    """Write the names and the values of horizontal lines beside the right edge, at least `LABEL_GAP` apart.

    In a column of a paper there is no room for names beside a panel, and inside it they would cover what is drawn. So
    the legend names the lines there.

    Args:
        axes: The panel.
        lines: Per line, the line, its height at the right edge in data units, its name and its value as text.
    """
    if is_in_column():
        for line, _, name, _ in lines:
            line.set_label(f"{LEGEND_PREFIX}{name}")
        return
    previous = -float("inf")
    for _, height, name, value in sorted(lines, key=lambda each: (each[1], each[2])):
        previous = max(height, previous + LABEL_GAP[current_scale()])
        axes.annotate(
            f"{chr(10).join(name.rsplit(' ', 1))} {value}",
            xy=(1, previous),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            ha="left",
            va="center",
            fontsize=7.5,
            color=INK,
        )


def strategies_explained(groups: Iterable[Group]) -> str:
    """Return a sentence for the caption that explains the lines of partial strategies, or "" if no panel has one."""
    has_strategy = any(strategy_scores(reference) for group in groups if (reference := group.reference()) is not None)
    return STRATEGIES_EXPLAINED if has_strategy else ""


def strategy_scores(reference: ReferenceScores) -> dict[str, float]:
    """Return the scores of the partial strategies that have a line beside those of `reference`, by name."""
    others = [{reference.length: reference.chance}]
    if reference.memoryless_score is not None:
        others.append({reference.length: reference.memoryless_score})
    return {name: heights[reference.length] for name, heights in _strategies({reference.length: reference}, others)}


def _references(rivals: Sequence[Group], lengths: Sequence[int]) -> dict[int, ReferenceScores]:
    references = [group.reference(length) for length in lengths for group in rivals]
    return {reference.length: reference for reference in references if reference is not None}


def _strategies(by_length: dict[int, ReferenceScores], drawn: list[Heights]) -> list[tuple[str, Heights]]:
    """Return the partial strategies that need a line of their own, the best first.

    Args:
        by_length: The reference scores by test length.
        drawn: The heights of the lines that are drawn already.
    """
    heights: dict[str, Heights] = {}
    for length, reference in by_length.items():
        for strategy in reference.strategies:
            if strategy.score is not None:
                heights.setdefault(strategy.name, {})[length] = strategy.score
    needed: list[tuple[str, Heights]] = []
    for name, own in sorted(heights.items(), key=lambda item: -max(item[1].values())):
        others = [*drawn, *(other for _, other in needed)]
        if all(_distance(own, other) >= STRATEGY_DISTANCE for other in others):
            needed.append((name, own))
    return needed


def _distance(heights: Heights, other: Heights) -> float:
    """Return the largest distance of two lines over their common lengths; infinity if they have none."""
    return max((abs(heights[length] - other[length]) for length in heights.keys() & other.keys()), default=float("inf"))
