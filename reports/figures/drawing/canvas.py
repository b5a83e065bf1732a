"""Shared parts of all figures: plot styles, legends, SVG output and dark mode.

A colour means an architecture. The variants of an architecture differ in dash pattern and marker. No two styles have
both colour and marker in common, so that figures can be read in greyscale, too.
"""

from __future__ import annotations

import html
import io
import re
import textwrap
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from reports.figures.drawing.paper import drawn_width, fit_panels, font_settings
from reports.figures.drawing.scale import DOTS_PER_INCH, SLIDE_HEIGHT, Scale, current_scale, figure_inches
from reports.figures.drawing.tables import FigureTable
from reports.format.numbers import wrap_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure
    from matplotlib.figure import FigureBase
    from matplotlib.transforms import Bbox

STYLE_FILE = Path(__file__).with_name("carousel.mplstyle")
INK, PALE = "#24292f", "#8c959f"
"""The colours of text and of secondary lines. The style file uses the same colours."""
LETTER_INCHES = 0.08
"""The approximate width of a letter in a legend, in inches."""
LINE_INCHES = 0.175
"""The height of a line of text in a legend, in inches."""
EXPECTED_LINES = 3
"""Figures have room for a legend with this many lines of text. Further lines make a figure higher."""
SYMBOL_LETTERS = 7
"""The width of the symbol beside a name in a legend, in letters."""
MAX_LETTERS = 38
"""The largest length of a legend line in letters. Longer names are wrapped, because they may differ only at the end."""
DARK_INK, DARK_PALE = "#e6edf3", "#768390"

HEADING_SIZE, HEADING_LINE_INCHES, HEADING_LETTER_INCHES = 10.5, 0.2, 0.095
"""Sizes of the heading in a figure file. The font size is in points. The letter width is that of a bold letter."""
CAPTION_SIZE, CAPTION_LINE_INCHES, CAPTION_LETTER_INCHES = 7.5, 0.145, 0.059
"""Sizes of the caption in a figure file, as those of the heading."""

Form = Literal["svg", "pdf", "png"]
Dash = Literal["solid", "none"] | tuple[int, tuple[float, ...]]
UNDATED: dict[Form, dict[str, str | None]] = {"svg": {}, "pdf": {"CreationDate": None}, "png": {"Software": None}}
"""Metadata that are left out of files, so that equal figures give equal bytes."""
TEXT_FIELD: dict[Form, str] = {"pdf": "Subject", "png": "Description"}
"""The field of the metadata with the caption."""


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
    svg: str = field(repr=False)
    alternative: str
    """The alternative text: one sentence that says what the figure shows and its main result."""
    description: str
    """The plotted numbers as text, which the SVG contains as its `<desc>`."""
    table: FigureTable | None
    """The plotted numbers as a table, which the page shows below the figure; None if they are too many."""
    how_to_read: str
    """The caption, which explains how to read the figure."""
    render_file: Callable[[Form, str | None], bytes] = field(repr=False, compare=False)
    """A function that renders the figure as SVG, PDF or PNG, below a heading and above its caption. Without a heading
    (None), a file has no caption either."""
    headed: bool = True
    """Whether files of the figure contain its title."""

    def _repr_svg_(self) -> str:
        """Return the SVG, which a notebook shows."""
        return self.svg


