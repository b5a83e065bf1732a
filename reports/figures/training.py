"""The training curves: validation score against step, every seed thin, their mean bold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from reports.analysis.groups import Group, archs_of, group_cases
from reports.figures.axes import grid, reference_lines, score_axis
from reports.figures.canvas import Figure, PlotStyle, legend, plot_styles, style, to_svg
from reports.format import numbers
from results import Record, RunFile, Training

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_SEED_CURVES = 600
"""Above this many curves the seeds are left out and the means alone are drawn: the page stays small."""
MAX_POINTS = 60


def training_curves(run: RunFile, records: Sequence[Record]) -> Figure | None:
    """Validation score against training step, one panel per task and length; None without curves."""
    return training_curves_figure(group_cases(run, records))


def training_curves_figure(found: Sequence[Group], among: Sequence[Group] | None = None) -> Figure | None:
    """The figure of groups that are already at hand, in the colours that they have `among` others."""
    kept = [group for group in found if _trainings(group)]
    if not kept:
        return None
    colours = plot_styles(archs_of(among or found))
    shown = {arch: mark for arch, mark in colours.items() if arch in archs_of(kept)}
    with_seeds = sum(len(_trainings(group)) for group in kept) <= MAX_SEED_CURVES
    title = "Training curves"
    with style():
        drawn, panels = grid(kept)
        for (task, length), axes in panels.items():
            rivals = [group for group in kept if (group.task, group.length) == (task, length)]
            _panel(axes, rivals, colours, with_seeds=with_seeds)
            axes.set_title(f"{numbers.shortened(task, 30)}, length {length:,}")
        drawn.supxlabel("training steps", fontsize=9)
        drawn.supylabel("score on validation data (share)", fontsize=9)
        legend(drawn, shown)
        told = "; ".join(_told(group) for group in kept)
        svg = to_svg(drawn, title=title, alternative=f"{title}: {told}")
    seeds = "A thin line is one seed" if with_seeds else "The seeds are too many to be drawn one by one"
    return Figure(
        name="training-curves",
        title=title,
        svg=svg,
        alternative=f"{title}: {told}",
        how_to_read=(
            f"{seeds}; the bold line is the mean of those that did not diverge. A seed that stopped because it had "
            "solved the task keeps its last score in the mean. A cross marks the step at which a seed diverged."
        ),
    )


def _panel(axes: Axes, rivals: Sequence[Group], colours: dict[str, PlotStyle], *, with_seeds: bool) -> None:
    reference_lines(axes, rivals, [rivals[0].length])
    last = 1
    for group in rivals:
        mark = colours[group.arch]
        trainings = _trainings(group)
        last = max([last, *(training.curve[-1].step for training in trainings)])
        for training in trainings:
            steps, scores = _curve(training)
            if with_seeds:
                axes.plot(steps, scores, color=mark.colour, linewidth=0.7, alpha=0.45)
            if training.stopped == "diverged":
                axes.plot(steps[-1:], scores[-1:], "x", color=mark.colour, markersize=7, markeredgewidth=2, zorder=4)
        steps, scores = mean_curve(trainings)
        if len(steps):
            every = max(1, len(steps) // 6)
            axes.plot(
                steps,
                scores,
                color=mark.colour,
                linestyle=mark.dash,
                marker=mark.marker,
                markevery=every,
                markersize=4.5,
            )
    axes.set_xlim(0, last * 1.02)
    axes.locator_params(axis="x", nbins=4)
    score_axis(axes)


def _trainings(group: Group) -> list[Training]:
    return [record.training for record in group.records if record.training is not None and record.training.curve]


def _curve(training: Training) -> tuple[np.ndarray, np.ndarray]:
    """Steps and scores, thinned evenly to `MOST_POINTS`, first and last kept."""
    places = np.unique(np.linspace(0, len(training.curve) - 1, MAX_POINTS).round().astype(int))
    points = [training.curve[place] for place in places]
    return np.array([point.step for point in points]), np.array([point.validation_score for point in points])


def mean_curve(trainings: Sequence[Training]) -> tuple[np.ndarray, np.ndarray]:
    """The mean curve as far as every seed that did not diverge has a value; one that solved keeps its last."""
    curves = [(_curve(training), training.stopped) for training in trainings if training.stopped != "diverged"]
    if not curves:
        return np.array([]), np.array([])
    start = max(steps[0] for (steps, _), _ in curves)
    longest = max(steps[-1] for (steps, _), _ in curves)
    end = min(longest if stopped == "solved" else steps[-1] for (steps, _), stopped in curves)
    grid_steps = np.unique(np.concatenate([steps for (steps, _), _ in curves]))
    grid_steps = grid_steps[(grid_steps >= start) & (grid_steps <= end)]
    return grid_steps, np.mean([np.interp(grid_steps, steps, scores) for (steps, scores), _ in curves], axis=0)


def _told(group: Group) -> str:
    ends = [f"{training.curve[-1].validation_score:.2f} ({training.stopped})" for training in _trainings(group)]
    return f"{group.task} at {group.length}, {group.arch} ends at {numbers.listed(ends)}"
