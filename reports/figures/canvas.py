"""What the figures share: the marks of an architecture, the way to SVG, dark mode.

Each architecture has a colour (Okabe & Ito's colour-blind-safe palette), a marker and a dash of its
own, so that a figure can be read in grey and by colour-blind readers.
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

from reports.format.numbers import wrap_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure
    from matplotlib.transforms import Bbox

STYLE = Path(__file__).with_name("carousel.mplstyle")
INK, PALE = "#24292f", "#8c959f"
"""Text, and everything that stands back: the style file names the same two."""
PNG_DOTS_PER_INCH = 160
LETTER_INCHES = 0.08
"""About the width of a letter in the legend."""
LINE_INCHES = 0.175
EXPECTED_LINES = 3
"""Of a legend, for which figures have room."""
MAX_LETTERS = 38
"""In a line of the legend: a longer name is broken and not cut, since names may differ in their ends."""
DARK_INK, DARK_PALE = "#e6edf3", "#768390"

HEADING_SIZE, HEADING_LINE_INCHES, HEADING_LETTER_INCHES = 10.5, 0.2, 0.1
"""Points, inches between lines, and about the width of a bold letter, of the heading of a file."""

Form = Literal["svg", "png"]
Dash = Literal["solid", "none"] | tuple[int, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class PlotStyle:
    """How one architecture is drawn."""

    colour: str
    marker: str
    dash: Dash


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure as SVG text, with what a reader needs who cannot see it, and how to read it."""

    name: str
    title: str
    svg: str
    alternative: str
    how_to_read: str
    file: Callable[[Form, str], bytes] | None = field(default=None, repr=False, compare=False)
    """Draws the same figure under a heading, as a file that is seen on its own: SVG, or pixels on white."""


_KNOWN = {
    "lstm": PlotStyle("#0072B2", "o", "solid"),
    "gru": PlotStyle("#009E73", "s", (0, (5, 1.5))),
    "rnn": PlotStyle("#D55E00", "^", (0, (1.2, 1.2))),
    "transformer": PlotStyle("#CC79A7", "D", (0, (6, 1.5, 1.2, 1.5))),
}
_OTHERS = (
    PlotStyle("#E69F00", "v", (0, (3, 1.2))),
    PlotStyle("#56B4E9", "P", (0, (8, 2))),
    PlotStyle("#999999", "X", (0, (3, 1, 1, 1, 1, 1))),
    PlotStyle("#0072B2", "h", (0, (2, 2))),
    PlotStyle("#009E73", "*", (0, (6, 2, 2, 2))),
    PlotStyle("#D55E00", "<", (0, (4, 1, 1, 1))),
    PlotStyle("#CC79A7", ">", (0, (1, 2))),
    PlotStyle("#E69F00", "d", "solid"),
)


def plot_styles(archs: Sequence[str]) -> dict[str, PlotStyle]:
    """A mark for each label: fixed for the four first architectures, the others in their order."""
    found: dict[str, PlotStyle] = {}
    spare = 0
    for arch in archs:
        base = re.split(r"[: ]", arch, maxsplit=1)[0]
        known = _KNOWN.get(base)
        if known is not None and known not in found.values():
            found[arch] = known
        else:
            found[arch] = _OTHERS[spare % len(_OTHERS)]
            spare += 1
    return found


