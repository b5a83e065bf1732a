"""Write the figures of a run to files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from reports.figures.accuracy import accuracy_against_length_figure
from reports.figures.chunks import chunk_cost_figure
from reports.figures.cost import accuracy_against_cost_figure
from reports.figures.streaming import streaming_cost_figure
from reports.figures.training import training_curves_figure
from reports.html.page_data import PageData
from reports.html.sections import page_figures
from results import Record, RunFile, Traces, write_output_file


def write_figures(
    run: RunFile, records: Sequence[Record], folder: Path, traces: Mapping[str, Traces] | None = None
) -> list[Path]:
    """Write every figure of a run as an SVG file into `folder`, and return the paths.

    Figures that the page omits because they have too many panels are written too.

    Args:
        run: The run to draw.
        records: The records of the run.
        folder: The target, which is created if it does not exist.
        traces: The traces of the cases whose gates or attention are drawn, by case key; None to draw neither.

    Raises:
        OSError: `folder` cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = PageData(run=run, records=records, traces=traces or {}, baseline=None)
    figures = [
        accuracy_against_length_figure(data.groups),
        streaming_cost_figure(data.groups),
        chunk_cost_figure(data.groups, data.step_costs),
        accuracy_against_cost_figure(data.groups),
        training_curves_figure(data.groups),
        *page_figures(data),
    ]
    written: dict[Path, None] = {}
    for figure in figures:
        if figure is not None and (path := folder / f"{figure.name}.svg") not in written:
            content = figure.svg.encode() if figure.render_file is None else figure.render_file("svg", figure.title)
            write_output_file(path, content)
            written[path] = None
    return list(written)
