"""Scores at one length, an architecture a row: for runs whose models are tested at the trained length alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import ceil, isfinite
from typing import TYPE_CHECKING

from reports.analysis.groups import Group, archs_of
from reports.analysis.memory_share import no_memory_score
from reports.figures.canvas import INK, Figure, PlotStyle, figure, finished, plot_styles, style
from reports.format import numbers
from results import ReferenceScores, interval_of_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_COLUMNS = 2
ROW_HEIGHT = 0.27
"""Inches of a label of one line."""
LABEL_LETTERS = 34


def score_by_architecture_figure(found: Sequence[Group], *, across: float) -> Figure | None:
    """A panel per task and length, in each the scores of every architecture; None without scores."""
    kept = [group for group in found if group.scores()]
    if not kept:
        return None
    colours = plot_styles(archs_of(found))
    archs = archs_of(kept)
    places = list(dict.fromkeys((group.task, group.length) for group in kept))
    columns = min(MAX_COLUMNS, len(places))
    rows = ceil(len(places) / columns)
    title = "Score by architecture"
    with style():
        labels = [numbers.wrap_label(arch, LABEL_LETTERS) for arch in archs]
        heights = [max(1.0, 0.25 + 0.6 * (1 + label.count("\n"))) for label in labels]
        ends = accumulate(heights)
        middles = {arch: end - height / 2 for arch, end, height in zip(archs, ends, heights, strict=True)}
        drawn = figure(across, 0.45 + rows * (0.55 + ROW_HEIGHT * sum(heights)))
        every = drawn.subplots(rows, columns, squeeze=False, sharey=True)
        for number, place in enumerate(places):
            axes = every[number // columns, number % columns]
            _panel(axes, [group for group in kept if (group.task, group.length) == place], middles, colours)
            axes.set_title(f"{numbers.shortened(place[0], 30)} at {place[1]:,}")
            axes.set_yticks(list(middles.values()), labels=labels)
        for number in range(len(places), rows * columns):
            every[number // columns, number % columns].set_axis_off()
        every[0, 0].set_ylim(sum(heights) + 0.1, -0.1)
        drawn.supxlabel("score (share answered rightly)", fontsize=9)
        told = "; ".join(_told(group) for group in kept)
        return finished(
            drawn,
            name="score-by-architecture",
            title=title,
            told=told,
            how_to_read=(
                "Each mark is the mean over seeds with its 95% interval, each dot a seed. Dotted: chance. Dashed: an "
                "answer blind to the past; a model that stays on it has not used its memory."
            ),
        )


def _panel(axes: Axes, rivals: Sequence[Group], middles: dict[str, float], colours: dict[str, PlotStyle]) -> None:
    line = next((line for group in rivals if (line := group.reference()) is not None), None)
    scores = [score for group in rivals for score in group.scores()]
    _lines(axes, line)
    for group in rivals:
        y, mark, mean = middles[group.arch], colours[group.arch], interval_of_mean(group.scores())
        if isfinite(mean.low):
            axes.plot([max(mean.low, 0), min(mean.high, 1)], [y, y], color=mark.colour, linewidth=1.4, zorder=2)
        axes.plot(group.scores(), [y] * len(group.scores()), ".", color=mark.colour, markersize=4, alpha=0.7, zorder=2)
        axes.plot([mean.middle], [y], color=mark.colour, marker=mark.marker, linestyle="none", zorder=3)
    low = min([*scores, *([line.chance] if line else [])])
    axes.set_xlim(max(0.0, low - 0.08), 1.02)
    axes.locator_params(axis="x", nbins=5)


def _lines(axes: Axes, line: ReferenceScores | None) -> None:
    if line is None:
        return
    axes.axvline(line.chance, color=INK, linewidth=0.9, linestyle=(0, (1, 1.5)), zorder=1)
    if no_memory_score(line) > line.chance:
        axes.axvline(no_memory_score(line), color=INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)


def _told(group: Group) -> str:
    mean = interval_of_mean(group.scores())
    within = f" ({mean.low:.2f} to {mean.high:.2f})" if isfinite(mean.low) else ""
    return f"{group.task} at {group.length}, {group.arch}: {mean.middle:.2f}{within}"
