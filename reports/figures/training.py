"""The figure of training curves: validation score against training step, for single seeds and as means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from reports.analysis.groups import Group, archs_of, group_cases
from reports.figures.drawing.alternative_text import name_all
from reports.figures.drawing.axes import banded_grid, score_axis, score_label
from reports.figures.drawing.bands import BACKGROUND, CONTEXT_LINE
from reports.figures.drawing.canvas import Figure, PlotStyle, figure_style, finish_figure, plot_styles
from reports.figures.drawing.reference_lines import reference_lines, strategies_explained
from reports.format import numbers
from results import Convergence, Record, RunFile, Training

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_SEED_CURVES = 600
"""With more curves than this, only means are drawn, to keep the page small."""
MAX_POINTS = 60
"""The largest number of points in the curve of a single seed."""


def training_curves(run: RunFile, records: Sequence[Record]) -> Figure | None:
    """Draw validation score against training step, one panel per task and length. Returns None without curves."""
    return training_curves_figure(group_cases(run, records))


def training_curves_figure(groups: Sequence[Group], among: Sequence[Group] | None = None) -> Figure | None:
    """Draw validation score against training step, one panel per task and length. Returns None without curves.

    `among` holds all groups of the run, which determine the plot styles. If `among` is None, `groups` determines them.
    """
    trained = [group for group in groups if _trainings(group)]
    if not trained:
        return None
    styles = plot_styles(archs_of(among or groups))
    all_trainings = [training for group in trained for training, _ in _trainings(group)]
    with_seeds = len(all_trainings) <= MAX_SEED_CURVES
    with figure_style():
        figure, bands = banded_grid(trained, styles)
        for band, panels in bands:
            for (task, length), axes in panels.items():
                rivals = [group for group in trained if (group.task, group.length) == (task, length)]
                _draw_panel(axes, rivals, band.styles, with_seeds=with_seeds)
                axes.set_title(f"{numbers.shortened(task, 30)}, length {length:,}")
        figure.supxlabel("training steps", fontsize=9)
        figure.supylabel(score_label("validation score"), fontsize=9)
        kinds = [kind for group in trained for _, kind in _trainings(group)]
        learning, diverged = (kinds.count(kind) for kind in ("still learning", "diverged"))
        solved = sum(training.stopped == "solved" for training in all_trainings)
        seeds = (
            "Thin lines are seeds, and bold lines are means"
            if with_seeds
            else "Lines are means; single seeds are omitted because there are too many of them"
        )
        return finish_figure(
            figure,
            name="training-curves",
            title="Training curves",
            alternative=(
                f"Validation score of {name_all(archs_of(trained))} against training steps; {solved} of "
                f"{numbers.plural(len(all_trainings), 'training run')} stopped early because validation solved the "
                f"task, {learning} {'was' if learning == 1 else 'were'} still learning at the end, and {diverged} "
                "diverged."
            ),
            description="; ".join(_describe(group) for group in trained),
            how_to_read=(
                f"{seeds}. Means leave out seeds that diverged. A seed that stopped early because its validation "
                "solved the task or plateaued keeps its last score in the mean. A cross marks the step at which a "
                "seed diverged. A triangle marks the end of a seed that was still learning."
                + strategies_explained(groups)
                + BACKGROUND * (len(bands) > 1)
            ),
            headed=False,
        )


def _draw_panel(axes: Axes, rivals: Sequence[Group], styles: dict[str, PlotStyle], *, with_seeds: bool) -> None:
    """Draw the architectures that have a style, and the others as lines in the background."""
    reference_lines(axes, rivals, [rivals[0].length])
    last = 1
    for group in rivals:
        trainings = [training for training, _ in _trainings(group)]
        last = max([last, *(training.curve[-1].step for training in trainings)])
        if group.arch not in styles:
            axes.plot(*mean_curve(trainings), **CONTEXT_LINE)
            continue
        style = styles[group.arch]
        for training, kind in _trainings(group):
            steps, scores = _thinned_curve(training)
            if with_seeds:
                axes.plot(steps, scores, color=style.colour, linewidth=0.7, alpha=0.45)
            if training.stopped == "diverged":
                axes.plot(steps[-1:], scores[-1:], "x", color=style.colour, markersize=7, markeredgewidth=2, zorder=4)
            if kind == "still learning":
                axes.plot(steps[-1:], scores[-1:], ">", color=style.colour, markersize=6, clip_on=False, zorder=4)
        steps, scores = mean_curve(trainings)
        if len(steps):
            axes.plot(
                steps,
                scores,
                color=style.colour,
                linestyle=style.dash,
                marker=style.marker,
                markevery=max(1, len(steps) // 6),
                markersize=4.5,
            )
    axes.set_xlim(0, last * 1.02)
    axes.locator_params(axis="x", nbins=4)
    score_axis(axes)


def _trainings(group: Group) -> list[tuple[Training, Convergence | None]]:
    """Return the trainings with a curve, each with its convergence. Seeds that are inconsistent are left out."""
    return [
        (seed.record.training, seed.convergence)
        for seed in group.seeds
        if seed.record is not None and seed.record.status != "inconsistent"
        if seed.record.training is not None and seed.record.training.curve
    ]


def _thinned_curve(training: Training) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and scores at up to `MAX_POINTS` evenly spaced points, including the first and the last one."""
    indices = np.unique(np.linspace(0, len(training.curve) - 1, MAX_POINTS).round().astype(int))
    points = [training.curve[index] for index in indices]
    return np.array([point.step for point in points]), np.array([point.validation_score for point in points])


def mean_curve(trainings: Sequence[Training]) -> tuple[np.ndarray, np.ndarray]:
    """Return training steps and mean validation scores. Seeds that diverged are left out.

    A seed that stopped early because it solved the task or plateaued keeps its last score. The curve covers the range
    of steps in which every seed that did not diverge has a score. The arrays are empty if all seeds diverged.
    """
    curves = [(_thinned_curve(training), training.stopped) for training in trainings if training.stopped != "diverged"]
    if not curves:
        return np.array([]), np.array([])
    start = max(steps[0] for (steps, _), _ in curves)
    longest = max(steps[-1] for (steps, _), _ in curves)
    end = min(longest if stopped in ("solved", "plateaued") else steps[-1] for (steps, _), stopped in curves)
    grid_steps = np.unique(np.concatenate([steps for (steps, _), _ in curves]))
    grid_steps = grid_steps[(grid_steps >= start) & (grid_steps <= end)]
    return grid_steps, np.mean([np.interp(grid_steps, steps, scores) for (steps, scores), _ in curves], axis=0)


def _describe(group: Group) -> str:
    ends = [f"{training.curve[-1].validation_score:.2f} ({kind})" for training, kind in _trainings(group)]
    return f"{group.task} at {group.length}, {group.arch} ends at {numbers.listed(ends)}"
