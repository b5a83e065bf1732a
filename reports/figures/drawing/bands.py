"""Bands: the rows of a figure with more architectures than one panel of lines can show.

Each band draws some of the architectures in their styles, under a legend of its own. The lines of all others stay in
the background, so that every panel can be compared with the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

from reports.figures.drawing.canvas import PALE, PlotStyle, empty_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure
    from matplotlib.figure import FigureBase

MAX_LINES = 6
"""The largest number of architectures in a band."""
CONTEXT_LINE: Mapping[str, Any] = {"color": PALE, "linewidth": 0.8, "alpha": 0.45, "marker": "none", "zorder": 1}
"""The look of the lines of architectures that belong to another band."""
BACKGROUND = " Pale lines are the other architectures, which the other rows show."
"""The end of the caption of a figure with several bands."""


class Band(NamedTuple):
    """A row of panels, and the architectures that it draws in their styles."""

    figure: FigureBase
    """The part of the figure for panels and legend; the whole figure if there is one band."""
    styles: dict[str, PlotStyle]
    """The plot styles of the architectures of the band."""


def banded_figure(
    styles: Mapping[str, PlotStyle], archs: Iterable[str], *, width: float, height: float
) -> tuple[MplFigure, list[Band]]:
    """Return a figure with one band per `MAX_LINES` architectures.

    Args:
        styles: The plot styles of all architectures of the run.
        archs: The architectures that the figure shows.
        width: The width of the figure in inches.
        height: The height of a band in inches.
    """
    shown = set(archs)
    parts = in_bands([arch for arch in styles if arch in shown])
    figure = empty_figure(width, height * len(parts))
    figures = figure.subfigures(len(parts), 1, squeeze=False)[:, 0] if len(parts) > 1 else [figure]
    return figure, [Band(own, {arch: styles[arch] for arch in part}) for own, part in zip(figures, parts, strict=True)]


def in_bands(archs: Sequence[str]) -> list[list[str]]:
    """Divide architectures into bands of about equal size, in order."""
    count = max(1, ceil(len(archs) / MAX_LINES))
    size, larger = divmod(len(archs), count)
    starts = [band * size + min(band, larger) for band in range(count + 1)]
    return [list(archs[start:end]) for start, end in pairwise(starts)]