COLOURS = (
    *("#0072B2", "#009E73", "#D55E00", "#CC79A7"),
    *("#E69F00", "#56B4E9", "#5F3DE0", "#7F4A20", "#8DBB5E", "#336666", "#7C8CFF", "#2255BB"),
)
"""The colours of architectures: six of Okabe and Ito's palette, and six that differ most from these and from each
other, also to readers who are red-blind or green-blind. All stand out against a white and a dark page."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h", "*", "<", ">", "d")
MARKER_SHIFT = 5
"""So many markers are skipped for the next variant of an architecture, and when the colours begin again, so that a
colour comes back with an unlike marker."""
DASHES: tuple[Dash, ...] = (
    "solid",
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (3, 1.2)),
    (0, (8, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
)
WELL_KNOWN = ("lstm", "gru", "rnn", "transformer")
"""Architectures that have the same style in every figure."""


def plot_styles(archs: Sequence[str]) -> dict[str, PlotStyle]:
    """Return one plot style per label of an architecture, such as `lstm` or `lstm:forget_bias=2`.

    Labels with the same name before the options have one colour. Their dash patterns differ: the first is solid. The
    first label of each well-known architecture has a fixed style. Other architectures get the spare colours in order.
    Markers repeat, if there are too few of them, with another colour.
    """
    orders = {name: n for n, name in enumerate(WELL_KNOWN)}
    uses = Counter(MARKERS[: len(WELL_KNOWN)])
    variants: Counter[str] = Counter()
    taken: set[tuple[str, str]] = set()
    styles: dict[str, PlotStyle] = {}
    for arch in dict.fromkeys(archs):
        name = re.split(r"[: ]", arch, maxsplit=1)[0]
        order, variant = orders.setdefault(name, len(orders)), variants[name]
        colour = COLOURS[order % len(COLOURS)]
        marker = MARKERS[order % len(MARKERS)]
        if variant or name not in WELL_KNOWN:
            first = order + MARKER_SHIFT * (order // len(COLOURS) + variant)
            others = [MARKERS[(first + n) % len(MARKERS)] for n in range(len(MARKERS))]
            free = [marker for marker in others if (colour, marker) not in taken] or others
            marker = min(free, key=lambda marker: uses[marker])
            uses[marker] += 1
        taken.add((colour, marker))
        styles[arch] = PlotStyle(colour, marker, DASHES[variant % len(DASHES)])
        variants[name] += 1
    return styles


@contextmanager
def figure_style() -> Iterator[None]:
    """Apply the style file, and the fonts for a column of a paper, within a `with` block.

    Warnings about missing glyphs are ignored, because the fonts of the reader draw the text of an SVG.
    """
    import matplotlib

    with matplotlib.rc_context(font_settings(), STYLE_FILE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def empty_figure(width: float, height: float) -> MplFigure:
    """Return an empty figure of the given size in inches.

    Within `column_width`, its width is that of the column. On a slide, it has the size of the slide.
    """
    from matplotlib.figure import Figure as MplFigure

    width, height = figure_inches(width, height)
    figure = MplFigure(figsize=(drawn_width(width), height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06, wspace=0.03, hspace=0.05)  # type: ignore[union-attr, call-arg]
    return figure


def legend(figure: FigureBase, styles: dict[str, PlotStyle], *, line: bool = True) -> None:
    """Draw a legend above the panels of a figure or of a part of one, in one row if the row fits.

    With more than `EXPECTED_LINES` lines of text, the figure becomes higher, so that the panels keep their height. If
    `line` is false, the legend shows only markers.
    """
    from matplotlib.lines import Line2D

    whole = figure.get_figure(root=True)
    assert whole is not None
    available = whole.get_figwidth()
    letters = min(MAX_LETTERS, int(available / LETTER_INCHES) - SYMBOL_LETTERS)
    handles = [
        Line2D(
            [],
            [],
            color=style.colour,
            marker=style.marker,
            linestyle=style.dash if line else "none",
            label=wrap_label(arch, letters),
        )
        for arch, style in styles.items()
    ]
    longest = [max(map(len, str(handle.get_label()).splitlines()), default=0) for handle in handles]
    widths = [LETTER_INCHES * (count + SYMBOL_LETTERS) for count in longest]
    one_row = sum(widths) <= available
    columns = len(handles) if one_row else max(1, int(available / max(widths)))
    rows = -(-len(handles) // columns) if handles else 0
    lines = [str(handle.get_label()).count("\n") + 1 for handle in handles]
    tallest = max((sum(lines[start : start + rows]) for start in range(0, len(lines), max(rows, 1))), default=0)
    whole.set_figheight(whole.get_figheight() + LINE_INCHES * max(0, tallest - EXPECTED_LINES))
    figure.legend(handles=handles, loc="outside upper left", ncols=columns)


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
    keeps_height: bool = False,
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
        headed: Whether files of the figure contain its title and its caption. On a slide, the caption is
            `alternative`, because all lines of `how_to_read` would leave little room for the panels.
        keeps_height: Whether rows of panels keep their height in a column of a paper.
    """
    description = f"{title}: {description}"
    fit_panels(figure, keeps_height=keeps_height)
    scale = current_scale()
    caption = how_to_read if scale == "page" else alternative

    def render_file(form: Form, heading: str | None) -> bytes:
        with figure_style(), _with_texts(figure, heading, caption, scale) as whole:
            if form == "svg":
                described = description if heading is None else f"{description}\n{how_to_read}"
                return to_svg(figure, title=heading or title, description=described, whole=whole).encode()
            words = {"Title": heading or title, TEXT_FIELD[form]: f"{alternative} {how_to_read}"}
            out = io.BytesIO()
            figure.savefig(
                out,
                format=form,
                dpi=DOTS_PER_INCH[scale],
                facecolor="white" if form == "png" else "none",
                metadata=UNDATED[form] | words,
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
        render_file=render_file,
        headed=headed,
    )


