"""What the commands that look after a store do: merge, export, verify, history."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

import reports
from bench._command import read_run
from bench._errors import FAILED, OK, NothingSelected, UsageError
from reports import _history as drawn
from results import (
    FALSE_ALARMS,
    METRICS,
    Flaw,
    Record,
    RunFile,
    Series,
    Store,
    StoreError,
    clean,
    history,
    merge,
    verify,
    write_bytes_aside,
)
from results._document import reading_many

Format = Literal["csv", "parquet", "pytest-benchmark"]
FEWEST_FOR_A_CHANGE = 10
"""Below this many runs no order of them is rare enough to be called a change at the stated rate."""


def merge_stores(sources: Sequence[Path], store: Path, *, as_json: bool) -> int:
    """Merge, and say what was copied, what conflicts, and what was left out."""
    merged = merge(list(sources), Store(store))
    if as_json:
        _print_json(
            {
                "copied": [str(path) for path in merged.copied],
                "same": merged.same,
                "conflicts": [{"stays": str(place), "other": str(beside)} for place, beside in merged.conflicts],
                "left_out": [_flaw(flaw) for flaw in merged.left_out],
            }
        )
    else:
        console = Console(highlight=False, soft_wrap=True)
        console.print(f"{len(merged.copied):,} files copied into {store}, {merged.same:,} were there already")
        for place, beside in merged.conflicts:
            console.print(Text(f"conflict: {place} stays as it was; the other is kept as {beside}"))
        for flaw in merged.left_out:
            console.print(Text(f"left out: {flaw.path}: {flaw.reason}"))
    return OK if merged.is_whole else FAILED


def export_run(store: Path, name: str, format: Format, output: Path | None) -> None:
    """Write a run's samples to a file, or to standard output where they are text. Raises `UsageError`."""
    file, records = read_run(Store(store).find(name))
    if format == "parquet":
        try:
            content = reports.samples_as_parquet(file, records)
        except reports.MissingLibrary as error:
            raise UsageError(str(error)) from None
        if output is None:
            raise UsageError("--format parquet is no text; say where to write it with -o FILE")
    else:
        write = {"csv": reports.samples_as_csv, "pytest-benchmark": reports.timings_as_pytest_benchmark}[format]
        text = write(file, records)
        if output is None:
            sys.stdout.write(text)
            return
        content = text.encode()
    _write(output, content)


def verify_store(store: Path, *, tidy: bool, as_json: bool) -> int:
    """Look at every file, and name each that is not as it was written."""
    found = verify(Store(store))
    removed = clean(found.flaws) if tidy else []
    flaws = [flaw for flaw in found.flaws if flaw.path not in removed]
    if as_json:
        counted = {"runs": found.runs, "records": found.records, "artifacts": found.artifacts}
        told = {"flaws": [_flaw(flaw) for flaw in flaws], "removed": [str(path) for path in removed]}
        _print_json(counted | {"sound": found.is_sound} | told)
    else:
        console = Console(highlight=False, soft_wrap=True)
        for flaw in flaws:
            console.print(Text(f"{flaw.kind}: {flaw.path}: {flaw.reason}"))
        for path in removed:
            console.print(Text(f"removed: {path}"))
        harmful = sum(not flaw.is_harmless for flaw in flaws)
        verdict = "all as they were written" if not harmful else f"{harmful:,} not as they should be"
        counts = f"{found.runs:,} runs, {found.records:,} records, {found.artifacts:,} artifacts"
        console.print(f"{counts}: {verdict}")
    return OK if found.is_sound else FAILED


def show_history(store: Path, glob: str, metric: str, at: Sequence[str], output: Path | None, *, as_json: bool) -> None:
    """Draw cases over all stored runs. Raises `NothingSelected` where none was measured."""
    places = dict(map(_place, at))
    with reading_many():
        series = history(_all_runs(store), glob=glob, metric=metric, at=places)
    if not series:
        known = "" if metric in METRICS else f"; metrics are {', '.join(METRICS)}"
        raise NothingSelected(f"no stored run of {store} measured {metric} of a case that matches {glob!r}{known}")
    if output is not None:
        figure = drawn.history_figure(series)
        assert figure is not None
        _write(output, (figure.svg if output.suffix == ".svg" else drawn.history_page(series)).encode())
    if as_json:
        _print_json({"metric": metric, "false_alarms": FALSE_ALARMS, "series": [_series(each) for each in series]})
    else:
        _show_series(series, Console(highlight=False))
        if output is not None:
            print(output)


def _show_series(series: Sequence[Series], console: Console) -> None:
    for each, row in zip(series, drawn.history_rows(series), strict=True):
        where = f" at {row.place}" if row.place else ""
        console.print(Text.assemble((row.case, "bold"), f" {each.metric}{where}"), soft_wrap=True)
        console.print(Text(f"  {row.environment}", style="dim"), soft_wrap=True)
        console.print(Text(f"  {row.spark}  {row.runs} runs, last {row.last}"), soft_wrap=True)
        for change in row.changes:
            console.print(Text(f"  changed: {change}", style="yellow"), soft_wrap=True)
    if len(series) == 1:
        _show_runs(series[0], console)
    few = min(len(each.seen) for each in series) < FEWEST_FOR_A_CHANGE
    console.print(
        f"a change that is none: at most {FALSE_ALARMS:.0%} of series"
        + (f"; a change can be told from {FEWEST_FOR_A_CHANGE} runs on" if few else ""),
        soft_wrap=True,
    )


def _show_runs(series: Series, console: Console) -> None:
    table = Table("run", "value (95% interval)", "over", "", box=None)
    for place, seen in enumerate(series.seen):
        change = "changed" if place in series.changes else ""
        table.add_row(Text(seen.run), drawn.value_with_interval(series, place), str(seen.units), change)
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
            for seen in series.seen
        ],
        "changes": [
            {"run": series.seen[change].run, "before": before, "after": after}
            for change in series.changes
            for before, after in [drawn.levels(series, change)]
        ],
    }


def _finite(value: float) -> float | None:
    return value if abs(value) != float("inf") else None


def _place(text: str) -> tuple[str, int]:
    name, separator, number = text.partition("=")
    if not (name and separator and number.isdecimal()):
        raise UsageError(f"--at takes a place such as position=1024, not {text!r}")
    return name, int(number)


def _flaw(flaw: Flaw) -> dict[str, str]:
    return {"path": str(flaw.path), "kind": flaw.kind, "reason": flaw.reason}


def _write(path: Path, content: bytes) -> None:
    try:
        write_bytes_aside(path, content)
    except StoreError as error:
        raise UsageError(f"{error}; give another with -o") from None


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=1, allow_nan=False))
