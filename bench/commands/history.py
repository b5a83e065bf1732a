"""`carousel history`: show one metric of a case over all stored runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.commands.output import new_console, print_json, print_lines, write_output
from bench.commands.stored_run import read_runs
from bench.errors import NothingSelected, UsageError
from reports.figures import history_figure
from reports.format import plural, print_labelled, print_table, printable
from reports.html import history_page
from reports.text import history_rows, levels, value_with_interval
from results import FALSE_ALARMS, METRICS, Series, Store, history
from results.store import reading_many

MIN_RUNS_FOR_CHANGE = 10
"""Minimum number of runs needed to detect a change at the false-alarm rate `FALSE_ALARMS`."""


def show_history(store: Path, glob: str, metric: str, at: Sequence[str], output: Path | None, *, as_json: bool) -> None:
    """Print, and optionally draw, one metric over all stored runs.

    Args:
        store: Folder of runs.
        glob: Pattern for an architecture, for arch/task/length, or for a case's key.
        metric: Name of the metric.
        at: Locations of the measurement, such as `position=1024`.
        output: File for an HTML page, or for a figure if it ends in `.svg`; None writes no file.
        as_json: Whether to print one JSON document instead of tables.

    Raises `StoreError` if the store has no runs. Raises `NothingSelected` if no run measured the metric for a matching
    case. Raises `UsageError` if `at` is invalid or `output` cannot be written.
    """
    conditions = dict(map(_parse_condition, at))
    with reading_many():
        series = history(read_runs(Store(store)), glob=glob, metric=metric, at=conditions)
    if not series:
        other = f"a metric from {', '.join(METRICS)}" if metric not in METRICS else "another GLOB, --metric or --at"
        where = f" at {', '.join(at)}" if at else ""
        raise NothingSelected(
            f"no run in {store} measured {metric}{where} for a case that matches {glob!r}; choose {other}"
        )
    if output is not None:
        figure = history_figure(series)
        assert figure is not None
        write_output(output, (figure.svg if output.suffix == ".svg" else history_page(series)).encode())
    if as_json:
        print_json({"metric": metric, "false_alarms": FALSE_ALARMS, "series": [_document(each) for each in series]})
    else:
        _print_series(series, new_console())
        if output is not None:
            print(output)


def _print_series(series: Sequence[Series], console: Console) -> None:
    for each, row in zip(series, history_rows(series), strict=True):
        where = f" at {row.place}" if row.place else ""
        print_labelled(row.case, f" {each.metric}{where}", console)
        print_lines([f"  {row.environment}"], console, style="dim")
        print_lines([f"  {row.spark}  {plural(row.runs, 'run')}, last {row.last}"], console)
        print_lines([f"  changed: {change}" for change in row.changes], console, style="yellow")
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


def _parse_condition(text: str) -> tuple[str, int]:
    name, separator, number = text.partition("=")
    if not (name and separator and number.isdecimal()):
        raise UsageError(f"--at takes a location such as position=1024, not {text!r}")
    return name, int(number)
