"""Render the history page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reports.figures.history import MAX_PANELS, history_figure
from reports.text.history import history_rows
from results import Series

FOLDER = Path(__file__).parent


def history_page(series: Sequence[Series]) -> str:
    """A small page of its own with the figure and a table. The same series give the same text."""
    import base64

    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader([FOLDER / "templates", FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawing = history_figure(series)
    image = None if drawing is None else base64.b64encode(drawing.svg.encode()).decode()
    title = "History" if drawing is None else drawing.title
    return templates.get_template("history.html.jinja").render(
        title=title,
        drawing=drawing,
        image=image,
        rows=history_rows(series),
        left_out=max(0, len(series) - MAX_PANELS),
    )
