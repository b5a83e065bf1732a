"""How gates hold: where their activations lie, what they keep to the end of a sequence, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from reports.analysis.groups import Group, archs_of
from reports.analysis.traces import layers, metric_trace, slug, units
from reports.figures.axes import WIDTH, decades_axis
from reports.figures.canvas import INK, PALE, Figure, PlotStyle, figure, finished, legend, plot_styles, style
from reports.format import numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLAIMED_FROM = 0.8
"""The part of 0–1 in which forget gates are said to stay: shaded."""
MIN_KEPT = 1e-12
"""Shares below this are drawn here: so little of anything is nothing to the steps that come after."""
ROW_INCHES = 2.2
MARKS_A_LINE = 6
MARK_ROOM = 1.4
"""Of a logarithmic axis, below the lowest mark."""
SPAN = 20
"""Half-lives are shown at least this many times below and above the sequence's length."""


def retention_figure(found: Sequence[Group], *, task: str, length: int) -> Figure | None:
    """Histogram, retention and half-life of the hold gates, a row a layer; None where there are no such gates."""
    here = [group for group in found if (group.task, group.length) == (task, length)]
    kept = [group for group in here if layers([group], "forget_share")]
    if not kept:
        return None
    colours = {arch: mark for arch, mark in plot_styles(archs_of(found)).items() if arch in archs_of(kept)}
    title = f"How the gates hold, {task} at {length:,}"
    with style():
        rows = layers(kept, "forget_share")
        drawn = figure(WIDTH, 1.1 + ROW_INCHES * len(rows))
        every = drawn.subplots(len(rows), 3, squeeze=False)
        for layer, (histogram, retention, half_life) in zip(rows, every, strict=True):
            for group in kept:
                mark = colours[group.arch]
                _histogram(histogram, group, layer, mark)
                kept_shares = [max(share, MIN_KEPT) for share in units(group, "retention", layer)]
                _sorted_units(retention, kept_shares, mark)
                _sorted_units(half_life, units(group, "half_life_steps", layer), mark)
            histogram.set_ylabel(f"layer {layer + 1}\nshare of activations")
            histogram.axvspan(CLAIMED_FROM, 1, color=PALE, alpha=0.18, linewidth=0)
            histogram.set_xlim(0, 1)
            decades_axis(retention)
            retention.set_ylim(MIN_KEPT / MARK_ROOM, MARK_ROOM)
            decades_axis(half_life)
            low, high = half_life.get_ylim()
            half_life.set_ylim(min(low / MARK_ROOM, length / SPAN), max(high, length * SPAN))
            half_life.axhline(length, color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
        for axes, heading in zip(
            every[0], ("activation of the hold gate", "kept to the last step", "half-life (steps)"), strict=True
        ):
            axes.set_title(heading)
        every[-1, 0].set_xlabel("activation")
        for axes in every[-1, 1:]:
            axes.set_xlabel("share of units, sorted")
        legend(drawn, colours)
        return finished(
            drawn,
            name=f"holding-{slug(task)}-{length}",
            title=title,
            told="; ".join(_told(group, rows) for group in kept),
            how_to_read=(
                "Left: where the activations of the hold gate lie (an LSTM's forget gate, a GRU's update gate) on "
                f"held-out sequences, the shaded part being {CLAIMED_FROM:g}–1. Middle: the product of a unit's hold "
                "gate over all steps after the first, which is the share left at the end of what it wrote at the "
                f"first; logarithmic, and shares below {numbers.power_of_ten(MIN_KEPT)} are drawn there. Right: the "
                "steps after which half is left; the dashed line is the sequence's length. Units of all seeds, sorted."
            ),
        )


def _histogram(axes: Axes, group: Group, layer: int, mark: PlotStyle) -> None:
    shares = metric_trace(group, "hold_histogram", "from_percent", layer=layer)
    if shares is None:
        return
    edges = np.append(np.array(shares.steps) / 100, 1.0)
    axes.stairs(shares.mean, edges, color=mark.colour, linestyle=mark.dash, linewidth=1.4)


def _sorted_units(axes: Axes, values: Sequence[float], mark: PlotStyle) -> None:
    if values:
        places = np.linspace(0, 1, len(values))
        every = max(1, len(values) // MARKS_A_LINE)
        axes.plot(
            places,
            np.sort(values),
            color=mark.colour,
            linestyle=mark.dash,
            marker=mark.marker,
            markevery=every,
            markersize=3.5,
            linewidth=1.5,
        )


def _told(group: Group, rows: Sequence[int]) -> str:
    parts = []
    for layer in rows:
        shares = units(group, "forget_share", layer)
        if shares:
            half_life = float(np.median(units(group, "half_life_steps", layer)))
            parts.append(
                f"layer {layer + 1} {fmean(shares):.2f} of activations in {CLAIMED_FROM:g}–1, median half-life "
                f"{numbers.significant(half_life)} steps"
            )
    return f"{group.arch}: {', '.join(parts)}"
