"""The history page: a figure and a table of one metric over all stored runs."""

from __future__ import annotations

from collections.abc import Sequence

from reports.figures.history import MAX_PANELS, history_figure
from reports.html.environment import jinja_environment
from reports.text.history import history_rows
from results import Series


def history_page(series: Sequence[Series]) -> str:
    """Return the history page as self-contained HTML.

    The figure shows the first `MAX_PANELS` series, and the table shows all series. Equal series give equal text.
    """
    figure = history_figure(series)
    template = jinja_environment().get_template("history.html.jinja")
    return template.render(
        title="History" if figure is None else figure.title,
        figure=figure,
        rows=history_rows(series),
        left_out=max(0, len(series) - MAX_PANELS),
    )
