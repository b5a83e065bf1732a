"""`carousel history`: show one metric of a case over all stored runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.commands.allow import parse_allow
from bench.commands.output import console_beside, format_by_ending, print_json, print_lines, write_output
from bench.commands.stored_run import read_runs
from bench.errors import NothingSelected, UsageError
from reports.figures import history_figure
from reports.format import plural, print_labelled, print_table, printable
from reports.html import history_page
from reports.text import history_rows, levels, value_with_interval
from results import FALSE_ALARMS, METRICS, Series, Store, history, is_standard_output, location_of_range
from results.store import reading_many

FORMATS = {".html": "page", ".htm": "page", ".svg": "figure"}
"""The content of the file by its ending. Without an ending, it is a page."""
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
        as_json: Whether to print one JSON document instead of tables.

    If the file goes to standard output, the tables go to standard error. Raises `StoreError` if the store has no runs.
    Raises `NothingSelected` if no run measured the metric for a matching case. Raises `UsageError` if `at` or `allow`
    is invalid, or if `output` has an unknown ending or cannot be written.
    """
    form = format_by_ending(output, FORMATS)
    console = console_beside({"-o": output}, as_json=as_json)
    conditions = {name: value for text in at for name, value in _parse_condition(text).items()}
    allowed = parse_allow(allow)
    with reading_many():
        series = history(read_runs(Store(store)), glob=glob, metric=metric, at=conditions, allow=allowed)
    if not series:
        other = f"a metric from {', '.join(METRICS)}" if metric not in METRICS else "another GLOB, --metric or --at"
        where = f" at {', '.join(at)}" if at else ""
        raise NothingSelected(
            f"no run in {store} measured {metric}{where} for a case that matches {glob!r}; choose {other}"
        )
    try:
        if as_json:
            print_json({"metric": metric, "false_alarms": FALSE_ALARMS, "series": [_document(each) for each in series]})
        else:
            _print_series(series, console)
    finally:  # also if standard output cannot be written
        if output is not None:
            write_output(output, (_figure(series) if form == "figure" else history_page(series)).encode())
    if output is not None and not as_json and not is_standard_output(output):
        print(output)


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
        print_lines([f"  changed: {change}" for change in row.changes], console, style="yellow")
        print_lines([f"  differs: {difference}" for difference in row.differences], console, style="yellow")
    if len(series) == 1:
        _print_runs(series[0], console)
    too_few = min(len(each.points) for each in series) < MIN_RUNS_FOR_CHANGE
    hint = f"; detecting a change takes at least {MIN_RUNS_FOR_CHANGE} runs" if too_few else ""
    print_lines([f"at most {FALSE_ALARMS:.0%} of unchanged series are reported as changed{hint}"], console)


def _print_runs(series: Series, console: Console) -> None:
    table = Table("run", "value (95% interval)", "n", "", box=None)
    for index, seen in enumerate(series.points):
        change = "changed" if index in series.changes else ""
        cells = seen.run, value_with_interval(series, index), str(seen.units), change
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in cells))
    print_table(table, console)


def _document(series: Series) -> dict[str, Any]:
    return {
        "arch": series.arch,
        "task": series.task,
        "length": series.length,
        "protocol": series.protocol,
        "at": dict(series.at),
        "environment": series.environment,
        "runs": [
            {
                "run": seen.run,
                "created": seen.created,
                "commit": seen.commit,
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
