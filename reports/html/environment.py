"""The jinja environment of the report page and the history page."""

from __future__ import annotations

import base64
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from reports.analysis.streaming.step_costs import StepCost, StepTiming
from reports.figures.drawing.axes import WIDTH
from reports.figures.drawing.canvas import Figure
from reports.format import numbers
from reports.text.sampling import seed_notes
from reports.text.terms import TERMS

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

FOLDER = Path(__file__).parent


@cache
def jinja_environment() -> Environment:
    """Return an environment for `templates/` that escapes every value and rejects undefined names.

    It is made once per process, because it holds the compiled templates.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([FOLDER / "templates", FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "breakable": breakable,
        "css_percent": _css_percent,
        "data_uri": _data_uri,
        "inches": _inches,
        "interpreted_mark": _interpreted_mark,
        "limit_share": numbers.percent,
        "quality_mark": _quality_mark,
        "seed_notes": seed_notes,
    }
    environment.globals |= {"numbers": numbers, "terms": TERMS}
    return environment


def breakable(label: str) -> Markup:
    """Return the label as escaped HTML that may break after each colon and each comma.

    The breaks keep a long label from widening a table.
    """
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[:,])", label))


def keep_options_whole(html: str) -> str:
    """Return HTML in which no line breaks inside an option of a command, such as `--repeat`.

    Browsers may break a line after a hyphen. Only text changes, not attributes, titles, scripts and style sheets.
    """
    parts = _TAGS.split(html)
    parts[::2] = [_OPTION.sub(r'<span class="option">\g<0></span>', text) for text in parts[::2]]
    return "".join(parts)


_TAGS = re.compile(r"(<script\b.*?</script>|<style\b.*?</style>|<title\b.*?</title>|<[^>]*>)", re.DOTALL)
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]{0,28}(?![\w-])")
"""An option. A longer one could be wider than a telephone, so its lines may break."""


def _interpreted_mark(timing: StepTiming | None) -> Markup:
    """Return the mark of an interpreted step, with a leading space; empty for any other step."""
    from markupsafe import Markup

    mark = ' <span class="soft">interpreted</span>' if timing == "interpreted" else ""
    return Markup(mark)  # noqa: S704  # our own text; no part of it comes from a record


def _quality_mark(cost: StepCost) -> Markup:
    """Return the marks of a noisy cost and of one that a single process timed; empty for any other cost."""
    from markupsafe import Markup

    marks = ["noisy"] * cost.noisy + ["1 process"] * cost.is_single
    return Markup("").join(Markup(' <span class="soft">{}</span>').format(mark) for mark in marks)


def _css_percent(share: float) -> str:
    """Return a share as a length of a style sheet. A share that is below 0 or above 1 has no length of its own."""
    return f"{100 * min(max(share, 0.0), 1.0):.1f}%"


def _data_uri(figure: Figure) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(figure.svg.encode()).decode()}"


def _inches(figure: Figure) -> float:
    """Return the width of a figure in inches. The style sheet uses the width to give figures similar text sizes."""
    points = re.search(r'\bwidth="([0-9.]+)pt"', figure.svg)
    return round(float(points[1]) / 72, 2) if points else WIDTH
