"""Figures that compare a run with a baseline run: scores and step costs."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.groups import Group, archs_of
from reports.analysis.streaming.step_costs import cost_at, last_shared_position, step_costs_by_arch
from reports.figures.drawing.alternative_text import name_all
from reports.figures.drawing.axes import SCORE_TICKS, interval_bar, positions_axis, score_axis, thinned, time_axis
from reports.figures.drawing.canvas import (
    INK,
    PALE,
    Figure,
    empty_figure,
    figure_style,
    finish_figure,
    legend,
    plot_styles,
)
from reports.figures.drawing.tables import figure_table
from reports.format import numbers
from reports.text.baseline import BaselineComparison
from results import Interval


def baseline_scores_figure(versus: BaselineComparison, groups: Sequence[Group]) -> Figure | None:
    """Draw the scores of a run against the scores of its baseline run.

    `groups` are the groups of the new run. Returns None if the runs share no scored architecture, task and length.
    """
    pairs = [pair for pair in versus.pairs if pair.base.score is not None and pair.new.score is not None]
    if not pairs:
        return None
    archs = {pair.new.arch for pair in pairs}
    styles = {arch: style for arch, style in plot_styles(archs_of(groups)).items() if arch in archs}
    gains = [
        pair.new.score - pair.base.score for pair in pairs if pair.new.score is not None and pair.base.score is not None
    ]
    with figure_style():
        figure = empty_figure(5.4, 4.9)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=PALE, linewidth=1.0, zorder=1)
        for pair in pairs:
            assert pair.base.score is not None
            assert pair.new.score is not None
            style = styles[pair.new.arch]
            if pair.new.score_low is not None and pair.new.score_high is not None:
                interval = Interval(pair.new.score_low, pair.new.score, pair.new.score_high)
                interval_bar(axes, pair.base.score, interval, style.colour)
            if pair.base.score_low is not None and pair.base.score_high is not None:
                ends = [pair.base.score_low, pair.base.score_high]
                axes.plot(ends, [pair.new.score] * 2, color=style.colour, linewidth=1.0, zorder=2)
            axes.plot([pair.base.score], [pair.new.score], marker=style.marker, color=style.colour, clip_on=False)
        score_axis(axes)
        axes.set_xlim(-0.02, 1.04)
        axes.set_xticks(list(SCORE_TICKS), labels=list(SCORE_TICKS.values()))
        axes.set_xlabel("score in the baseline run (share correct)")
        axes.set_ylabel("score in this run (share correct)")
        legend(figure, styles, line=False)
        return finish_figure(
            figure,
            name="baseline-scores",
            title="Scores of both runs",
            alternative=(
                f"Mean scores of this run against those of the baseline run in {numbers.plural(len(gains), 'pair')}: "
                f"{sum(gain > 0 for gain in gains)} higher, {sum(gain == 0 for gain in gains)} equal and "
                f"{sum(gain < 0 for gain in gains)} lower in this run."
            ),
            description="; ".join(
                f"{pair.new.arch} on {pair.new.task} at {pair.new.length}: "
                f"{numbers.score(pair.base.score, 2)} before, {numbers.score(pair.new.score, 2)} now"
                for pair in pairs
            ),
            table=figure_table(
                ("architecture", "task", "length", "baseline score (95% interval)", "score of this run (95% interval)"),
                (
                    (
                        pair.new.arch,
                        pair.new.task,
                        numbers.count(pair.new.length),
                        numbers.estimate(pair.base.score, pair.base.score_low, pair.base.score_high),
                        numbers.estimate(pair.new.score, pair.new.score_low, pair.new.score_high),
                    )
                    for pair in pairs
                ),
            ),
            how_to_read=(
                "Each marker is one architecture on one task at its trained length, with the 95% intervals of both "
                "runs. On the diagonal both runs score the same; above it this run scores higher."
            ),
        )


def baseline_step_costs_figure(baseline_groups: Sequence[Group], groups: Sequence[Group]) -> Figure | None:
    """Draw median step time against position for the architectures that were streamed in both runs.

    `groups` are the groups of the new run. An architecture is left out if one run timed its steps in a compiled loop
    and the other only its calls from Python. Returns None if no architecture was streamed in both runs in the same way.
    """
    new, base = step_costs_by_arch(groups), step_costs_by_arch(baseline_groups)
    shared = {
        arch: style
        for arch, style in plot_styles(archs_of(groups)).items()
        if arch in new and arch in base and len({costs[arch][-1].timing == "compiled" for costs in (new, base)}) == 1
    }
    if not shared:
        return None
    ends = {arch: last_shared_position([new[arch], base[arch]]) for arch in shared}
    pairs = {arch: (cost_at(base[arch], end), cost_at(new[arch], end)) for arch, end in ends.items() if end is not None}
    faster = sum(after.p50_seconds < before.p50_seconds for before, after in pairs.values())
    with figure_style():
        figure = empty_figure(5.4, 4.9)
        axes = figure.subplots()
        for arch, style in shared.items():
            for costs, filled in ((base[arch], False), (new[arch], True)):
                axes.plot(
                    [cost.position for cost in costs],
                    [1e6 * cost.p50_seconds for cost in costs],
                    color=style.colour,
                    marker=style.marker,
                    markersize=4.5 if filled else 6.5,
                    linewidth=1.7 if filled else 0.9,
                    linestyle=style.dash if filled else (0, (1, 1)),
                    fillstyle="full" if filled else "none",
                )
        all_costs = [cost for arch in shared for cost in (*new[arch], *base[arch])]
        positions_axis(axes, thinned(sorted({cost.position for cost in all_costs})))
        time_axis(axes, "y", [1e6 * cost.p50_seconds for cost in all_costs])
        axes.set_xlabel("position in the stream (steps)")
        axes.set_ylabel("time per step, p50 (µs)")
        axes.set_title("filled: this run; hollow: baseline run", color=INK)
        legend(figure, shared)
        described = "; ".join(
            f"{arch} at position {after.position}: {numbers.microseconds(before.p50_seconds)} before, "
            f"{numbers.microseconds(after.p50_seconds)} now"
            for arch, (before, after) in pairs.items()
        )
        return finish_figure(
            figure,
            name="baseline-step-costs",
            title="Cost of a streamed step in both runs",
            alternative=(
                f"Median time per streamed step of {name_all(shared)} in both runs; at the last position of both, this "
                f"run is faster for {faster} of {numbers.plural(len(pairs), 'architecture')}."
            ),
            description=f"p50 in microseconds: {described}",
            table=figure_table(
                ("architecture", "position", "baseline p50, µs", "p50 of this run, µs"),
                (
                    (
                        arch,
                        numbers.count(after.position),
                        numbers.microseconds(before.p50_seconds),
                        numbers.microseconds(after.p50_seconds),
                    )
                    for arch, (before, after) in pairs.items()
                ),
            ),
            how_to_read=(
                "Filled markers are this run and hollow markers the baseline run; both are medians over cases. Runs "
                "on different machines or days differ for many reasons. The table of verdicts says which differences "
                "are significant."
            ),
        )
