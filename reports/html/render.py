"""The report page: one self-contained HTML file that opens from disk and loads nothing.

Autoescape covers every string of a record. The content security policy is the second line of defence. The policy
allows a single script, identified by its digest, and no requests. Figures are embedded as images, because SVG in an
image can neither run scripts nor load anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from reports.analysis.frontier import Needs
from reports.html.environment import FOLDER, jinja_environment, keep_options_whole
from reports.html.page_data import PageData
from reports.html.sections import SECTIONS, TERMS_HEADING, Heading
from reports.text.baseline import Baseline
from reports.text.terms import TERMS, Term
from results import Record, RunFile, Traces, write_output_file

SCRIPT = FOLDER / "page.js"


def write_page(
    run: RunFile,
    records: Sequence[Record],
    path: Path | str,
    traces: Mapping[str, Traces] | None = None,
    baseline: Baseline | None = None,
    unusable: Mapping[str, str] | None = None,
    needs: Needs | None = None,
) -> Path:
    """Write the report page of a run to `path`, and return the path.

    The page is written as `results.write_output_file` does, so that readers never see half a page.

    Args:
        run: The run to report.
        records: The records of the run, in any order.
        path: The file to write, or `-` for standard output. Its folder is created if it is missing.
        traces: The traces of the cases whose gates or attention are drawn, by case key; None to draw neither.
        baseline: The baseline run; None to compare with no run.
        unusable: Why a record of the run cannot be used, by the key of its case; None if there is no such record.
        needs: The limits that the page answers to until the reader changes them; None for no limits.

    Raises:
        OSError: `path` cannot be written.
    """
    target = Path(path)
    write_output_file(target, page(run, records, traces, baseline, unusable, needs).encode())
    return target


def page(
    run: RunFile,
    records: Sequence[Record],
    traces: Mapping[str, Traces] | None = None,
    baseline: Baseline | None = None,
    unusable: Mapping[str, str] | None = None,
    needs: Needs | None = None,
) -> str:
    """Return the report page of a run as HTML. Equal arguments give equal text.

    Args:
        run: The run to report.
        records: The records of the run, in any order.
        traces: The traces of the cases whose gates or attention are drawn, by case key; None to draw neither.
        baseline: The baseline run; None to compare with no run.
        unusable: Why a record of the run cannot be used, by the key of its case; None if there is no such record.
        needs: The limits that the page answers to until the reader changes them; None for no limits.
    """
    from markupsafe import Markup

    data = PageData(
        run=run,
        records=records,
        traces=traces or {},
        baseline=baseline,
        unusable=unusable or {},
        needs=needs or Needs(),
    )
    environment = jinja_environment()
    sections: list[tuple[Heading, Markup]] = []
    for section in SECTIONS:
        if (values := section.values(data)) is not None:
            content = environment.get_template(f"{section.template}.html.jinja").render(**values)
            sections.append((section.heading, Markup(content)))  # noqa: S704  # the template has escaped every value
    if terms := _used_terms(sections):
        content = environment.get_template("terms.html.jinja").render(used=terms)
        sections.append((TERMS_HEADING, Markup(content)))  # noqa: S704  # the template has escaped every value
    script = SCRIPT.read_text(encoding="utf-8")
    html = environment.get_template("page.html.jinja").render(
        run=run,
        health=data.health,
        comparison=data.comparison,
        sections=sections,
        script=Markup(script),  # noqa: S704  # our own file; no part of it comes from a record
        script_digest=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    )
    return keep_options_whole(html)


def _used_terms(sections: Sequence[tuple[Heading, str]]) -> dict[str, Term]:
    """Return the terms whose definitions the sections can open, in the order of `TERMS`."""
    text = "".join(content for _, content in sections)
    return {name: term for name, term in TERMS.items() if f'"about-{name}"' in text}
