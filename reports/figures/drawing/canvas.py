"""Shared parts of all figures: plot styles, legends, SVG output and dark mode.

Each plot style has its own colour and marker, so that figures can be read in greyscale, too.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from reports.figures.drawing.tables import FigureTable
from reports.format.numbers import wrap_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure
    from matplotlib.figure import FigureBase
    from matplotlib.transforms import Bbox

STYLE_FILE = Path(__file__).with_name("carousel.mplstyle")
INK, PALE = "#24292f", "#8c959f"
"""The colours of text and of secondary lines. The style file uses the same colours."""
PNG_DOTS_PER_INCH = 160
LETTER_INCHES = 0.08
"""The approximate width of a letter in a legend, in inches."""
LINE_INCHES = 0.175
"""The height of a line of text in a legend, in inches."""
EXPECTED_LINES = 3
"""Figures have room for a legend with this many lines of text. Further lines make a figure higher."""
MAX_TICKS = 7
"""The largest number of ticks on an axis of positions."""
MAX_LETTERS = 38
"""The largest length of a legend line in letters. Longer names are wrapped, because they may differ only at the end."""
DARK_INK, DARK_PALE = "#e6edf3", "#768390"

HEADING_SIZE, HEADING_LINE_INCHES, HEADING_LETTER_INCHES = 10.5, 0.2, 0.1
"""Sizes of the heading in a figure file. The font size is in points. The letter width is that of a bold letter."""

Form = Literal["svg", "png"]
Dash = Literal["solid", "none"] | tuple[int, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class PlotStyle:
    """The colour, marker and dash pattern of one architecture."""

    colour: str
    marker: str
    dash: Dash


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure as SVG text, with its title, alternative text and caption."""

    name: str
    """The file name without suffix, and the ID of the element on the page."""
    title: str
    svg: str
    alternative: str
    """The alternative text: one sentence that says what the figure shows and its main result."""
    description: str
    """The plotted numbers as text, which the SVG contains as its `<desc>`."""
    table: FigureTable | None
    """The plotted numbers as a table, which the page shows below the figure; None if they are too many."""
    how_to_read: str
    """The caption, which explains how to read the figure."""
    render_file: Callable[[Form, str], bytes] | None = field(default=None, repr=False, compare=False)
    """A function that renders the figure below a heading, as SVG or as PNG. None if files have no heading."""


COLOURS = (
    *("#0072B2", "#009E73", "#D55E00", "#CC79A7"),
    *("#E69F00", "#56B4E9", "#5F3DE0", "#7F4A20", "#8DBB5E", "#336666", "#7C8CFF", "#2255BB"),
)
"""The colours of architectures: six of Okabe and Ito's palette, and six that differ most from these and from each
other, also to readers who are red-blind or green-blind. All stand out against a white and a dark page."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h", "*", "<", ">", "d")
MARKER_SHIFT = 5
"""When the colours begin again, so many markers are skipped, so that a colour comes back with an unlike marker."""
DASHES: tuple[Dash, ...] = (
    "solid",
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (3, 1.2)),
    (0, (8, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
)
_ALL_STYLES = tuple(
    PlotStyle(
        COLOURS[n % len(COLOURS)],
        MARKERS[(n + MARKER_SHIFT * (n // len(COLOURS))) % len(MARKERS)],
        DASHES[n % len(DASHES)],
    )
    for n in range(len(COLOURS) * len(MARKERS))
)
"""Styles of which no two have both colour and marker in common."""
_FIXED_STYLES = dict(zip(("lstm", "gru", "rnn", "transformer"), _ALL_STYLES, strict=False))
_SPARE_STYLES = _ALL_STYLES[len(_FIXED_STYLES) :]


def plot_styles(archs: Sequence[str]) -> dict[str, PlotStyle]:
    """Return one plot style per label of an architecture.

    The first label of each well-known architecture gets the fixed style of that architecture. All other labels
    get the spare styles in order. Spare styles repeat if there are too few of them.
    """
    styles: dict[str, PlotStyle] = {}
    spare = 0
    for arch in archs:
        base = re.split(r"[: ]", arch, maxsplit=1)[0]
        known = _FIXED_STYLES.get(base)
        if known is not None and known not in styles.values():
            styles[arch] = known
        else:
            styles[arch] = _SPARE_STYLES[spare % len(_SPARE_STYLES)]
            spare += 1
    return styles


@contextmanager
def figure_style() -> Iterator[None]:
    """Apply the style file within a `with` block.

    Warnings about missing glyphs are ignored, because the fonts of the reader draw the text of an SVG.
    """
    import matplotlib

    with matplotlib.rc_context(fname=STYLE_FILE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def empty_figure(width: float, height: float) -> MplFigure:
    """Return an empty figure of the given size in inches."""
    from matplotlib.figure import Figure as MplFigure

    figure = MplFigure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06, wspace=0.03, hspace=0.05)  # type: ignore[union-attr, call-arg]
    return figure


def legend(figure: FigureBase, styles: dict[str, PlotStyle], *, line: bool = True) -> None:
    """Draw a legend above the panels of a figure or of a part of one, in one row if the row fits.

    With more than `EXPECTED_LINES` lines of text, the figure becomes higher, so that the panels keep their height. If
    `line` is false, the legend shows only markers.
    """
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=style.colour,
            marker=style.marker,
            linestyle=style.dash if line else "none",
            label=wrap_label(arch, MAX_LETTERS),
        )
        for arch, style in styles.items()
    ]
    whole = figure.get_figure(root=True)
    assert whole is not None
    available = whole.get_figwidth()
    letters = [max(map(len, str(handle.get_label()).splitlines()), default=0) for handle in handles]
    widths = [LETTER_INCHES * (count + 7) for count in letters]
    one_row = sum(widths) <= available
    columns = len(handles) if one_row else max(1, int(available / max(widths)))
    rows = -(-len(handles) // columns) if handles else 0
    lines = [str(handle.get_label()).count("\n") + 1 for handle in handles]
    tallest = max((sum(lines[start : start + rows]) for start in range(0, len(lines), max(rows, 1))), default=0)
    whole.set_figheight(whole.get_figheight() + LINE_INCHES * max(0, tallest - EXPECTED_LINES))
    figure.legend(handles=handles, loc="outside upper left", ncols=columns)


def positions_axis(axes: Axes, ticks: Sequence[int]) -> None:
    """Make the horizontal axis logarithmic, with plain numbers at `ticks`, which are positions or lengths in steps."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(ticks), labels=[f"{tick:,}" for tick in ticks])
    axes.minorticks_off()


