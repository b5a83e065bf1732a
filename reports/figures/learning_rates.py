"""The figure of validation scores against learning rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.analysis.groups import Group, archs_of
from reports.analysis.learning_rates import RateRow
from reports.figures.drawing.alternative_text import name_all
from reports.figures.drawing.axes import banded_grid, log_scale, score_axis
from reports.figures.drawing.bands import BACKGROUND, CONTEXT_LINE
from reports.figures.drawing.canvas import INK, Figure, PlotStyle, figure_style, finish_figure, plot_styles
from reports.figures.drawing.tables import figure_table
from reports.format import numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RING_SIZE = 11
"""The size in points of the ring around the chosen rate."""


def learning_rates_figure(groups: Sequence[Group], rows: Sequence[RateRow]) -> Figure | None:
    """Draw the validation scores of tuning against the learning rate, one panel per task and length.

    `rows` are those of `groups`, in the same order. Returns None if no rate was tuned.
    """
    tuned = [row for row in rows if any(result.scores for result in row.results)]
    if not tuned:
        return None
    drawn = {(row.arch, row.task, row.length) for row in tuned}
    shown = [group for group in groups if (group.arch, group.task, group.length) in drawn]
    styles = plot_styles(archs_of(groups))
    with figure_style():
        figure, bands = banded_grid(shown, styles)
        for band, panels in bands:
            for (task, length), axes in panels.items():
                own = [row for row in tuned if (row.task, row.length) == (task, length)]
                for row in own:
                    if row.arch in band.styles:
                        _draw_row(axes, row, band.styles[row.arch])
                    else:
                        axes.plot(*_means(row), **CONTEXT_LINE)
                _rate_axis(axes, sorted({result.learning_rate for row in own for result in row.results}))
                score_axis(axes)
                axes.set_title(f"{numbers.shortened(task, 30)} at {length:,}")
        figure.supxlabel("learning rate", fontsize=9)
        figure.supylabel("validation score", fontsize=9)
        return finish_figure(
            figure,
            name="learning-rates",
            title="Score against learning rate",
            alternative=(
                f"Validation scores of {name_all(archs_of(shown))} against the learning rate; {_main_result(tuned)}."
            ),
            description="; ".join(_describe(row) for row in tuned),
            table=figure_table(
                ("architecture", "task", "length", "learning rate", "validation score", "seeds", "chosen"),
                (
                    (
                        row.arch,
                        row.task,
                        numbers.count(row.length),
                        f"{result.learning_rate:g}",
                        numbers.score(result.mean_score),
                        numbers.count(len(result.scores)),
                        "yes" if result.learning_rate == row.learning_rate else "no",
                    )
                    for row in tuned
                    for result in row.results
                ),
            ),
            how_to_read=(
                "Lines are means over tuning seeds, and dots are single seeds; none of these seeds is reported. A ring "
                "marks the rate with which the reported cases were trained. If it lies at an end of the line, a rate "
                "beyond the grid may be better. Seeds that diverged or failed have no dot."
                + BACKGROUND
                * (len(bands) > 1)
            ),
        )


def _draw_row(axes: Axes, row: RateRow, style: PlotStyle) -> None:
    rates, means = _means(row)
    axes.plot(rates, means, color=style.colour, linestyle=style.dash, marker=style.marker, markersize=4, linewidth=1.4)
    for result in row.results:
        xs = [result.learning_rate] * len(result.scores)
        axes.plot(xs, result.scores, ".", color=style.colour, markersize=3.5, alpha=0.6)
    if row.learning_rate is not None and row.validation_score is not None:
        axes.plot(
            [row.learning_rate],
            [row.validation_score],
            marker="o",
            markersize=RING_SIZE,
            markerfacecolor="none",
            markeredgecolor=style.colour,
            markeredgewidth=1.4,
            linestyle="none",
        )


def _means(row: RateRow) -> tuple[list[float], list[float]]:
    """Return the learning rates that have scores, and their mean scores."""
    scored = [(result.learning_rate, result.mean_score) for result in row.results if result.mean_score is not None]
    return [rate for rate, _ in scored], [mean for _, mean in scored]


def _rate_axis(axes: Axes, rates: Sequence[float]) -> None:
    log_scale(axes, "x")
    axes.set_xticks(rates, labels=[f"{rate:g}" for rate in rates], rotation=30 if len(rates) > 4 else 0)
    axes.minorticks_off()
    axes.set_xlim(rates[0] / 1.5, rates[-1] * 1.5)
    axes.tick_params(axis="x", colors=INK)


def _main_result(rows: Sequence[RateRow]) -> str:
    at_edge = sum(bool(row.edge) for row in rows)
    if not at_edge:
        return "every best rate lies inside the grid"
    return f"the best rate lies at the edge of the grid in {at_edge} of {len(rows)} curves"


def _describe(row: RateRow) -> str:
    points = [f"{numbers.score(result.mean_score, 2)} at {result.learning_rate:g}" for result in row.results]
    chosen = "none chosen" if row.learning_rate is None else f"{row.learning_rate:g} chosen"
    return f"{row.task} at {row.length}, {row.arch}: {', '.join(points)}; {chosen}"
