"""The figures: pure functions of a run and its records to SVG. matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reports._accuracy_figure import accuracy_against_length
from reports._canvas import Drawing
from reports._cost_figure import accuracy_against_cost
from reports._streaming_figure import streaming_cost
from reports._training_figure import training_curves
from results import Record, RunFile

__all__ = [
    "Drawing",
    "accuracy_against_cost",
    "accuracy_against_length",
    "streaming_cost",
    "training_curves",
    "write_figures",
]


def write_figures(run: RunFile, records: Sequence[Record], folder: Path) -> list[Path]:
    """Every figure of a run as an SVG file of its own. Raises `OSError` where `folder` cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for draw in (accuracy_against_length, streaming_cost, accuracy_against_cost, training_curves):
        if (drawing := draw(run, records)) is not None:
            path = folder / f"{drawing.name}.svg"
            path.write_text(drawing.svg, encoding="utf-8")
            written.append(path)
    return written
