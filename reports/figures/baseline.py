"""Two runs in one figure: scores of the one against scores of the other, and the cost of their streamed steps."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.groups import Group, archs_of
from reports.analysis.step_costs import step_costs_by_arch
from reports.figures.axes import interval_bar, score_axis, time_axis
from reports.figures.canvas import INK, PALE, Figure, figure, finished, legend, plot_styles, positions_axis, style
from reports.format import numbers
from reports.text.baseline import Versus
from results import Interval


def baseline_scores_figure(versus: Versus, found: Sequence[Group]) -> Figure | None:
    """A mark for each architecture, task and length: above the diagonal the new run is better; None without pairs."""
    pairs = [pair for pair in versus.pairs if pair.base.score is not None and pair.new.score is not None]
    if not pairs:
        return None
    colours = {arch: mark for arch, mark in plot_styles(archs_of(found)).items() if arch in {p.new.arch for p in pairs}}
    title = "Scores of both runs"
    with style():
        drawn = figure(5.4, 4.9)
        axes = drawn.subplots()
        axes.plot([0, 1], [0, 1], color=PALE, linewidth=1.0, zorder=1)
        for pair in pairs:
            assert pair.base.score is not None
            assert pair.new.score is not None
            mark = colours[pair.new.arch]
            if pair.new.score_low is not None and pair.new.score_high is not None:
                upright = Interval(pair.new.score_low, pair.new.score, pair.new.score_high)
                interval_bar(axes, pair.base.score, upright, mark.colour)
            if pair.base.score_low is not None and pair.base.score_high is not None:
                level = [pair.base.score_low, pair.base.score_high]
                axes.plot(level, [pair.new.score] * 2, color=mark.colour, linewidth=1.0, zorder=2)
            axes.plot([pair.base.score], [pair.new.score], marker=mark.marker, color=mark.colour, clip_on=False)
        score_axis(axes)
        axes.set_xlim(-0.02, 1.04)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], labels=["0", ".25", ".5", ".75", "1"])
        axes.set_xlabel("score in the baseline (share answered rightly)")
        axes.set_ylabel("score in this run (share answered rightly)")
        legend(drawn, colours, line=False)
        told = "; ".join(
            f"{pair.new.arch} on {pair.new.task} at {pair.new.length}: "
            f"{numbers.score(pair.base.score, 2)} before, {numbers.score(pair.new.score, 2)} now"
            for pair in pairs
        )
        return finished(
            drawn,
            name="scores-of-both",
            title=title,
            told=told,
            how_to_read=(
                "A mark is one architecture on one task at its trained length, with both 95% intervals. On the line "
                "both runs score the same; above it this run scores more."
            ),
        )


def baseline_step_costs_figure(before: Sequence[Group], found: Sequence[Group]) -> Figure | None:
    """The p50 of a streamed step against position, the baseline hollow; None where not both were streamed."""
    now, then = step_costs_by_arch(found), step_costs_by_arch(before)
    shared = {arch: mark for arch, mark in plot_styles(archs_of(found)).items() if arch in now and arch in then}
    if not shared:
        return None
    title = "Cost of a streamed step in both runs"
    with style():
        drawn = figure(5.4, 4.9)
        axes = drawn.subplots()
        for arch, mark in shared.items():
            for costs, filled in ((then[arch], False), (now[arch], True)):
                axes.plot(
                    [cost.position for cost in costs],
                    [1e6 * cost.p50_seconds for cost in costs],
                    color=mark.colour,
                    marker=mark.marker,
                    markersize=4.5 if filled else 6.5,
                    linewidth=1.7 if filled else 0.9,
                    linestyle=mark.dash if filled else (0, (1, 1)),
                    fillstyle="full" if filled else "none",
                )
        every = [cost for arch in shared for cost in (*now[arch], *then[arch])]
        positions = sorted({cost.position for cost in every})
        positions_axis(axes, positions[:: -max(1, -(-len(positions) // 7))][::-1])
        time_axis(axes, "y", [1e6 * cost.p50_seconds for cost in every])
        axes.set_xlabel("position in the stream (steps)")
        axes.set_ylabel("time per step, p50 (µs)")
        axes.set_title("filled: this run; hollow: the baseline", color=INK)
        legend(drawn, shared)
        told = "; ".join(
            f"{arch} at position {now[arch][-1].position}: {numbers.microseconds(then[arch][-1].p50_seconds)} before, "
            f"{numbers.microseconds(now[arch][-1].p50_seconds)} now"
            for arch in shared
        )
        return finished(
            drawn,
            name="steps-of-both",
            title=title,
            told=f"p50 in microseconds: {told}",
            how_to_read=(
                "Filled marks are this run, hollow ones the baseline: medians over cases. Runs of another machine or "
                "another day differ for many reasons; the table says which differences count."
            ),
        )
