"""The figure of hold gates: distribution of activations, retained share at the last step, and half-life."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from reports.analysis.groups import Group, archs_of
from reports.analysis.traces import HIGH_FROM, layers, metric_trace, slug, units
from reports.figures.drawing.alternative_text import extreme, name_all
from reports.figures.drawing.axes import WIDTH, decades_axis
from reports.figures.drawing.bands import Band, banded_figure
from reports.figures.drawing.canvas import (
    INK,
    PALE,
    Figure,
    PlotStyle,
    figure_style,
    finish_figure,
    legend,
    plot_styles,
)
from reports.figures.drawing.scale import current_scale
from reports.figures.drawing.tables import FigureTable, figure_table
from reports.format import numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MIN_RETAINED = 1e-12
"""Smaller shares are drawn at this value, because later steps cannot make use of so little."""
ROW_INCHES = 2.2
MARKERS_PER_LINE = 6
MARKER_ROOM = 1.4
"""The factor by which a logarithmic axis is extended to make room for markers at its end."""
SPAN = 20
"""The axis of half-lives extends at least from the sequence length / `SPAN` to the length × `SPAN`."""


def retention_figure(groups: Sequence[Group], *, task: str, length: int) -> Figure | None:
    """Draw the histogram, the retention and the half-life of hold gates, one row of panels per layer.

    `task` and `length` select the groups to draw. Returns None if no hold gate was measured.
    """
    rivals = [group for group in groups if (group.task, group.length) == (task, length)]
    measured = [group for group in rivals if layers([group], "forget_share")]
    if not measured:
        return None
    rows = layers(measured, "forget_share")
    with figure_style():
        figure, bands = banded_figure(
            plot_styles(archs_of(groups)), archs_of(measured), width=WIDTH, height=1.1 + ROW_INCHES * len(rows)
        )
        for band in bands:
            _draw_band(band, [group for group in measured if group.arch in band.styles], rows, length)
        half_lives = {
            group.arch: max(_median_half_life(group, layer) for layer in layers([group], "forget_share"))
            for group in measured
        }
        longest = extreme([half_lives], "longest", write=lambda steps: f"{numbers.significant(steps)} steps")
        return finish_figure(
            figure,
            name=f"retention-{slug(task)}-{length}",
            title=f"How long units hold their memory, {task} at {length:,}",
            alternative=(
                f"Hold-gate activations, retained shares and half-lives of {name_all(archs_of(measured))} on {task} at "
                f"{length:,}; the median half-life in the best layer is {longest}."
            ),
            description="; ".join(_describe(group, rows) for group in measured),
            table=_table(measured, rows),
            how_to_read=(
                "Left: the distribution of the hold gate's activations (an LSTM's forget gate, a GRU's update gate, "
                "the magnitude of a linear recurrence's decay) on held-out sequences; the range "
                f"{HIGH_FROM:g}–1 is shaded. Middle: how much of what a unit wrote at the first step remains at "
                "the last step, which is the product of its hold gate over all steps after the first; shares below "
                f"{numbers.power_of_ten(MIN_RETAINED)} are drawn at that value. Right: the number of steps after which "
                "half remains; the dashed line is the length of the sequence. Units of all seeds are sorted together."
            ),
        )


def _draw_band(band: Band, groups: Sequence[Group], rows: Sequence[int], length: int) -> None:
    """Draw a row of three panels for each layer in `rows`. `length` is that of the sequences."""
    all_axes = band.figure.subplots(len(rows), 3, squeeze=False)
    for layer, (histogram, retention, half_life) in zip(rows, all_axes, strict=True):
        for group in groups:
            style = band.styles[group.arch]
            _draw_histogram(histogram, group, layer, style)
            retained = [max(share, MIN_RETAINED) for share in units(group, "retention", layer)]
            _draw_sorted(retention, retained, style)
            _draw_sorted(half_life, units(group, "half_life_steps", layer), style)
        share = "share" if current_scale() == "slide" else "share of activations"  # a slide has lower panels
        histogram.set_ylabel(f"layer {layer + 1}\n{share}")
        histogram.axvspan(HIGH_FROM, 1, color=PALE, alpha=0.18, linewidth=0)
        histogram.set_xlim(0, 1)
        decades_axis(retention)
        retention.set_ylim(MIN_RETAINED / MARKER_ROOM, MARKER_ROOM)
        decades_axis(half_life)
        low, high = half_life.get_ylim()
        half_life.set_ylim(min(low / MARKER_ROOM, length / SPAN), max(high, length * SPAN))
        half_life.axhline(length, color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
    headings = ("activation of the hold gate", "retained at the last step", "half-life (steps)")
    for axes, heading in zip(all_axes[0], headings, strict=True):
        axes.set_title(heading)
    all_axes[-1, 0].set_xlabel("activation")
    for axes in all_axes[-1, 1:]:
        axes.set_xlabel("share of units, sorted")
    legend(band.figure, band.styles)


def _draw_histogram(axes: Axes, group: Group, layer: int, style: PlotStyle) -> None:
    shares = metric_trace(group, "hold_histogram", "from_percent", layer=layer)
    if shares is None:
        return
    edges = np.append(np.array(shares.steps) / 100, 1.0)
    axes.stairs(shares.mean, edges, color=style.colour, linestyle=style.dash, linewidth=1.4)


def _draw_sorted(axes: Axes, values: Sequence[float], style: PlotStyle) -> None:
    if values:
        axes.plot(
            np.linspace(0, 1, len(values)),
            np.sort(values),
            color=style.colour,
            linestyle=style.dash,
            marker=style.marker,
            markevery=max(1, len(values) // MARKERS_PER_LINE),
            markersize=3.5,
            linewidth=1.5,
        )


def _median_half_life(group: Group, layer: int) -> float:
    return float(np.median(units(group, "half_life_steps", layer)))


def _describe(group: Group, rows: Sequence[int]) -> str:
    parts = []
    for layer in rows:
        shares = units(group, "forget_share", layer)
        if shares:
            parts.append(
                f"layer {layer + 1} {fmean(shares):.2f} of activations in {HIGH_FROM:g}–1, median half-life "
                f"{numbers.significant(_median_half_life(group, layer))} steps"
            )
    return f"{group.arch}: {', '.join(parts)}"


def _table(groups: Sequence[Group], rows: Sequence[int]) -> FigureTable:
    columns = ("architecture", "layer", f"share of activations in {HIGH_FROM:g}–1", "median half-life, steps")
    return figure_table(
        columns,
        (
            (
                group.arch,
                numbers.count(layer + 1),
                numbers.score(fmean(shares), 2),
                numbers.significant(_median_half_life(group, layer)),
            )
            for group in groups
            for layer in rows
            if (shares := units(group, "forget_share", layer))
        ),
    )
