"""Markers of step costs: filled if the timings are sound, half-filled if interpreted, hollow if they are noisy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from reports.analysis.streaming.step_costs import StepTiming
from reports.figures.drawing.canvas import PlotStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Fill = Literal["full", "left", "none"]
"""How much of a marker is filled, in the words of matplotlib."""


def marker_fill(timing: StepTiming | None, *, noisy: bool) -> Fill:
    """Return how a marker is filled. A noisy point is hollow even if it is interpreted."""
    if noisy:
        return "none"
    return "left" if timing == "interpreted" else "full"


def marked_line(
    axes: Axes,
    xs: Sequence[float],
    ys: Sequence[float],
    style: PlotStyle,
    fills: Sequence[Fill],
    **options: Any,  # passed on to matplotlib
) -> None:
    """Draw a line in the style of an architecture, with a marker at each point that is filled as `fills` says.

    Args:
        axes: The panel.
        xs, ys: The points of the line, in data units.
        style: The colour, marker and dash pattern.
        fills: How each marker is filled.
        options: Further options of the markers, such as `markersize`.
    """
    axes.plot(xs, ys, color=style.colour, linestyle=style.dash, marker="none")
    for fill in dict.fromkeys(fills):
        points = [(x, y) for x, y, own_fill in zip(xs, ys, fills, strict=True) if own_fill == fill]
        axes.plot(
            *zip(*points, strict=True),
            color=style.colour,
            linestyle="none",
            marker=style.marker,
            fillstyle=fill,
            **options,
        )
