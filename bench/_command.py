"""What the commands do once their words are parsed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from rich.console import Console

import reports
from bench._errors import UsageError
from bench._plan import Plan, first_line, load
from bench._run import Outcome
from bench._select import select
from bench._which_case import meant, named_cases, the_one_meant
from results import Probe, Record, Run, RunFile, Store, StoreError, Traces, load_traces

PAGE = "report.html"
MOST_RUNS = 2
"""In a report: a baseline and the run that is held against it."""
LONGEST_COMMAND = 4000
"""Characters of a command that are kept: enough to repeat any that a person typed."""
PRIVATE_OPTIONS = ("--store",)
"""Options whose values are paths of this machine; a stored command leaves them out."""


def choose(
    plan_name: str,
    *,
    archs: Sequence[str],
    tasks: Sequence[str],
    lengths: str | None,
    seeds: int | None,
    params: int | None,
    width: int | None,
    measure: str | None,
) -> Plan:
    """The plan with the user's choices in place of its own. Raises `UsageError`.

    Architectures, tasks or lengths of the user's choice leave out the plan's further grids.
    """
    plan = load(plan_name)
    changes: dict[str, Any] = {}
    if archs:
        changes["archs"] = select("architecture", plan.archs, archs, _registered("arch"))
    if tasks:
        changes["tasks"] = select("task", plan.tasks, tasks, _registered("tasks"))
    if lengths is not None:
        changes["lengths"] = tuple(_whole_number("--lengths", text, 1) for text in lengths.split(","))
    if seeds is not None:
        changes["seeds"] = _whole_number("--seeds", seeds, 1)
    if params is not None and width is not None:
        raise UsageError("give --params, a budget, or --width, not both")
    if params is not None or width is not None:
        changes |= {"params": params, "width": width}
    if {"archs", "tasks", "lengths"} & changes.keys():
        changes["extra"] = ()
    if measure is not None:
        changes["measure"] = _probes(measure)
    try:
        return Plan.model_validate(dict(plan) | changes)
    except ValidationError as error:
        raise UsageError(f"the plan {plan_name} with these options: {first_line(error)}") from None


def command_line(arguments: Sequence[str]) -> str:
    """The command as a user can repeat it, without paths of this machine."""
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        if word in PRIVATE_OPTIONS:
            next(words, None)
        elif not word.startswith(tuple(f"{option}=" for option in PRIVATE_OPTIONS)):
            option, sign, value = word.rpartition("=") if word.startswith("--") else ("", "", word)
            kept.append(f"{option}{sign}{Path(value).name}" if value.endswith((".toml", ".py")) else word)
    return shlex.join(["carousel", *kept])[:LONGEST_COMMAND]


def finish_run(outcome: Outcome, console: Console, *, as_json: bool) -> None:
    """Write the page, then print the leaderboard and the page's path, or one JSON document."""
    page = _write_page(outcome.run, outcome.file, outcome.records, outcome.run.folder / PAGE)
    if as_json:
        print(as_document(outcome.file, outcome.records))
        return
    reports.render_terminal(outcome.file, outcome.records, console=console)
    console.print(f"report: {page}", soft_wrap=True, highlight=False)


def as_document(file: RunFile, records: Sequence[Record]) -> str:
    """A run and its records as one JSON document."""
    return json.dumps(
        {"run": file.model_dump(mode="json"), "records": [record.model_dump(mode="json") for record in records]},
        indent=1,
    )


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
    if len(names) > MOST_RUNS:
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
    written = [_write_page(run, file, records, page, baseline)]
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
    record = _first_with_traces(records) if case is None else the_one_meant(named_cases(file, records), case)
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
    return [f"{one.digest}  {one.title}" for one in (found if case is None else meant(found, case))]


def _first_with_traces(records: Sequence[Record]) -> Record:
    for record in records:
        if "traces" in record.artifacts:
            return record
    raise UsageError("no case of this run has traces; run a plan that measures gates, such as seed-quick")


def read_run(run: Run) -> tuple[RunFile, list[Record]]:
    """A run and its readable records in the order of its cases; damaged files are named on standard error."""
    file = run.file()
    records, damaged = run.read()
    for damage in damaged:
        Console(stderr=True).print(f"[yellow]left out[/] {damage}", highlight=False)
    return file, [records[case.key] for case in file.cases if case.key in records]


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


def _write_page(
    run: Run, file: RunFile, records: Sequence[Record], page: Path, baseline: reports.Baseline | None = None
) -> Path:
    try:
        return reports.write_page(file, records, page, _read_traces(run, file, records), baseline)
    except OSError as error:
        raise UsageError(f"cannot write {page}: {error.strerror}; `carousel report -o` writes it elsewhere") from None


def _registered(room: str) -> Any:
    def names() -> list[str]:
        import importlib

        found: list[str] = importlib.import_module(room).names()
        return found

    return names


def _whole_number(option: str, given: str | int, least: int) -> int:
    try:
        number = int(given)
    except ValueError:
        raise UsageError(f"{option} takes whole numbers, not {given!r}") from None
    if number < least:
        raise UsageError(f"{option} must be at least {least}, not {number}")
    return number


def _probes(text: str) -> tuple[Probe, ...]:
    known = get_args(Probe)
    wanted = [name.strip() for name in text.split(",")]
    for name in wanted:
        if name not in known:
            raise UsageError(f"--measure: no probe {name!r}; there are {', '.join(known)}")
    return tuple(probe for probe in known if probe in wanted)
