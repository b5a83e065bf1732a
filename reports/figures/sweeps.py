"""The figures of sweeps: score against a quantity of the training protocol that the plan varies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean
from typing import TYPE_CHECKING

from reports.analysis.groups import Group, archs_of
from reports.analysis.traces import slug
from reports.analysis.trainings import Family, Value, families, value_of
from reports.figures.drawing.alternative_text import extreme, name_all
from reports.figures.drawing.axes import banded_grid, interval_bar, log_scale, score_axis, score_label
from reports.figures.drawing.bands import BACKGROUND, CONTEXT_LINE
from reports.figures.drawing.canvas import Figure, PlotStyle, figure_style, finish_figure, plot_styles
from reports.figures.drawing.reference_lines import reference_lines, strategies_explained
from reports.figures.drawing.tables import figure_table, with_interval
from reports.figures.headline import MAX_SHOWN
from reports.format import numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RING_SIZE = 11
"""The size in points of the ring around the plan's own value."""
LOGARITHMIC_SPAN = 8
"""The axis of a quantity is logarithmic if its largest value is at least this multiple of its smallest one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One model on one task at one length, trained with several values of some fields of the protocol."""

    arch: str
    """The label of the model without the fields that are swept."""
    family: Family
    groups: tuple[Group, ...]
    """The scored groups, in the order of their values."""
    texts: tuple[str, ...]
    """The value of each group as text."""
    values: tuple[float, ...] | None
    """The value of each group as a number; None if several fields differ, or if a value is no number."""


def sweep_figures(groups: Sequence[Group]) -> list[Figure]:
    """Draw score against each quantity of the protocol that the run varies, one figure per quantity.

    A figure has one panel per task and length. Models that differ in several fields at once have a figure of their own,
    with one tick per combination. A quantity is left out with fewer than two scored groups of every model, or with
    more than `MAX_SHOWN` panels.
    """
    by_fields: dict[tuple[str, ...], list[Sweep]] = {}
    for family in families(groups):
        for fields, members in family.swept.items():
            if (sweep := _sweep(family, fields, members)) is not None:
                by_fields.setdefault(fields, []).append(sweep)
    return [
        _figure(fields, sweeps, groups)
        for fields, sweeps in by_fields.items()
        if len({(sweep.family.plain.task, sweep.family.plain.length) for sweep in sweeps}) <= MAX_SHOWN
    ]


def _sweep(family: Family, fields: tuple[str, ...], members: Sequence[Group]) -> Sweep | None:
    """Return a sweep with its plain training, or None with fewer than two scored groups."""
    scored = [group for group in (family.plain, *members) if group.scores()]
    if len(scored) < 2:
        return None
    values = [tuple(value_of(group, field) for field in fields) for group in scored]
    plain = [row[0] for row in values if len(row) == 1]
    is_numeric = len(plain) == len(values) and all(isinstance(value, int | float) for value in plain)
    if is_numeric:
        order = sorted(range(len(scored)), key=lambda index: plain[index] or 0.0)
    else:
        order = list(range(len(scored)))
    label = family.plain.arch
    for field in fields:
        label = label.replace(f" {field}={value_of(family.plain, field)}", "")
    return Sweep(
        arch=label,
        family=family,
        groups=tuple(scored[index] for index in order),
        texts=tuple(", ".join(map(value_text, values[index])) for index in order),
        values=tuple(float(plain[index] or 0.0) for index in order) if is_numeric else None,
    )