@contextmanager
def _with_texts(figure: MplFigure, heading: str | None, caption: str, scale: Scale) -> Iterator[Bbox | None]:
    """Put a heading above and a caption below a figure within a `with` block, and yield the box of all in inches.

    On a page, the panels do not move. On a slide, they become lower, so that all has the format of a slide. Without a
    heading, nothing is added, and None is yielded.
    """
    if heading is None:
        yield None
        return
    from matplotlib.transforms import Bbox

    width = figure.get_figwidth()
    above = wrap_label(heading, int(width / HEADING_LETTER_INCHES)).splitlines()
    below = textwrap.wrap(caption, int(width / CAPTION_LETTER_INCHES))
    added = HEADING_LINE_INCHES * len(above) + HEADING_LINE_INCHES / 2
    room = CAPTION_LINE_INCHES * (len(below) + 1)
    if scale == "slide":
        figure.set_figheight(SLIDE_HEIGHT * width - added - room)
        figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is final
    for each in figure.legends:  # otherwise legends would move to the upper edge of the larger box
        each.set_bbox_to_anchor(Bbox.unit(), transform=figure.transFigure)
    for part in figure.subfigs:
        for each in part.legends:
            each.set_bbox_to_anchor(Bbox.unit(), transform=part.transSubfigure)
    height = figure.get_figheight()
    texts = [
        figure.text(
            0.06 / width,
            1 + (added - HEADING_LINE_INCHES / 2) / height,
            "\n".join(above),
            fontsize=HEADING_SIZE,
            fontweight="bold",
            va="top",
            in_layout=False,
        ),
        *(
            figure.text(
                0.06 / width,
                -CAPTION_LINE_INCHES * (line + 0.5) / height,
                text,
                fontsize=CAPTION_SIZE,
                va="top",
                in_layout=False,
            )
            for line, text in enumerate(below)
        ),
    ]
    try:
        yield Bbox.from_bounds(0, -room, width, height + added + room)
    finally:
        for text in texts:
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
    if whole is None:
        _draw_once(figure, out)
    else:
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


def _draw_once(figure: MplFigure, out: io.StringIO) -> None:
    """Write a whole figure as SVG. `savefig` would draw it twice, because its layout is not final."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    canvas, dpi = figure.canvas, figure.dpi
    try:
        FigureCanvasSVG(figure).print_svg(out)  # type: ignore[no-untyped-call]
    finally:
        figure.dpi = dpi
        figure.set_canvas(canvas)


_COORDINATES = re.compile(r'\b(?:d|x|y|points)="[^"]*"')
_EXTRA_DIGITS = re.compile(r"(\.\d\d)\d+")
"""A pattern for digits beyond a hundredth of a point, which is too small for any screen or printer."""


def _recoloured(light: str, dark: str) -> str:
    return "".join(f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}' for kind in ("fill", "stroke"))


_DARK = f"@media screen and (prefers-color-scheme:dark){{{_recoloured(INK, DARK_INK)}{_recoloured(PALE, DARK_PALE)}}}"
