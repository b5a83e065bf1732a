"""The history page: a sparkline and a table of runs for each series of one metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reports.figures.history import title_of
from reports.html.environment import jinja_environment, keep_options_whole
from reports.html.sparkline import sparkline
from reports.text.history import history_rows, run_rows
from results import FALSE_ALARMS, Series


def history_page(series: Sequence[Series], pages: Mapping[str, str] | None = None) -> str:
    """Return the history page as self-contained HTML. Equal arguments give equal text.

    Args:
        series: The series; at least one.
        pages: The address of a run's report page by the id of the run; None if there are no pages.
    """
    template = jinja_environment().get_template("history.html.jinja")
    html = template.render(
        title=f"{title_of(series[0].metric)} over stored runs",
        series=[
            {
                "row": row,
                "spark": sparkline(each),
                "runs": run_rows(each),
                "hosts": len(each.hosts),
            }
            for each, row in zip(series, history_rows(series), strict=True)
        ],
        pages=pages or {},
        false_alarms=f"{FALSE_ALARMS:.0%}",
    )
    return keep_options_whole(html)
