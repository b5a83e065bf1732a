"""Write the figures of a run to files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from reports.figures.accuracy import accuracy_against_length_figure
from reports.figures.chunks import chunk_cost_figure
from reports.figures.cost import accuracy_against_cost_figure
from reports.figures.drawing.canvas import Figure, Form
from reports.figures.drawing.paper import column_width
from reports.figures.drawing.scale import Scale, drawn_at
from reports.figures.streaming import streaming_cost_figure
from reports.figures.training import training_curves_figure
from reports.html.page_data import PageData
from reports.html.sections import page_figures
from results import Record, RunFile, Traces, write_output_file


class UnknownFigure(ValueError):
    """The error raised if a run has no figure with a chosen name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureOptions:
    """How figures are written, and which."""

    form: Form = "svg"
    width: float | None = None
    """The width in inches of a column of a paper; None for the usual widths. In a column, no figure has a heading."""
    scale: Scale = "page"
    """The scale of text and lines. On a slide, each figure has a heading and a caption of one sentence."""
    only: tuple[str, ...] = ()
    """The names of the figures to write, or patterns of names such as `gates-*`; empty for all."""


SVG_FILES = FigureOptions()
DETAILED: dict[str, Callable[[PageData], Figure | None]] = {
    "accuracy-against-length": lambda data: accuracy_against_length_figure(data.groups),
    "streaming-cost": lambda data: streaming_cost_figure(data.groups),
    "chunk-cost": lambda data: chunk_cost_figure(data.groups, data.step_costs),
    "accuracy-against-cost": lambda data: accuracy_against_cost_figure(data.groups),
    "training-curves": lambda data: training_curves_figure(data.groups),
}
"""Figures that the page may omit or simplify, by name."""


def write_figures(
    run: RunFile,
    records: Sequence[Record],
    folder: Path,
    traces: Mapping[str, Traces] | None = None,
    options: FigureOptions = SVG_FILES,
) -> list[Path]:
    """Write the figures of a run into `folder`, one file each, and return the paths.

    Figures that the page omits because they have too many panels are written too.

    Args:
        run: The run to draw.
        records: The records of the run.
        folder: The target, which is created if it does not exist.
        traces: The traces of the cases whose gates or attention are drawn, by case key; None to draw neither.
        options: The format, the width, the scale and the choice of figures.

    Raises:
        UnknownFigure: The run has no figure that a name or pattern in `options.only` matches. No file is written.
        OSError: `folder` cannot be written.
    """
    data = PageData(run=run, records=records, traces=traces or {}, baseline=None)
    with column_width(options.width), drawn_at(options.scale):
        figures = _figures(data, options.only)
        chosen = dict.fromkeys(figures)
        if options.only:
            chosen = dict.fromkeys(name for pattern in options.only for name in _matching(pattern, figures))
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for name in chosen:
            path = folder / f"{name}.{options.form}"
            write_output_file(path, _content(figures[name], options))
            written.append(path)
    return written


def _matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the names that a name or pattern matches. Raises `UnknownFigure` if there are none."""
    if matching := [name for name in names if fnmatchcase(name, pattern)]:
        return matching
    raise UnknownFigure(f"no figure {pattern!r} in this run; choose from {', '.join(names) or 'none'}")


def _figures(data: PageData, only: Sequence[str]) -> dict[str, Figure]:
    """Return every figure of a run by name, or only those in `only` if these are known without drawing the others.

    A figure on the page has the same name as the one in `DETAILED` that stands for it here.
    """
    chosen = {name: draw(data) for name, draw in DETAILED.items() if name in only}
    if only and all(chosen.get(name) is not None for name in only):
        return _drawn(chosen)
    figures = _drawn({name: draw(data) for name, draw in DETAILED.items()})
    for figure in page_figures(data):
        figures.setdefault(figure.name, figure)
    return figures


def _drawn(figures: Mapping[str, Figure | None]) -> dict[str, Figure]:
    return {name: figure for name, figure in figures.items() if figure is not None}


def _content(figure: Figure, options: FigureOptions) -> bytes:
    has_heading = options.scale == "slide" or (figure.headed and options.width is None)
    if options.form == "svg" and not has_heading and not figure.headed:
        return figure.svg.encode()
    return figure.render_file(options.form, figure.title if has_heading else None)
