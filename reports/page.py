"""The page: one self-contained HTML file that opens from disk, runs no script and loads nothing.

Every string of a record passes through autoescape, and the content policy forbids what would slip through.
Figures are embedded as images, where SVG can neither run scripts nor load anything.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reports import _numbers as written
from reports._accuracy_figure import accuracy_against_length_of
from reports._canvas import Drawing
from reports._conclusions import choice, conclusions
from reports._context import context, protocols, sizes
from reports._cost_figure import accuracy_against_cost_of
from reports._health import NOISY_PULSE, health
from reports._ledger import ledger, summary
from reports._panels import WIDTH
from reports._series import SOLVED_SHARE, groups, specifications
from reports._streaming import StepCost, step_costs_by_arch
from reports._streaming_figure import streaming_cost_of
from reports._training_figure import training_curves_of
from reports.inside import inside_of
from reports.tables import LeaderboardRow, TimingRow, latency_of, leaderboard_of
from results import Record, RunFile, Traces

FOLDER = Path(__file__).parent
MOST_BESIDE = 3
"""With more panels than this the two signature figures stand one above the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """The leaderboard of one task at one length."""

    task: str
    length: int
    chance: float | None
    blind_to_the_past: float | None
    rows: tuple[LeaderboardRow, ...]


def write_page(
    run: RunFile, records: Sequence[Record], path: Path | str, traces: Mapping[str, Traces] | None = None
) -> Path:
    """Write the page aside, then rename it into place."""
    target = Path(path)
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        aside.write_text(page(run, records, traces), encoding="utf-8")
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    return target


def page(run: RunFile, records: Sequence[Record], traces: Mapping[str, Traces] | None = None) -> str:
    """The whole report as HTML text, with the gates of the cases in `traces`. The same records give the same text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"image": _image, "inches": _inches}
    found = groups(run, records)
    rows, claims = leaderboard_of(found), ledger(run, records)
    contests = _contests(rows)
    signature = _kept([accuracy_against_length_of(found), streaming_cost_of(found)])
    return templates.get_template("page.html.jinja").render(
        run=run,
        health=health(found, finished=run.finished is not None),
        context=context(run, found),
        choice=choice(found),
        conclusions=conclusions(found),
        signature=signature,
        beside=_beside(signature, len(contests)),
        ledger=claims,
        ledger_summary=summary(claims),
        inside=inside_of(found, traces or {}),
        contests=contests,
        near_differs=any(row.near_position not in (None, row.length) for row in rows),
        far=sorted({row.far_position for row in rows if row.far_position is not None}),
        streaming=_streaming(step_costs_by_arch(found)),
        latency=_latency(latency_of(found)),
        cost=accuracy_against_cost_of(found),
        training=training_curves_of(found),
        specifications=specifications(found),
        sizes=sizes(found),
        protocols=protocols(found),
        solved_share=SOLVED_SHARE,
        noisy_pulse=NOISY_PULSE,
        written=written,
    )


def _image(drawing: Drawing) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(drawing.svg.encode()).decode()}"


def _inches(drawing: Drawing) -> float:
    """How wide a figure was drawn: the style sheet shows the text of all figures at about one size."""
    points = re.search(r'\bwidth="([0-9.]+)pt"', drawing.svg)
    return round(float(points[1]) / 72, 2) if points else WIDTH


def _beside(signature: Sequence[Drawing], panels: int) -> str:
    """The columns of the two signature figures, as wide as they were drawn; none where they stand one above another."""
    together = len(signature) == 2 and panels <= MOST_BESIDE and max(map(_inches, signature)) <= WIDTH
    return " ".join(f"{_inches(drawing):g}fr" for drawing in signature) if together else ""


def _kept(drawings: Sequence[Drawing | None]) -> list[Drawing]:
    return [drawing for drawing in drawings if drawing is not None]


def _contests(rows: Sequence[LeaderboardRow]) -> list[Contest]:
    contests = []
    for task, length in dict.fromkeys((row.task, row.length) for row in rows):
        rivals = tuple(row for row in rows if (row.task, row.length) == (task, length))
        contests.append(
            Contest(
                task=task,
                length=length,
                chance=next((row.chance for row in rivals if row.chance is not None), None),
                blind_to_the_past=next(
                    (row.blind_to_the_past for row in rivals if row.blind_to_the_past is not None), None
                ),
                rows=rivals,
            )
        )
    return contests


def _streaming(by_arch: Mapping[str, Sequence[StepCost]]) -> dict[int, dict[str, StepCost]]:
    """Costs by position, each by architecture: the page compares architectures across a row."""
    table: dict[int, dict[str, StepCost]] = {}
    for arch, costs in by_arch.items():
        for cost in costs:
            table.setdefault(cost.position, {})[arch] = cost
    return dict(sorted(table.items()))


def _latency(rows: Sequence[TimingRow]) -> dict[tuple[str, int, int | None], dict[str, TimingRow]]:
    """Rows by timing, length and batch, each by architecture."""
    table: dict[tuple[str, int, int | None], dict[str, TimingRow]] = {}
    for row in rows:
        table.setdefault((row.what, row.length, row.batch), {})[row.arch] = row
    return table
