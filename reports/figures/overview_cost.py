"""What is remembered against what a step costs, all settings together: for runs with more tasks than fit a screen."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

from reports.analysis.groups import Group, archs_of
from reports.analysis.memory_share import shared_settings
from reports.analysis.overview import OverviewRow, overview_rows
from reports.figures.axes import interval_bar, score_axis, time_axis
from reports.figures.canvas import Figure, figure, finished, legend, plot_styles, style
from reports.format import numbers
from results import Interval


def memory_share_against_cost_figure(
    found: Sequence[Group], at_hand: Sequence[OverviewRow] | None = None
) -> Figure | None:
    """The remembered share of each architecture against the p50 of its step at the longest position; None without."""
    rows = [(row, row.cost) for row in (overview_rows(found) if at_hand is None else at_hand) if row.cost is not None]
    if not rows:
        return None
    colours = plot_styles(archs_of(found))
    title = "What is remembered against cost"
    position = max(cost.position for _, cost in rows)
    with style():
        drawn = figure(6.4, 4.2)
        axes = drawn.subplots()
        for row, cost in rows:
            mark, x = colours[row.arch], 1e6 * cost.p50_seconds
            interval_bar(axes, x, Interval(row.low, row.share, row.high), mark.colour)
            area = 14 * log2(2 + (cost.state_bytes or 0))
            axes.plot([x], [row.share], marker=mark.marker, markersize=area**0.5, color=mark.colour, clip_on=False)
        time_axis(axes, "x", [1e6 * cost.p50_seconds for _, cost in rows])
        score_axis(axes)
        axes.set_xlabel(f"time per step at position {position:,}, p50 (µs)")
        axes.set_ylabel("remembered share (mean over settings)")
        named = {f"{row.arch}, {numbers.size(cost.state_bytes)} of state": colours[row.arch] for row, cost in rows}
        legend(drawn, named, line=False)
        told = "; ".join(
            f"{row.arch}: {row.share:.2f} for {numbers.microseconds(cost.p50_seconds)} µs and "
            f"{numbers.size(cost.state_bytes)}"
            for row, cost in rows
        )
        return finished(
            drawn,
            name="remembered-against-cost",
            title=title,
            told=told,
            how_to_read=(
                f"Up and to the left is better. The mean over {numbers.plural(len(shared_settings(found)), 'setting')} "
                "with its 95% interval over seeds; a mark's area grows with each doubling of the state of a stream."
            ),
        )
