"""`carousel history`: show one metric of a case over all stored runs."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.commands.comparison_options import parse_allow, parse_renames
from bench.commands.output import console_beside, format_by_ending, print_json, print_lines, write_output
from bench.commands.stored_run import read_runs
from bench.errors import NothingSelected, UsageError
from bench.machine.provenance import HOME, commits_in_order
from reports.figures import history_figure
from reports.format import plural, print_labelled, print_table, printable
from reports.html import history_page
from reports.text import history_rows, levels, run_rows
from results import FALSE_ALARMS, Series, Store, history, is_standard_output, location_of_range, location_parts
from results.comparison import locations, renames, require_known
from results.store import reading_many

FORMATS = {".html": "page", ".htm": "page", ".svg": "figure"}
"""The content of the file by its ending. Without an ending, it is a page."""
MAX_SHOWN = 12
"""The largest number of locations or architectures that an error message names."""
MIN_RUNS_FOR_CHANGE = 10
"""Minimum number of runs needed to detect a change at the false-alarm rate `FALSE_ALARMS`."""


def show_history(
    store: Path,
    glob: str,
    metric: str,
    at: Sequence[str],
    output: Path | None,
    *,
    allow: str | None = None,
    rename: Sequence[str] = (),
    order: Literal["time", "commit"] = "time",
    as_json: bool,
) -> None:
    """Print, and optionally draw, one metric over all stored runs.

    Args:
        store: Folder of runs.
        glob: Pattern for an architecture, for arch/task/length, or for a case's key.
        metric: Name of the metric.
        at: Locations of the measurement, such as `position=1024` or `length=40..256`.
        output: File for an HTML page, or for a figure if it ends in `.svg`; `-` is standard output; None writes no
            file.
        allow: Fields that may differ within a series, separated by commas; None for no field.
        rename: New names of architectures and tasks, such as `old=new`.
        order: Whether runs are in the order in which they ended, or in that of their commits.
        as_json: Whether to print one JSON document instead of tables.

    If the file goes to standard output, the tables go to standard error. Raises `StoreError` if the store has no runs.
    Raises `NothingSelected` if no run measured the metric for a matching case. Raises `RenameError` if names cannot be
    joined, or if no case has an old name of `rename`. Raises `UsageError` if `at`, `allow` or `rename` is invalid, if
    the order of the commits is unknown, or if `output` has an unknown ending or cannot be written.
    """
    form = format_by_ending(output, FORMATS)
    console = console_beside({"-o": output}, as_json=as_json)
    conditions = {name: value for text in at for name, value in _parse_condition(text).items()}
    allowed, names = parse_allow(allow), parse_renames(rename)
    with reading_many():
        runs = list(read_runs(Store(store)))
    files = [file for file, _ in runs]
    require_known(names, [case for file in files for case in file.cases], renames(files, names))
    series_of = functools.partial(history, runs, glob=glob, metric=metric, at=conditions, allow=allowed, renamed=names)
    series = series_of()
    if not series:
        measured = locations(runs, glob=glob, renamed=names)
        archs = sorted({record.case.arch for _, records in runs for record in records})
        raise NothingSelected(_nothing(store, glob, metric, at, measured, archs))
    if order == "commit":
        series = series_of(commits=_commits_in_order(series))
    try:
        if as_json:
            document = {"metric": metric, "order": order, "false_alarms": FALSE_ALARMS}
            print_json(document | {"series": [_document(each) for each in series]})
        else:
            _print_series(series, console)
    finally:  # also if standard output cannot be written
        if output is not None:
            content = _figure(series) if form == "figure" else history_page(series, _pages(series, store, output))
            write_output(output, content.encode())
    if output is not None and not as_json and not is_standard_output(output):
        print(output)


def _nothing(
    store: Path,
    glob: str,
    metric: str,
    at: Sequence[str],
    measured: Mapping[str, Sequence[Mapping[str, int]]],
    archs: Sequence[str],
) -> str:
    """Return why nothing was selected, and what to choose instead.

    Args:
        store: Folder of runs.
        glob: The pattern for cases.
        metric: The name of the metric.
        at: The locations as the user gave them.
        measured: The locations of the measurements of all matching cases, by metric.
        archs: The architectures of all runs.
    """
    where = f" at {', '.join(at)}" if at else ""
    text = f"no run in {store} measured {metric}{where} for a case that matches {glob!r}"
    if not measured:
        return f"{text}, since no measured case matches; the architectures are {_some(archs) or 'none'}"
    if metric not in measured:
        return f"{text}; choose a metric from {', '.join(measured)}"
    places = [" ".join(f"--at {name}={value}" for name, value in location_parts(place)) for place in measured[metric]]
    shown = [place for place in places if place]
    if not shown:
        return f"{text}; leave out --at"
    return f"{text}; choose from {_some(shown)}"


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - MAX_SHOWN} more" if len(texts) > MAX_SHOWN else ""
    return f"{', '.join(texts[:MAX_SHOWN])}{more}"


def _commits_in_order(series: Sequence[Series]) -> list[str]:
    """Return the commits of all runs of the series, oldest first.

    The order is that of the repository in the current folder or, if that lacks a commit, of Carousel's own. Raises
    `UsageError` if neither knows all commits.
    """
    commit_of = {point.run: point.commit for each in series for point in each.points}
    for run, commit in commit_of.items():
        if commit is None:
            raise UsageError(f"--order commit: the run {run} recorded no commit; use --order time")
    commits = {commit for commit in commit_of.values() if commit is not None}
    known: list[str] = []
    for folder in (Path.cwd(), HOME):
        known = commits_in_order(commits, folder)
        if commits == set(known):
            return known
    run, commit = next((run, commit) for run, commit in commit_of.items() if commit not in known)
    raise UsageError(
        f"--order commit: no git repository here has the commit {commit} of the run {run}; run the command in a full "
        "clone, or use --order time"
    )


def _pages(series: Sequence[Series], store: Path, output: Path) -> dict[str, str]:
    """Return the addresses of the report pages that exist, relative to the history page, by the id of the run."""
    start = Path.cwd() if is_standard_output(output) else output.absolute().parent
    pages = {}
    for run in dict.fromkeys(point.run for each in series for point in each.points):
        page = store.absolute() / run / "report.html"
        if page.is_file():
            with contextlib.suppress(ValueError):  # on Windows, another drive has no relative path
                pages[run] = quote(Path(os.path.relpath(page, start)).as_posix())
    return pages


def _figure(series: Sequence[Series]) -> str:
    figure = history_figure(series)
    assert figure is not None
    return figure.svg


def _print_series(series: Sequence[Series], console: Console) -> None:
    for each, row in zip(series, history_rows(series), strict=True):
        where = f" at {row.place}" if row.place else ""
        print_labelled(row.case, f" {each.metric}{where}", console)
        print_lines([f"  {row.environment}"], console, style="dim")
        print_lines([f"  {row.spark}  {plural(row.runs, 'run')}, last {row.last}"], console)
        if row.machines:
            print_lines([f"  machines: {row.machines}"], console)
        print_lines([f"  changed: {change}" for change in row.changes], console, style="yellow")
        print_lines([f"  differs: {difference}" for difference in row.differences], console, style="yellow")
    if len(series) == 1:
        _print_runs(series[0], console)
    too_few = min(len(each.points) for each in series) < MIN_RUNS_FOR_CHANGE
    hint = f"; detecting a change takes at least {MIN_RUNS_FOR_CHANGE} runs" if too_few else ""
    print_lines([f"at most {FALSE_ALARMS:.0%} of unchanged series are reported as changed{hint}"], console)


def _print_runs(series: Series, console: Console) -> None:
    rows = run_rows(series)
    has_commits, has_hosts = any(row.commit for row in rows), len(series.hosts) > 1
    table = Table("run", *["commit"] * has_commits, *["host"] * has_hosts, "value (95% interval)", "n", "", box=None)
    for row in rows:
        cells = [row.run, *[row.commit] * has_commits, *[row.host] * has_hosts, row.value, str(row.units)]
        cells.append("changed" if row.is_change else "")
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in cells))
    print_table(table, console)


def _document(series: Series) -> dict[str, Any]:
    return {
        "arch": series.arch,
        "task": series.task,
        "length": series.length,
        "condition": series.condition,
        "protocol": series.protocol,
        "at": dict(series.at),
        "environment": series.environment,
        "runs": [
            {
                "run": seen.run,
                "created": seen.created,
                "commit": seen.commit,
                "modified": seen.is_modified,
                "host": seen.host,
                "value": seen.value.middle,
                "low": _finite(seen.value.low),
                "high": _finite(seen.value.high),
                "units": seen.units,
                "differences": [asdict(difference) for difference in seen.differences],
            }
            for seen in series.points
        ],
        "changes": [
            {"run": series.points[change].run, "before": before, "after": after}
            for change in series.changes
            for before, after in [levels(series, change)]
        ],
    }


def _finite(value: float) -> float | None:
    return value if abs(value) != float("inf") else None


def _parse_condition(text: str) -> dict[str, int]:
    """Return the coordinates that a text such as `position=1024` or `length=40..256` names."""
    name, separator, number = text.partition("=")
    first, is_range, last = number.partition("..")
    if name == "length" and is_range and first.isdecimal() and last.isdecimal():
        return location_of_range((int(first), int(last)))
    if not (name and separator and number.isdecimal()):
        raise UsageError(f"--at takes a location such as position=1024 or length=40..256, not {text!r}")
    return {name: int(number)}
