"""What `carousel history` does: one metric of a case over all stored runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.commands.output import print_json, write_output
from bench.commands.stored_run import read_run
from bench.errors import NothingSelected, UsageError
from reports.figures import history_figure
from reports.html import history_page
from reports.text import history_rows, levels, value_with_interval
from results import (
    FALSE_ALARMS,
    METRICS,
    Record,
    RunFile,
    Series,
    Store,
    StoreError,
    history,
)
from results.store import reading_many

MIN_FOR_A_CHANGE = 10
"""Below this many runs no order of them is rare enough to be called a change at the stated rate."""


def show_history(store: Path, glob: str, metric: str, at: Sequence[str], output: Path | None, *, as_json: bool) -> None:
    """Draw cases over all stored runs. Raises `NothingSelected` where none was measured."""
    places = dict(map(_place, at))
    with reading_many():
        series = history(_all_runs(store), glob=glob, metric=metric, at=places)
    if not series:
        known = "" if metric in METRICS else f"; metrics are {', '.join(METRICS)}"
        raise NothingSelected(f"no stored run of {store} measured {metric} of a case that matches {glob!r}{known}")
    if output is not None:
        figure = history_figure(series)
        assert figure is not None
        write_output(output, (figure.svg if output.suffix == ".svg" else history_page(series)).encode())
    if as_json:
        print_json({"metric": metric, "false_alarms": FALSE_ALARMS, "series": [_series(each) for each in series]})
    else:
        _show_series(series, Console(highlight=False))
        if output is not None:
            print(output)


def _show_series(series: Sequence[Series], console: Console) -> None:
    for each, row in zip(series, history_rows(series), strict=True):
        where = f" at {row.place}" if row.place else ""
        console.print(Text.assemble((row.case, "bold"), f" {each.metric}{where}"), soft_wrap=True)
        console.print(Text(f"  {row.environment}", style="dim"), soft_wrap=True)
        console.print(Text(f"  {row.spark}  {row.runs} runs, last {row.last}"), soft_wrap=True)
        for change in row.changes:
            console.print(Text(f"  changed: {change}", style="yellow"), soft_wrap=True)
    if len(series) == 1:
        _show_runs(series[0], console)
    few = min(len(each.points) for each in series) < MIN_FOR_A_CHANGE
    console.print(
        f"a change that is none: at most {FALSE_ALARMS:.0%} of series"
        + (f"; a change can be told from {MIN_FOR_A_CHANGE} runs on" if few else ""),
        soft_wrap=True,
    )


def _show_runs(series: Series, console: Console) -> None:
    table = Table("run", "value (95% interval)", "over", "", box=None)
    for place, seen in enumerate(series.points):
        change = "changed" if place in series.changes else ""
        table.add_row(Text(seen.run), value_with_interval(series, place), str(seen.units), change)
    console.print(table)


def _all_runs(store: Path) -> Iterator[tuple[RunFile, list[Record]]]:
    for run in Store(store).runs():
        try:
            yield read_run(run)
        except StoreError as error:
            Console(stderr=True).print(Text(f"left out {error}"), soft_wrap=True)


def _series(series: Series) -> dict[str, Any]:
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


def _place(text: str) -> tuple[str, int]:
    name, separator, number = text.partition("=")
    if not (name and separator and number.isdecimal()):
        raise UsageError(f"--at takes a place such as position=1024, not {text!r}")
    return name, int(number)
