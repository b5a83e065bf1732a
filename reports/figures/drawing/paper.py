"""Fit a figure to the width of a column of a paper.

Figures are drawn for a page on a screen. Within `column_width`, they are drawn at another width and with smaller fonts.
`fit_panels` then arranges the panels in as many columns as have room, breaks long titles and labels into lines, and
leaves out tick labels that would overlap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Any

from reports.format.numbers import folded

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as MplFigure
    from matplotlib.figure import SubFigure
    from matplotlib.legend import Legend
    from matplotlib.text import Text

    Part = MplFigure | SubFigure
    """A whole figure, or a part of one with panels and legends of its own."""

MIN_WIDTH_INCHES, MAX_WIDTH_INCHES = 2.5, 20.0
"""The range of widths in which figures are legible."""
FONT_SIZES: Mapping[str, float] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "legend.handlelength": 2.4,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
}
"""Settings of matplotlib in a column of a paper, where text has 8 to 10 points."""
LARGEST_POINTS = 8.0
"""Labels of the whole figure are reduced to this size."""
LEGEND_PREFIX = "_legend: "
"""A line whose label begins so is named in the legend above the panels. Other legends ignore such labels."""
MIN_PANEL_INCHES = 1.35
"""A panel has at least this width, with the labels of its axis."""
LABELS_INCHES = 0.5
"""The height of the labels of a whole figure."""
HEIGHT_PER_WIDTH, PANEL_LABELS_INCHES = 0.7, 0.45
"""A row of panels is at most this much higher than a panel is wide, besides its title and tick labels."""
POINTS_PER_INCH = 72
LETTER_PER_POINT = 0.62
"""The width of a letter in relation to its font size. Bold letters are wider."""
BOLD_LETTER_PER_POINT = 0.7

TITLE_SHARE = 0.85
"""The share of the width of a panel that its title may take; the rest are the labels of its axis."""
LABEL_SHARE = 0.7
"""The share of the width of a panel that the label of an axis may take."""
LABEL_GAP_INCHES = 0.03
"""The smallest distance between two tick labels."""
MEASURED_DOTS_PER_INCH = 300
"""The resolution in which texts are measured. At 100 dots per inch, they are up to 6% narrower than in a file."""

_column_width: ContextVar[float | None] = ContextVar("column_width", default=None)


@contextmanager
def column_width(inches: float | None) -> Iterator[None]:
    """Draw figures at a width in inches within a `with` block. With None, figures have their usual widths."""
    token = _column_width.set(inches)
    try:
        yield
    finally:
        _column_width.reset(token)


def is_in_column() -> bool:
    """Return whether figures are drawn for a column of a paper."""
    return _column_width.get() is not None


def drawn_width(usual: float) -> float:
    """Return the width in inches at which a figure with a usual width is drawn."""
    return _column_width.get() or usual


def font_settings() -> dict[Any, float]:
    """Return the settings of matplotlib that differ from those of the style file."""
    return {} if _column_width.get() is None else dict(FONT_SIZES)


def fit_panels(figure: MplFigure, *, keeps_height: bool = False) -> None:
    """Fit a drawn figure to the width of a column. Without a width, the figure is left unchanged.

    Args:
        figure: The figure, whose panels and labels are complete.
        keeps_height: Whether rows of panels keep their height, because it depends on the labels in them.
    """
    if _column_width.get() is None:
        return
    resolution = figure.get_dpi()
    figure.set_dpi(MEASURED_DOTS_PER_INCH)
    try:
        _fit(figure, keeps_height=keeps_height)
    finally:
        figure.set_dpi(resolution)


def _fit(figure: MplFigure, *, keeps_height: bool) -> None:
    parts: Sequence[Part] = list(figure.subfigs) or [figure]
    rows = [_arrange(part, figure.get_figwidth()) for part in parts]
    for part in parts:
        for axes in part.axes:
            _break_labels(axes, figure.get_figwidth() / max(1, _columns(part)))
    upright = [text for text in figure.texts if text.get_rotation() != 0]
    for text in figure.texts:
        text.set_fontsize(min(float(text.get_fontsize()), LARGEST_POINTS))
        if text not in upright:
            _break_text(text, figure.get_figwidth())
    _fit_legends(figure, parts)
    _set_height(figure, parts, rows, keeps_height=keeps_height)
    figure.draw_without_rendering()
    for text in upright:
        _centre_at_panels(figure, text)
    if upright:
        figure.draw_without_rendering()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            _thin_tick_labels(axis)


def _panels(part: Part) -> list[Axes]:
    """Return the panels of a figure or of a part of one, by row and then by column."""
    panels = [axes for axes in part.axes if axes.get_subplotspec() is not None]  # a colour bar has none
    return sorted(panels, key=_place)


def _place(axes: Axes) -> tuple[int, int]:
    """Return the row and the column of a panel."""
    spec = axes.get_subplotspec()
    assert spec is not None
    return spec.rowspan.start, spec.colspan.start


def _columns(part: Part) -> int:
    return max((_place(axes)[1] + 1 for axes in _panels(part)), default=1)


def _arrange(part: Part, width: float) -> tuple[int, int]:
    """Arrange panels in as many columns as have room. Return the number of rows before and after.

    Panels stay in their order by columns, so that the panels of a column stand together.
    """
    panels = [axes for axes in _panels(part) if axes.axison or axes.lines or axes.images]
    before = max((_place(axes)[0] + 1 for axes in panels), default=1)
    columns, room = _columns(part), max(1, int(width / MIN_PANEL_INCHES))
    if columns <= room:
        return before, before
    for axes in _panels(part):
        if axes not in panels:
            axes.remove()
    ordered = sorted(panels, key=lambda axes: _place(axes)[::-1]) if before > 1 else panels
    rows = ceil(len(ordered) / room)
    grid = part.add_gridspec(rows, room)
    for index, axes in enumerate(ordered):
        row, column = divmod(index, room)
        axes.set_subplotspec(grid[row, column])
        if column == 0:
            axes.tick_params(labelleft=True)
        if index + room >= len(ordered):
            axes.tick_params(labelbottom=True)
    return before, rows


def _break_labels(axes: Axes, width: float) -> None:
    """Break the title and the labels of a panel into lines that fit its width in inches."""
    if title := axes.get_title(loc="left"):
        axes.set_title(_in_lines(title, TITLE_SHARE * width, FONT_SIZES["axes.titlesize"], BOLD_LETTER_PER_POINT))
    for axis in (axes.xaxis, axes.yaxis):
        label = axis.get_label()
        label.set_text(_in_lines(label.get_text(), LABEL_SHARE * width, float(label.get_fontsize()), LETTER_PER_POINT))


def _break_text(text: Text, inches: float) -> None:
    text.set_text(_in_lines(text.get_text(), inches, float(text.get_fontsize()), LETTER_PER_POINT))


def _centre_at_panels(figure: MplFigure, text: Text) -> None:
    """Break a vertical label into lines that fit the height of all panels, and centre it there, beside no legend."""
    boxes = [axes.get_window_extent() for axes in figure.axes]
    low, high = min(box.y0 for box in boxes), max(box.y1 for box in boxes)
    if text.get_window_extent().height > high - low:
        _break_text(text, (high - low) / figure.get_dpi())
    text.set_y((low + high) / 2 / figure.bbox.height)


def _in_lines(text: str, inches: float, points: float, letter_per_point: float) -> str:
    letters = int(inches * POINTS_PER_INCH / (points * letter_per_point))
    return "\n".join(line for old in text.splitlines() for line in folded(old, max(letters, 8)))


def _fit_legends(figure: MplFigure, parts: Sequence[Part]) -> None:
    """Move the legends of panels above the panels, and give legends that are wider than the figure fewer columns.

    The last legend above the first panels also names the lines with a label for it, each name once.
    """
    for part in parts:
        for axes in part.axes:
            if (legend := axes.get_legend()) is not None:
                _copy_legend(part, legend, columns=len(legend.get_texts()))
                legend.remove()
    if named := _named_lines(parts):
        legend = parts[0].legends[-1]
        _copy_legend(parts[0], legend, columns=len(legend.get_texts()) + len(named), others=named)
        legend.remove()
    figure.draw_without_rendering()
    for part in parts:
        for legend in list(part.legends):
            for columns in range(len(legend.get_texts()) - 1, 0, -1):
                if legend.get_window_extent().x1 <= figure.bbox.x1:
                    break
                legend.remove()
                legend = _copy_legend(part, legend, columns=columns)
                figure.draw_without_rendering()


def _named_lines(parts: Sequence[Part]) -> dict[str, Artist]:
    """Return the lines that the legend names, by name."""
    lines = [line for part in parts for axes in part.axes for line in axes.lines]
    labelled = [(str(line.get_label()), line) for line in lines]
    return {label.removeprefix(LEGEND_PREFIX): line for label, line in labelled if label.startswith(LEGEND_PREFIX)}


def _copy_legend(part: Part, legend: Legend, *, columns: int, others: Mapping[str, Artist] | None = None) -> Legend:
    """Add a legend with the content of another one, and of `others`, above the panels, in so many columns."""
    pairs = zip(legend.legend_handles, legend.get_texts(), strict=True)
    entries = {text.get_text(): handle for handle, text in pairs if handle is not None} | dict(others or {})
    title = legend.get_title().get_text()
    return part.legend(
        list(entries.values()), list(entries), title=title, alignment="left", loc="outside upper left", ncols=columns
    )


def _set_height(
    figure: MplFigure, parts: Sequence[Part], rows: Sequence[tuple[int, int]], *, keeps_height: bool
) -> None:
    """Give a figure the height that its rows of panels and its legends need."""
    height = figure.get_figheight()
    needed = LABELS_INCHES
    for part, (before, after) in zip(parts, rows, strict=True):
        legends = max((legend.get_window_extent().height / figure.dpi for legend in part.legends), default=0.0)
        usual = (height / len(parts) - LABELS_INCHES / len(parts) - legends) / before
        panel_width = figure.get_figwidth() / _columns(part)
        row = usual if keeps_height else min(usual, HEIGHT_PER_WIDTH * panel_width + PANEL_LABELS_INCHES)
        needed += legends + row * after
    figure.set_figheight(needed)


def _thin_tick_labels(axis: Axis) -> None:
    """Leave out ticks whose labels overlap, at equal distances, but not the last one."""
    labelled = [tick for tick in axis.get_major_ticks() if tick.label1.get_visible() and tick.label1.get_text()]
    low, high = sorted(axis.get_view_interval())
    shown = [tick for tick in labelled if low <= tick.get_loc() <= high]
    is_horizontal = axis.axis_name == "x"  # type: ignore[attr-defined]
    boxes = [tick.label1.get_window_extent() for tick in shown]
    ends = [(box.x0, box.x1) if is_horizontal else (box.y0, box.y1) for box in boxes]
    order = sorted(range(len(shown)), key=lambda index: ends[index])
    stride = 1
    gap = LABEL_GAP_INCHES * axis.get_figure(root=True).get_dpi()  # type: ignore[union-attr]
    while stride < len(order) and _overlap([ends[index] for index in order[::-stride][::-1]], gap):
        stride += 1
    if stride > 1:
        kept = [shown[index] for index in order[::-stride][::-1]]
        axis.set_ticks([tick.get_loc() for tick in kept], labels=[tick.label1.get_text() for tick in kept])


def _overlap(ends: Sequence[tuple[float, float]], gap: float) -> bool:
    """Return whether labels are closer than `gap`. `ends` are their ends in pixels, in order."""
    return any(second[0] - first[1] < gap for first, second in pairwise(ends))
