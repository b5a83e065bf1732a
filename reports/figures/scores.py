"""The figure of scores by architecture, for runs that test models only at the trained length."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import ceil
from statistics import fmean
from typing import TYPE_CHECKING

from reports.analysis.groups import Group, archs_of
from reports.analysis.memory_share import no_memory_score
from reports.figures.drawing.alternative_text import extreme, name_all
from reports.figures.drawing.axes import score_label
from reports.figures.drawing.canvas import (
    INK,
    LETTER_INCHES,
    PALE,
    Figure,
    PlotStyle,
    empty_figure,
    figure_style,
    finish_figure,
    plot_styles,
)
from reports.figures.drawing.paper import drawn_width
from reports.figures.drawing.reference_lines import (
    CHANCE_DASH,
    MEMORYLESS_DASH,
    STRATEGY_DASH,
    strategies_explained,
    strategy_scores,
)
from reports.figures.drawing.tables import figure_table, with_interval
from reports.format import numbers
from results import ReferenceScores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_COLUMNS = 2
ROW_HEIGHT = 0.27
"""The height in inches of a row whose label fits on one line."""
LABEL_LETTERS = 34
"""The largest number of letters in a line of a label."""
LABEL_SHARE = 0.45
"""The largest share of the width of the figure that labels take."""


def score_by_architecture_figure(groups: Sequence[Group], *, width: float) -> Figure | None:
    """Draw the scores of every architecture at the trained length, one panel per task and length.

    `width` is the width of the figure in inches. Returns None if no group has scores.
    """
    scored = [group for group in groups if group.scores()]
    if not scored:
        return None
    styles = plot_styles(archs_of(groups))
    archs = archs_of(scored)
    settings = list(dict.fromkeys((group.task, group.length) for group in scored))
    columns = min(MAX_COLUMNS, len(settings))
    rows = ceil(len(settings) / columns)
    with figure_style():
        letters = min(LABEL_LETTERS, int(LABEL_SHARE * drawn_width(width) / LETTER_INCHES))
        labels = [numbers.wrap_label(arch, letters) for arch in archs]
        heights = [max(1.0, 0.25 + 0.6 * (1 + label.count("\n"))) for label in labels]
        ends = accumulate(heights)
        middles = {arch: end - height / 2 for arch, end, height in zip(archs, ends, heights, strict=True)}
        figure = empty_figure(width, 0.45 + rows * (0.55 + ROW_HEIGHT * sum(heights)))
        all_axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
        panels = []
        for index, setting in enumerate(settings):
            axes = all_axes[index // columns, index % columns]
            rivals = [group for group in scored if (group.task, group.length) == setting]
            _draw_panel(axes, rivals, middles, styles)
            axes.set_title(f"{numbers.shortened(setting[0], 30)} at {setting[1]:,}")
            axes.set_yticks(list(middles.values()), labels=labels)
            panels.append({group.arch: fmean(group.scores()) for group in rivals})
        for index in range(len(settings), rows * columns):
            all_axes[index // columns, index % columns].set_axis_off()
        all_axes[0, 0].set_ylim(sum(heights) + 0.1, -0.1)
        figure.supxlabel(score_label(), fontsize=9)
        return finish_figure(
            figure,
            name="score-by-architecture",
            title="Score by architecture",
            alternative=f"Scores of {name_all(archs)} at the trained length; the mean score is {extreme(panels)}.",
            description="; ".join(_describe(group) for group in scored),
            table=figure_table(
                ("architecture", "task", "length", "score (95% interval)", "seeds"),
                (
                    (
                        group.arch,
                        group.task,
                        numbers.count(group.length),
                        with_interval(group.interval()),
                        numbers.count(len(group.scores())),
                    )
                    for group in scored
                ),
            ),
            how_to_read=(
                "Markers are means over seeds with 95% intervals, and dots are single seeds. The dotted line is "
                "chance and the dashed line is the memoryless baseline. A model whose score stays at these lines "
                "shows no memory by its score; its loss may show some." + strategies_explained(scored)
            ),
            keeps_height=True,
        )


def _draw_panel(axes: Axes, rivals: Sequence[Group], middles: dict[str, float], styles: dict[str, PlotStyle]) -> None:
    references = [reference for group in rivals if (reference := group.reference()) is not None]
    _draw_reference(axes, references[0] if references else None)
    for group in rivals:
        y, style, mean = middles[group.arch], styles[group.arch], group.interval()
        axes.plot([max(mean.low, 0), min(mean.high, 1)], [y, y], color=style.colour, linewidth=1.4, zorder=2)
        axes.plot(group.scores(), [y] * len(group.scores()), ".", color=style.colour, markersize=4, alpha=0.7, zorder=2)
        axes.plot([mean.middle], [y], color=style.colour, marker=style.marker, linestyle="none", zorder=3)
    scores = [score for group in rivals for score in group.scores()]
    low = min([*scores, *(reference.chance for reference in references[:1])])
    axes.set_xlim(max(0.0, low - 0.08), 1.02)
    axes.locator_params(axis="x", nbins=5)


def _draw_reference(axes: Axes, reference: ReferenceScores | None) -> None:
    if reference is None:
        return
    axes.axvline(reference.chance, color=INK, linewidth=0.9, linestyle=CHANCE_DASH, zorder=1)
    if no_memory_score(reference) > reference.chance:
        axes.axvline(no_memory_score(reference), color=INK, linewidth=0.9, linestyle=MEMORYLESS_DASH, zorder=1)
    for score in strategy_scores(reference).values():
        axes.axvline(score, color=PALE, linewidth=0.9, linestyle=STRATEGY_DASH, zorder=1)


def _describe(group: Group) -> str:
    mean = group.interval()
    return f"{group.task} at {group.length}, {group.arch}: {mean.middle:.2f} ({mean.low:.2f} to {mean.high:.2f})"
