"""What the commands do once their words are parsed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

import reports
from bench.commands.find_case import matching_case, matching_cases, named_cases
from bench.commands.stored_run import as_document, read_run
from bench.errors import UsageError
from bench.plans.plan import load
from results import Record, Run, RunFile, Store, StoreError, Traces, load_traces

PAGE = "report.html"
MAX_RUNS = 2
"""In a report: a baseline and the run that is held against it."""


def show_run(store: Path, name: str, format: str) -> None:
    """Print the leaderboard of a stored run."""
    file, records = read_run(Store(store).find(name))
    if format == "table":
        reports.render_terminal(file, records)
    elif format == "json":
        print(as_document(file, records))
    else:
        write = {"markdown": reports.as_markdown, "csv": reports.as_csv, "latex": reports.as_latex}[format]
        print(write(file, records), end="")


def report_runs(
    store: Path, names: Sequence[str], output: Path | None, figures: Path | None = None, claims_of: str | None = None
) -> list[Path]:
    """Write the page of a stored run, held against another where two are named, its figures where asked, and say where.

    The run is judged by the claims that it kept, or by those of the plan `claims_of` as they are now. Raises
    `UsageError` where there is no such plan, where it brings no claims, or where nothing can be written.
    """
    if len(names) > MAX_RUNS:
        raise UsageError(f"a report holds one run or two, not {len(names)}; name the baseline, then the run")
    *before, name = names
    run = Store(store).find(name)
    file, records = read_run(run)
    if claims_of is not None:
        claims = load(claims_of).claims
        if not claims:
            raise UsageError(f"the plan {claims_of} brings no claims; leave --claims out, or name one that does")
        file = file.model_copy(update={"claims": claims})
    baseline = None
    if before:
        base_file, base_records = read_run(Store(store).find(before[0]))
        baseline = reports.Baseline(run=base_file, records=base_records)
    page = output or run.folder / (f"against-{baseline.run.id}.html" if baseline else PAGE)
    written = [write_page(run, file, records, page, baseline)]
    if figures is not None:
        try:
            written += reports.write_figures(file, records, figures, _read_traces(run, file, records))
        except OSError as error:
            raise UsageError(f"cannot write into {figures}: {error.strerror}; give another folder") from None
    return written


def draw_gates(store: Path, name: str, case: str | None, output: Path | None) -> list[Path]:
    """Write the figures of one case as SVG and PNG, and say where. Raises `UsageError`."""
    run = Store(store).find(name)
    file, records = read_run(run)
    record = _first_with_traces(records) if case is None else matching_case(named_cases(file, records), case)
    drawings = reports.case_figures(file, records, record.key, load_traces(run, record))
    if not drawings:
        raise UsageError(f"{record.key} has no curves and no traces to draw; plan `seed` measures them")
    folder = output or run.folder / "figures" / record.key
    try:
        return reports.write_case_figures(drawings, folder)
    except OSError as error:
        raise UsageError(f"cannot write into {folder}: {error.strerror}; give another folder with -o") from None


def list_cases(store: Path, name: str, case: str | None) -> list[str]:
    """A line for each case that `draw_gates` can be asked for: its digest, and its name on the page."""
    found = named_cases(*read_run(Store(store).find(name)))
    return [f"{one.digest}  {one.title}" for one in (found if case is None else matching_cases(found, case))]


def _first_with_traces(records: Sequence[Record]) -> Record:
    for record in records:
        if "traces" in record.artifacts:
            return record
    raise UsageError("no case of this run has traces; run a plan that measures gates, such as seed-quick")


def _read_traces(run: Run, file: RunFile, records: Sequence[Record]) -> dict[str, Traces]:
    """The traces of the cases that a page shows; those that cannot be read are named on standard error."""
    by_key = {record.key: record for record in records}
    found: dict[str, Traces] = {}
    for key in reports.shown_cases(file, records):
        try:
            if (traces := load_traces(run, by_key[key])) is not None:
                found[key] = traces
        except StoreError as error:
            Console(stderr=True).print(f"[yellow]left out[/] {error}", highlight=False)
    return found


def write_page(
    run: Run, file: RunFile, records: Sequence[Record], page: Path, baseline: reports.Baseline | None = None
) -> Path:
    """Write the page of a run. Raises `UsageError` if that fails."""
    try:
        return reports.write_page(file, records, page, _read_traces(run, file, records), baseline)
    except OSError as error:
        raise UsageError(f"cannot write {page}: {error.strerror}; `carousel report -o` writes it elsewhere") from None
