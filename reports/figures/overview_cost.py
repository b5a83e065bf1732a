"""Memory share against step cost over all settings: for runs with too many tasks for one screen."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

from reports.analysis.groups import Group, archs_of
from reports.analysis.memory_share import shared_settings
from reports.analysis.overview import OverviewRow, overview_rows
from reports.figures.alternative_text import extreme, name_all
from reports.figures.axes import interval_bar, score_axis, time_axis
from reports.figures.canvas import Figure, empty_figure, figure_style, finish_figure, legend, plot_styles
from reports.format import numbers
from results import Interval


def memory_share_against_cost_figure(
    groups: Sequence[Group], rows: Sequence[OverviewRow] | None = None
) -> Figure | None:
    """Draw memory share against the p50 of a step at the last position; returns None if no architecture has both.

    `rows` are the results of `overview_rows`, which is called if they are not given.
    """
    rows = overview_rows(groups) if rows is None else rows
    streamed = [(row, row.cost) for row in rows if row.cost is not None]
    if not streamed:
        return None
    styles = plot_styles(archs_of(groups))
    position = max(cost.position for _, cost in streamed)
    with figure_style():
        figure = empty_figure(6.4, 4.2)
        axes = figure.subplots()
        for row, cost in streamed:
            style, x = styles[row.arch], 1e6 * cost.p50_seconds
            interval_bar(axes, x, Interval(row.low, row.share, row.high), style.colour)
            area = 14 * log2(2 + (cost.state_bytes or 0))
            axes.plot([x], [row.share], marker=style.marker, markersize=area**0.5, color=style.colour, clip_on=False)
        time_axis(axes, "x", [1e6 * cost.p50_seconds for _, cost in streamed])
        score_axis(axes)
        axes.set_xlabel(f"time per step at position {position:,}, p50 (µs)")
        axes.set_ylabel("memory share (mean over settings)")
        labelled = {f"{row.arch}, state {numbers.size(cost.state_bytes)}": styles[row.arch] for row, cost in streamed}
        legend(figure, labelled, line=False)
        shares = [{row.arch: row.share for row, _ in streamed}]
        seconds = [{row.arch: cost.p50_seconds for row, cost in streamed}]
        return finish_figure(
            figure,
            name="memory-share-against-cost",
            title="Memory share against cost",
            alternative=(
                f"Memory share of {name_all(row.arch for row, _ in streamed)} against time per step; the share is "
                f"{extreme(shares)}, and the time per step is "
                f"{extreme(seconds, 'lowest', choose=min, write=lambda value: f'{numbers.microseconds(value)} µs')}."
            ),
            description="; ".join(
                f"{row.arch}: {row.share:.2f} for {numbers.microseconds(cost.p50_seconds)} µs and "
                f"{numbers.size(cost.state_bytes)}"
                for row, cost in streamed
            ),
            how_to_read=(
                "Up and to the left is better: more memory for a cheaper step. Markers are means over "
                f"{numbers.plural(len(shared_settings(groups)), 'setting')}, with 95% intervals over seeds. The area "
                "of a marker grows with each doubling of the state of a stream."
            ),
        )
