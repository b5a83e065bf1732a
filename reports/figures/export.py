"""Write the figures of a run to files. matplotlib is imported only when a figure is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from reports.analysis.groups import group_cases
from reports.figures.accuracy import accuracy_against_length_figure
from reports.figures.cost import accuracy_against_cost_figure
from reports.figures.headline import MAX_PANELS, few_panels, headline_figures
from reports.figures.memory_share import memory_share_against_cost_figure
from reports.figures.model_internals import model_internals_figures
from reports.figures.streaming import streaming_cost_figure
from reports.figures.training import training_curves_figure
from results import Record, RunFile, Traces


def write_figures(
    run: RunFile, records: Sequence[Record], folder: Path, traces: Mapping[str, Traces] | None = None
) -> list[Path]:
    """Write every figure of a run as an SVG file into `folder`, and return the paths.

    Args:
        run: The run to draw.
        records: The records of the run.
        folder: The target, which is created if it does not exist.
        traces: The traces of cases whose gates or attention are drawn, by case key.

    Raises:
        OSError: `folder` cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    groups = group_cases(run, records)
    figures = [
        accuracy_against_length_figure(groups),
        streaming_cost_figure(groups),
        accuracy_against_cost_figure(groups),
        training_curves_figure(groups),
        *headline_figures(groups),
        None if few_panels(groups, MAX_PANELS) else memory_share_against_cost_figure(groups),
        *model_internals_figures(groups, traces or {}),
    ]
    written: dict[Path, None] = {}
    for figure in figures:
        if figure is not None and (path := folder / f"{figure.name}.svg") not in written:
            content = figure.svg.encode() if figure.render_file is None else figure.render_file("svg", figure.title)
            path.write_bytes(content)
            written[path] = None
    return list(written)