def value_text(value: Value) -> str:
    """Return the value of a field as text: `2,000`, `0.001`, `cosine`, and `none` for None."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else value


def _figure(fields: tuple[str, ...], sweeps: Sequence[Sweep], groups: Sequence[Group]) -> Figure:
    name = " and ".join(field.replace("_", " ") for field in fields)
    plains = [sweep.family.plain for sweep in sweeps]
    styles = plot_styles(archs_of(groups))
    labels = {sweep.family.plain.arch: sweep.arch for sweep in sweeps}
    ticks = _ticks(sweeps)
    with figure_style():
        figure, bands = banded_grid(plains, styles, labels=labels)
        for band, panels in bands:
            for (task, length), axes in panels.items():
                own = [
                    sweep for sweep in sweeps if (sweep.family.plain.task, sweep.family.plain.length) == (task, length)
                ]
                _draw_panel(axes, own, band.styles, ticks)
                axes.set_title(f"{numbers.shortened(task, 30)}, length {length:,}")
        figure.supxlabel(name, fontsize=9)
        figure.supylabel(score_label(), fontsize=9)
        return finish_figure(
            figure,
            name=f"sweep-{slug(' '.join(fields))}",
            title=f"Score against {name}",
            alternative=(
                f"Test score of {name_all(labels.values())} against {name}; over all values, the best mean score is "
                f"{extreme(_best(sweeps))}."
            ),
            description="; ".join(_describe(sweep, name) for sweep in sweeps),
            table=figure_table(
                ("architecture", "task", "length", name, "score (95% interval)", "seeds"),
                (
                    (
                        sweep.arch,
                        group.task,
                        numbers.count(group.length),
                        text,
                        with_interval(group.interval()),
                        numbers.count(len(group.scores())),
                    )
                    for sweep in sweeps
                    for group, text in zip(sweep.groups, sweep.texts, strict=True)
                ),
            ),
            how_to_read=(
                "Lines are means over seeds with 95% intervals, and dots are single seeds. A ring marks the value of "
                "the plan's own protocol. A score that still changes at an end of the line may be better beyond it."
                + strategies_explained(plains)
                + BACKGROUND * (len(bands) > 1)
            ),
            headed=False,
        )


def _ticks(sweeps: Sequence[Sweep]) -> Mapping[str, float]:
    """Return the position of each value on the horizontal axis. Values that are no numbers are evenly spaced."""
    texts = [text for sweep in sweeps for text in sweep.texts]
    if all(sweep.values is not None for sweep in sweeps):
        values = [value for sweep in sweeps for value in sweep.values or ()]
        return dict(sorted(zip(texts, values, strict=True), key=lambda item: item[1]))
    return {text: float(position) for position, text in enumerate(dict.fromkeys(texts))}


def _draw_panel(axes: Axes, sweeps: Sequence[Sweep], styles: dict[str, PlotStyle], ticks: Mapping[str, float]) -> None:
    """Draw the models that have a style, and the others as lines in the background."""
    plains = [sweep.family.plain for sweep in sweeps]
    reference_lines(axes, plains, [plains[0].length])
    for sweep in sweeps:
        xs = [ticks[text] for text in sweep.texts]
        means = [group.interval() for group in sweep.groups]
        style = styles.get(sweep.family.plain.arch)
        if style is None:
            axes.plot(xs, [mean.middle for mean in means], **CONTEXT_LINE)
            continue
        axes.plot(
            xs, [mean.middle for mean in means], color=style.colour, marker=style.marker, linestyle=style.dash, zorder=3
        )
        for x, mean, group in zip(xs, means, sweep.groups, strict=True):
            interval_bar(axes, x, mean, style.colour)
            scores = group.scores()
            axes.plot([x] * len(scores), scores, ".", color=style.colour, markersize=3.5, alpha=0.75, zorder=2)
            if group is sweep.family.plain:
                axes.plot(
                    [x],
                    [mean.middle],
                    marker="o",
                    markersize=RING_SIZE,
                    markerfacecolor="none",
                    markeredgecolor=style.colour,
                    markeredgewidth=1.4,
                    linestyle="none",
                )
    _quantity_axis(axes, ticks)
    score_axis(axes)


def _quantity_axis(axes: Axes, ticks: Mapping[str, float]) -> None:
    places = list(ticks.values())
    is_logarithmic = places[0] > 0 and isfinite(places[-1]) and places[-1] >= LOGARITHMIC_SPAN * places[0]
    if is_logarithmic:
        log_scale(axes, "x")
    axes.set_xticks(places, labels=list(ticks), rotation=30 if max(map(len, ticks)) * len(ticks) > 24 else 0)
    axes.minorticks_off()
    if not is_logarithmic:
        axes.margins(x=0.1)


def _best(sweeps: Sequence[Sweep]) -> list[dict[str, float]]:
    """Return the best mean score of each model over all values, one dictionary per panel."""
    panels: dict[tuple[str, int], dict[str, float]] = {}
    for sweep in sweeps:
        plain = sweep.family.plain
        best = max(fmean(group.scores()) for group in sweep.groups)
        panels.setdefault((plain.task, plain.length), {})[sweep.arch] = best
    return list(panels.values())


def _describe(sweep: Sweep, name: str) -> str:
    plain = sweep.family.plain
    points = [
        f"{fmean(group.scores()):.2f} with {name} {text}" for group, text in zip(sweep.groups, sweep.texts, strict=True)
    ]
    return f"{plain.task} at {plain.length}, {sweep.arch}: {', '.join(points)}"
