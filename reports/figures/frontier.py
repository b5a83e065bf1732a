"""The main figure: memory share against state and against step cost, with the frontier of each panel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from reports.analysis.frontier import Frontier, frontier, unbeaten
from reports.analysis.groups import Group, archs_of, group_cases
from reports.analysis.memory_share import shared_settings
from reports.analysis.overview import OverviewRow, overview_rows
from reports.analysis.streaming.step_costs import marked
from reports.figures.drawing.alternative_text import name_all
from reports.figures.drawing.axes import interval_bar, score_axis, size_axis, time_axis
from reports.figures.drawing.canvas import (
    INK,
    Figure,
    PlotStyle,
    empty_figure,
    figure_style,
    finish_figure,
    legend,
    plot_styles,
)
from reports.figures.drawing.markers import marker_fill
from reports.figures.drawing.tables import FigureTable, figure_table
from reports.format import numbers
from reports.text.needs import summary
from reports.text.streaming import CALLED
from reports.text.timing_quality import markers_explained, single_process_sentence
from results import Interval, Record, RunFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 6.2, 4.0
"""The size of the figure in inches, without further lines of the legend. On the page, it stands beside the overview."""
PALE_OPACITY = 0.65
"""The opacity of architectures that cannot be recommended. Paler marks are hard to see on a dark page."""

Cost = Callable[[OverviewRow], float | None]


def memory_frontier(run: RunFile, records: Sequence[Record]) -> Figure | None:
    """Draw memory share against state and against step cost, one panel each.

    Returns None if no architecture has both a mean memory share and step times.
    """
    groups = group_cases(run, records)
    rows = overview_rows(groups)
    return frontier_figure(groups, rows, frontier(groups, rows))


def frontier_figure(groups: Sequence[Group], rows: Sequence[OverviewRow], choice: Frontier) -> Figure | None:
    """Draw memory share against state and against step cost, one panel each.

    Returns None if no architecture has both a mean memory share and step times.

    Args:
        groups: All groups of the run, which determine the plot styles.
        rows: The result of `overview_rows(groups)`.
        choice: The result of `frontier(groups, rows)`.
    """
    streamed = [row for row in rows if row.cost is not None]
    if not streamed:
        return None
    styles = plot_styles(archs_of(groups))
    sized = [row for row in streamed if row.state_bytes is not None]
    positions = {row.cost.position for row in streamed if row.cost is not None}
    where = f"at position {max(positions):,}" if len(positions) == 1 else "at the last position"
    is_called = not any(row.cost is not None and row.cost.timing == "compiled" for row in streamed)
    with figure_style():
        figure = empty_figure(WIDTH, HEIGHT)
        by_state, by_step = figure.subplots(1, 2, sharey=True)
        size_axis(by_state, [row.state_bytes or 0.0 for row in sized])
        _draw_panel(by_state, sized, choice.candidates, styles, lambda row: row.state_bytes, is_timed=False)
        by_state.set_xlabel(f"state of one stream\n{where}")
        ranked = [row for row in choice.candidates if row.has_ranked_cost]
        time_axis(by_step, "x", [1e6 * (row.step_seconds or 0.0) for row in streamed])
        _draw_panel(by_step, streamed, ranked, styles, lambda row: 1e6 * (row.step_seconds or 0.0), is_timed=True)
        by_step.set_xlabel(f"time per step, p50 (µs)\n{where}{f', {CALLED}' if is_called else ''}")
        figure.supylabel("memory share", fontsize=9)
        legend(
            figure,
            {marked(row.arch, row.cost.timing): styles[row.arch] for row in streamed if row.cost is not None},
            line=False,
        )
        members = [row.arch for row in choice.members()]
        none = "no architecture can be recommended"
        return finish_figure(
            figure,
            name="memory-frontier",
            title="Memory share against state and step cost",
            alternative=(
                f"Memory share of {name_all(row.arch for row in streamed)} against state and against time per step; "
                f"{f'the frontier of all three has {name_all(members)}' if members else none}."
            ),
            description="; ".join(f"{row.arch}: {summary(row, is_first=True)}" for row in streamed),
            table=_table(streamed),
            how_to_read=_how_to_read(groups, streamed, choice),
            headed=False,
        )


def _how_to_read(groups: Sequence[Group], streamed: Sequence[OverviewRow], choice: Frontier) -> str:
    settings = numbers.plural(len(shared_settings(groups)), "setting")
    costs = {row.arch: [row.cost] for row in streamed if row.cost is not None}
    return (
        "Up and to the left is better: more memory for a smaller state or a cheaper step. The line is the frontier of "
        "the panel: each of its architectures has a significantly higher memory share than the cheaper ones on it. "
        f"Markers are means over {settings}, with 95% intervals over seeds. Shares below 0 are drawn at 0."
        + " A state of no bytes is drawn at the left edge." * any(row.state_bytes == 0 for row in streamed)
        + " Pale markers are architectures that cannot be recommended." * bool(choice.left_out or choice.undecided)
        + markers_explained(cost for own in costs.values() for cost in own)
        + f" {single_process_sentence(costs)}".rstrip()
    )


def _table(streamed: Sequence[OverviewRow]) -> FigureTable:
    return figure_table(
        ("architecture", "memory share", "95% interval, %", "state", "time per step, µs", "position"),
        (
            (
                marked(row.arch, row.cost.timing),
                numbers.memory_share(row.share, row.high),
                numbers.memory_share_ends(row.low, row.high).strip("()"),
                numbers.size(row.state_bytes),
                numbers.microseconds(row.step_seconds),
                numbers.count(row.cost.position),
            )
            for row in streamed
            if row.cost is not None
        ),
    )


def _draw_panel(
    axes: Axes,
    rows: Sequence[OverviewRow],
    ranked: Sequence[OverviewRow],
    styles: dict[str, PlotStyle],
    cost: Cost,
    *,
    is_timed: bool,
) -> None:
    """Draw the memory shares of `rows` against one cost, and the frontier of the two up to the right edge.

    Args:
        axes: The panel, whose horizontal axis is complete. A cost of 0 is drawn at its left edge.
        rows: The architectures to draw.
        ranked: The architectures that may be on the frontier.
        styles: The plot styles by architecture.
        cost: Returns the cost of an architecture, in the unit of the axis.
        is_timed: Whether the cost is a time, so that other work on the machine may have disturbed it.
    """
    left, right = axes.get_xlim()
    for row in rows:
        style, x = styles[row.arch], cost(row) or left
        timing = row.cost.timing if row.cost is not None else None
        opacity = 1.0 if row in ranked or timing == "interpreted" else PALE_OPACITY
        interval_bar(axes, x, Interval(row.low, row.share, row.high), style.colour, opacity)
        axes.plot(
            [x],
            [max(0.0, row.share)],
            marker=style.marker,
            markersize=8 if timing == "interpreted" else 7,
            color=style.colour,
            fillstyle=marker_fill(timing, noisy=is_timed and row.cost is not None and row.cost.noisy),
            alpha=opacity,
            zorder=3,
            clip_on=False,
        )
    line = panel_frontier([row for row in rows if row in ranked], cost)
    if line:
        xs = [*(cost(row) or left for row in line), right]
        shares = [max(0.0, row.share) for row in (*line, line[-1])]
        axes.plot(xs, shares, color=INK, linewidth=1.0, alpha=0.7, marker="none", drawstyle="steps-post")
    score_axis(axes)


def panel_frontier(rows: Sequence[OverviewRow], cost: Cost) -> list[OverviewRow]:
    """Return the architectures that no other one beats in memory share and one cost, cheapest first.

    As in `reports.analysis.frontier`, shares that cannot be told apart count as equal.
    """
    beats = {(a.arch, b.arch) for a in rows for b in rows if _is_better(a, b, cost)}
    names = unbeaten([row.arch for row in rows], beats)
    return sorted((row for row in rows if row.arch in names), key=lambda row: (cost(row) or 0.0, row.share))


def _is_better(a: OverviewRow, b: OverviewRow, cost: Cost) -> bool:
    if a.cost is None or b.cost is None or a.cost.position != b.cost.position:
        return False
    own, other = cost(a) or 0.0, cost(b) or 0.0
    if set(a.ties) & set(b.ties):
        return own < other
    return own <= other and a.share > b.share