@contextmanager
def style() -> Iterator[None]:
    """The style file, and silence about letters that the font lacks: the reader's fonts draw the text."""
    import matplotlib

    with matplotlib.rc_context(fname=STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def figure(width: float, height: float) -> MplFigure:
    """An empty figure of that many inches."""
    from matplotlib.figure import Figure as MplFigure

    made = MplFigure(figsize=(width, height), layout="constrained")
    made.get_layout_engine().set(w_pad=0.06, h_pad=0.06, wspace=0.03, hspace=0.05)  # type: ignore[union-attr, call-arg]
    return made


def legend(drawn: MplFigure, archs: dict[str, PlotStyle], *, line: bool = True) -> None:
    """Above the panels, the name of every architecture: in one row where it fits; the panels keep their height."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=mark.colour,
            marker=mark.marker,
            linestyle=mark.dash if line else "none",
            label=wrap_label(arch, MAX_LETTERS),
        )
        for arch, mark in archs.items()
    ]
    letters = [max(map(len, str(handle.get_label()).splitlines()), default=0) for handle in handles]
    widths = [LETTER_INCHES * (count + 7) for count in letters]
    one_row = sum(widths) <= drawn.get_figwidth()
    columns = len(handles) if one_row else max(1, int(drawn.get_figwidth() / max(widths)))
    rows = -(-len(handles) // columns) if handles else 0
    lines = [str(handle.get_label()).count("\n") + 1 for handle in handles]
    tallest = max((sum(lines[start : start + rows]) for start in range(0, len(lines), max(rows, 1))), default=0)
    drawn.set_figheight(drawn.get_figheight() + LINE_INCHES * max(0, tallest - EXPECTED_LINES))
    drawn.legend(handles=handles, loc="outside upper left", ncols=columns)


def positions_axis(axes: Axes, ticks: Sequence[int]) -> None:
    """A logarithmic axis of whole numbers, every tick written out."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(ticks), labels=[f"{tick:,}" for tick in ticks])
    axes.minorticks_off()


def line_labels(axes: Axes, lines: Sequence[tuple[float, str]], *, gap: float) -> None:
    """Names of horizontal lines beside the right edge, at least `gap` apart in data units."""
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


def finished(drawn: MplFigure, *, name: str, title: str, told: str, how_to_read: str) -> Figure:
    """A figure as a drawing, which can be had as a file with a heading too. Called within `style()`."""
    alternative = f"{title}: {told}"

    def file(form: Form, heading: str) -> bytes:
        with style(), _headed(drawn, heading) as whole:
            if form == "svg":
                return to_svg(drawn, title=heading, alternative=alternative, whole=whole).encode()
            out = io.BytesIO()
            drawn.savefig(
                out,
                format="png",
                dpi=PNG_DOTS_PER_INCH,
                facecolor="white",
                metadata={"Software": None},
                bbox_inches=whole,
            )
        return out.getvalue()

    svg = to_svg(drawn, title=title, alternative=alternative)
    return Figure(name=name, title=title, svg=svg, alternative=alternative, how_to_read=how_to_read, file=file)


@contextmanager
def _headed(drawn: MplFigure, heading: str) -> Iterator[Bbox]:
    """A figure with a heading over it, and the inches that hold both: its panels stay as they are on a page."""
    from matplotlib.transforms import Bbox

    drawn.set_layout_engine("none")  # it has been laid out for the page
    for one in drawn.legends:  # they would else follow the upper edge of what is written
        one.set_bbox_to_anchor(Bbox.unit(), transform=drawn.transFigure)
    width, height = drawn.get_size_inches()
    lines = wrap_label(heading, int(width / HEADING_LETTER_INCHES))
    added = HEADING_LINE_INCHES * (lines.count("\n") + 1) + HEADING_LINE_INCHES / 2
    text = drawn.text(
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


def to_svg(drawn: MplFigure, *, title: str, alternative: str, whole: Bbox | None = None) -> str:
    """SVG text: the same figure gives the same bytes; it names itself to screen readers and follows dark mode."""
    out = io.StringIO()
    drawn.savefig(out, format="svg", bbox_inches=whole)
    text = out.getvalue()
    text = text[text.index("<svg ") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = _PLACES.sub(lambda found: _LONG.sub(r"\1", found[0]), text)
    text = text.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    head, rest = text.split(">", 1)
    return (
        f'{head} role="img" aria-label="{html.escape(title)}">\n'
        f" <title>{html.escape(title)}</title>\n <desc>{html.escape(alternative)}</desc>\n <style>{_DARK}</style>{rest}"
    )


_PLACES = re.compile(r'\b(?:d|x|y|points)="[^"]*"')
_LONG = re.compile(r"(\.\d\d)\d+")
"""A hundredth of a point is finer than any screen or printer shows."""


def _recoloured(light: str, dark: str) -> str:
    return "".join(f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}' for kind in ("fill", "stroke"))


_DARK = f"@media screen and (prefers-color-scheme:dark){{{_recoloured(INK, DARK_INK)}{_recoloured(PALE, DARK_PALE)}}}"