def thinned(positions: Sequence[int]) -> list[int]:
    """Select at most `MAX_TICKS` evenly spaced positions, always including the last one."""
    stride = max(1, -(-len(positions) // MAX_TICKS))
    return list(positions[::-stride][::-1])


def line_labels(axes: Axes, lines: Sequence[tuple[float, str]], *, gap: float) -> None:
    """Write the names of horizontal lines at the right edge, at least `gap` apart in data units.

    `lines` are pairs of a height in data units and a name.
    """
    previous = -float("inf")
    for height, text in sorted(lines):
        previous = max(height, previous + gap)
        axes.annotate(
            text,
            xy=(1, previous),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=INK,
        )


def finish_figure(
    figure: MplFigure,
    *,
    name: str,
    title: str,
    alternative: str,
    description: str,
    how_to_read: str,
    table: FigureTable | None = None,
    headed: bool = True,
) -> Figure:
    """Return a drawn figure as SVG, together with its texts. Call this function within `figure_style()`.

    Args:
        figure: The drawn matplotlib figure.
        name: The name of the file and of the element on the page.
        title: The heading on the page.
        alternative: One sentence that says what the figure shows and its main result.
        description: The plotted numbers as text; the SVG contains them after the title.
        how_to_read: The caption.
        table: The plotted numbers as a table; None if they are too many.
        headed: Whether files of the figure contain its title.
    """
    description = f"{title}: {description}"

    def render_file(form: Form, heading: str) -> bytes:
        with figure_style(), _headed(figure, heading) as whole:
            if form == "svg":
                return to_svg(figure, title=heading, description=description, whole=whole).encode()
            out = io.BytesIO()
            figure.savefig(
                out,
                format="png",
                dpi=PNG_DOTS_PER_INCH,
                facecolor="white",
                metadata={"Software": None},
                bbox_inches=whole,
            )
        return out.getvalue()

    return Figure(
        name=name,
        title=title,
        svg=to_svg(figure, title=title, description=description),
        alternative=alternative,
        description=description,
        table=table,
        how_to_read=how_to_read,
        render_file=render_file if headed else None,
    )


@contextmanager
def _headed(figure: MplFigure, heading: str) -> Iterator[Bbox]:
    """Put a heading above a figure within a `with` block, and yield the bounding box of both in inches.

    The panels do not move.
    """
    from matplotlib.transforms import Bbox

    figure.set_layout_engine("none")  # the layout for the page is final
    for each in figure.legends:  # otherwise legends would move to the upper edge of the larger box
        each.set_bbox_to_anchor(Bbox.unit(), transform=figure.transFigure)
    for part in figure.subfigs:
        for each in part.legends:
            each.set_bbox_to_anchor(Bbox.unit(), transform=part.transSubfigure)
    width, height = figure.get_size_inches()
    lines = wrap_label(heading, int(width / HEADING_LETTER_INCHES))
    added = HEADING_LINE_INCHES * (lines.count("\n") + 1) + HEADING_LINE_INCHES / 2
    text = figure.text(
        0.06 / width,
        1 + (added - HEADING_LINE_INCHES / 2) / height,
        lines,
        fontsize=HEADING_SIZE,
        fontweight="bold",
        va="top",
        in_layout=False,
    )
    try:
        yield Bbox.from_bounds(0, 0, width, height + added)
    finally:
        text.remove()


def to_svg(figure: MplFigure, *, title: str, description: str, whole: Bbox | None = None) -> str:
    """Return a figure as SVG text with a title, a description and colours for dark mode.

    Equal figures give equal bytes.

    Args:
        figure: The drawn figure.
        title: The title of the SVG, which is also its label for screen readers.
        description: The content of the `<desc>` element.
        whole: The box to save, in inches; None for the whole figure.
    """
    out = io.StringIO()
    figure.savefig(out, format="svg", bbox_inches=whole)
    text = out.getvalue()
    text = text[text.index("<svg ") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = _COORDINATES.sub(lambda match: _EXTRA_DIGITS.sub(r"\1", match[0]), text)
    text = text.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    head, rest = text.split(">", 1)
    return (
        f'{head} role="img" aria-label="{html.escape(title)}">\n'
        f" <title>{html.escape(title)}</title>\n <desc>{html.escape(description)}</desc>\n <style>{_DARK}</style>{rest}"
    )


_COORDINATES = re.compile(r'\b(?:d|x|y|points)="[^"]*"')
_EXTRA_DIGITS = re.compile(r"(\.\d\d)\d+")
"""A pattern for digits beyond a hundredth of a point, which is too small for any screen or printer."""


def _recoloured(light: str, dark: str) -> str:
    return "".join(f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}' for kind in ("fill", "stroke"))


_DARK = f"@media screen and (prefers-color-scheme:dark){{{_recoloured(INK, DARK_INK)}{_recoloured(PALE, DARK_PALE)}}}"
