"""The page: one self-contained HTML file that opens from disk and loads nothing.

Every string of a record passes through autoescape, and the content policy forbids what would slip through: of
scripts it lets only our own run, known by its digest, which sorts and filters what is already there.
Figures are embedded as images, where SVG can neither run scripts nor load anything.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.analysis.gate_levels import EXPLANATION as GATE_EXPLANATION
from reports.analysis.gate_levels import ROLES, gate_levels
from reports.analysis.groups import SOLVED_SHARE, Group, groups, specifications
from reports.analysis.health import health
from reports.analysis.heatmap import heat_maps
from reports.analysis.latency import TimingRow, latency_of
from reports.analysis.leaderboard import leaderboard_of
from reports.analysis.memory_share import settings
from reports.analysis.overview import OverviewRow, overview_rows
from reports.analysis.ranking import NEARLY_EQUAL
from reports.analysis.roofline import EXPLANATION as LIMIT_EXPLANATION
from reports.analysis.roofline import percent, shares_of
from reports.analysis.step_costs import StepCost, step_costs_by_arch
from reports.analysis.throughput import Throughput, throughputs
from reports.figures.axes import WIDTH
from reports.figures.baseline import scores_of_both, steps_of_both
from reports.figures.canvas import Figure
from reports.figures.cost import accuracy_against_cost_of
from reports.figures.headline import MAX_PANELS, MAX_SHOWN, few_panels, headline_figures_of
from reports.figures.model_internals import inside_of
from reports.figures.overfitting import trained_otherwise
from reports.figures.overview_cost import memory_share_against_cost_of
from reports.figures.streaming import streaming_cost_of
from reports.figures.training import training_curves_of
from reports.format import numbers
from reports.html.attachment import attachment
from reports.html.case_details import case_details
from reports.html.growth import growth_section
from reports.text.baseline import Baseline, versus_of
from reports.text.claims import ledger, summary
from reports.text.conclusions import conclusions
from reports.text.context import context, protocols, sizes
from reports.text.recommendation import choice, exceptions, left_out
from results import BUSY_LOAD, MAX_STEAL_SHARE, MAX_WAITING_SHARE, SLOW_CALIBRATION, Record, RunFile, Traces

if TYPE_CHECKING:
    from markupsafe import Markup

FOLDER = Path(__file__).parent
SCRIPT = FOLDER / "page.js"


def write_page(
    run: RunFile,
    records: Sequence[Record],
    path: Path | str,
    traces: Mapping[str, Traces] | None = None,
    baseline: Baseline | None = None,
) -> Path:
    """Write the page aside, then rename it into place."""
    target = Path(path)
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        aside.write_text(page(run, records, traces, baseline), encoding="utf-8")
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    return target


def page(
    run: RunFile,
    records: Sequence[Record],
    traces: Mapping[str, Traces] | None = None,
    baseline: Baseline | None = None,
) -> str:
    """The whole report as HTML text, with the gates of the cases in `traces`, and held against a baseline if any.

    The same records give the same text.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    templates = Environment(
        loader=FileSystemLoader([FOLDER / "templates", FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"image": _image, "inches": _inches, "broken": chunk_of}
    templates.globals |= {"written": numbers}
    found = groups(run, records)
    costs = step_costs_by_arch(found)
    rows = overview_rows(found, costs)
    script = SCRIPT.read_text(encoding="utf-8")
    return templates.get_template("page.html.jinja").render(
        run=run,
        health=health(found, finished=run.finished is not None),
        context=context(run, found),
        script=Markup(script),  # noqa: S704  # our own file, and no part of it comes from a record
        script_digest=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        **_against(run, records, found, baseline),
        **_summary(found, rows, costs),
        **_tables(run, records, found, costs),
        **_figures(found, rows, costs, traces or {}),
        solved_share=SOLVED_SHARE,
        noise={
            "pulse": SLOW_CALIBRATION,
            "load": f"{BUSY_LOAD:.0%}",
            "stolen": f"{MAX_STEAL_SHARE:.0%}",
            "waited": f"{MAX_WAITING_SHARE:.0%}",
        },
        nearly_equal=NEARLY_EQUAL,
    )


def _against(
    run: RunFile, records: Sequence[Record], found: Sequence[Group], baseline: Baseline | None
) -> dict[str, Any]:
    if baseline is None:
        return {"versus": None, "versus_figures": []}
    versus = versus_of(run, records, found, baseline)
    figures = [scores_of_both(versus, found), steps_of_both(groups(baseline.run, baseline.records), found)]
    return {"versus": versus, "versus_figures": [drawing for drawing in figures if drawing is not None]}


def _summary(found: Sequence[Group], rows: Sequence[OverviewRow], costs: dict[str, list[StepCost]]) -> dict[str, Any]:
    """The first screen's words."""
    return {
        "overview_rows": rows,
        "settings": list(settings(found)),
        "choice": choice(found, rows),
        "exceptions": exceptions(found, rows),
        "left_out": left_out(found, rows),
        "conclusions": conclusions(found, costs),
    }


def _tables(
    run: RunFile, records: Sequence[Record], found: Sequence[Group], costs: dict[str, list[StepCost]]
) -> dict[str, Any]:
    rows, claims, streams = leaderboard_of(found), ledger(run, records), _by_streams(throughputs(found))
    return {
        "rows": rows,
        "near_differs": any(row.near_position not in (None, row.length) for row in rows),
        "far": sorted({row.far_position for row in rows if row.far_position is not None}),
        "shares": shares_of(found),
        "growth": growth_section(found),
        "heat": heat_maps(found),
        "ledger": claims,
        "ledger_summary": summary(claims),
        "streaming": costs,
        "throughputs": streams,
        "stream_counts": sorted({count for rates in streams.values() for count in rates}),
        "percent": percent,
        "limit_explanation": LIMIT_EXPLANATION,
        "latency": _latency(latency_of(found)),
        "case_details": case_details(found),
        "attachment": attachment(run, records),
        "specifications": specifications(found),
        "sizes": sizes(found),
        "protocols": protocols(found),
    }


def _figures(
    found: Sequence[Group],
    rows: Sequence[OverviewRow],
    costs: dict[str, list[StepCost]],
    traces: Mapping[str, Traces],
) -> dict[str, Any]:
    first, further = headline_figures_of(found)
    again = trained_otherwise(found)  # the same models, whose steps cost the same
    plain = [group for group in found if not any(group is other for other in again)]
    streamed = streaming_cost_of(plain, among=found, costs=None if again else costs)
    signature = [drawing for drawing in (first, streamed) if drawing is not None]
    return {
        "signature": signature,
        "beside": _beside(signature),
        "every_length": further,
        "panels": len({(group.task, group.length) for group in found}),
        "most_panels": MAX_SHOWN,
        "cost": accuracy_against_cost_of(found)
        if few_panels(found, MAX_PANELS)
        else memory_share_against_cost_of(found, rows),
        "training": training_curves_of(plain, among=found) if few_panels(found, MAX_SHOWN) else None,
        "inside": inside_of(found, traces),
        "gate_levels": gate_levels(plain),
        "gate_roles": ROLES,
        "gate_explanation": GATE_EXPLANATION,
    }


def _image(drawing: Figure) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(drawing.svg.encode()).decode()}"


def _inches(drawing: Figure) -> float:
    """How wide a figure was drawn: the style sheet shows the text of all figures at about one size."""
    points = re.search(r'\bwidth="([0-9.]+)pt"', drawing.svg)
    return round(float(points[1]) / 72, 2) if points else WIDTH


def chunk_of(label: str) -> Markup:
    """A label, escaped, that may be broken after its separators: a long one must not push a table off the screen."""
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[:,])", label))


def _beside(signature: Sequence[Figure]) -> str:
    """The columns of the two signature figures, as wide as they were drawn; none where there is one only."""
    return " ".join(f"{_inches(drawing):g}fr" for drawing in signature) if len(signature) == 2 else ""


def _by_streams(rows: Sequence[Throughput]) -> dict[tuple[str, int], dict[int, float]]:
    """Steps a second by architecture and position, each by the number of streams."""
    table: dict[tuple[str, int], dict[int, float]] = {}
    for row in rows:
        table.setdefault((row.arch, row.position), {})[row.streams] = row.steps_per_second
    return table


def _latency(rows: Sequence[TimingRow]) -> dict[tuple[str, int, int | None], dict[str, TimingRow]]:
    """Rows by timing, length and batch, each by architecture."""
    table: dict[tuple[str, int, int | None], dict[str, TimingRow]] = {}
    for row in rows:
        table.setdefault((row.what, row.length, row.batch), {})[row.arch] = row
    return table
