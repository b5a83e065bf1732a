"""The figures: pure functions of a run and its records to SVG. matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from reports.analysis.groups import group_cases
from reports.figures.accuracy import accuracy_against_length
from reports.figures.cost import accuracy_against_cost
from reports.figures.headline import MAX_PANELS, few_panels, headline_figures
from reports.figures.model_internals import model_internals_figures
from reports.figures.overview_cost import memory_share_against_cost_figure
from reports.figures.streaming import streaming_cost
from reports.figures.training import training_curves
from results import Record, RunFile, Traces

__all__ = [
    "accuracy_against_cost",
    "accuracy_against_length",
    "streaming_cost",
    "training_curves",
    "write_figures",
]


def write_figures(
    run: RunFile, records: Sequence[Record], folder: Path, traces: Mapping[str, Traces] | None = None
) -> list[Path]:
    """Every figure of a run as an SVG file of its own, those of `traces` too, where it can be under its title.

    Raises `OSError` where `folder` cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = group_cases(run, records)
    drawn = [draw(run, records) for draw in (accuracy_against_length, streaming_cost, accuracy_against_cost)]
    drawn += [training_curves(run, records), *headline_figures(found)]
    if not few_panels(found, MAX_PANELS):
        drawn.append(memory_share_against_cost_figure(found))
    drawn += model_internals_figures(found, traces or {})
    written: dict[Path, None] = {}
    for drawing in drawn:
        if drawing is not None and (path := folder / f"{drawing.name}.svg") not in written:
            path.write_bytes(drawing.svg.encode() if drawing.file is None else drawing.file("svg", drawing.title))
            written[path] = None
    return list(written)
