"""What there is to choose from, as a table for people or JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bench.errors import NothingSelected, UsageError
from bench.plans import plan as _plan
from results import Store, StoreError

if TYPE_CHECKING:
    import tasks
    from bench.plugins.loader import Loaded

Row = dict[str, Any]
LEGIBLE_LENGTH = 24
"""Steps of a sequence that is shown, where the task has that length."""


def list_archs(loaded: Loaded) -> list[Row]:
    """Name, one line, and options with their defaults; of a plugin its file's digest, or why it is disabled."""
    import arch

    found = [arch.get(name) for name in arch.names()]
    rows = [
        {
            "name": one.name,
            "summary": one.summary,
            "options": {option: default for option, (_, default) in one.parameters.items()},
        }
        for one in found
    ]
    return _with_plugins(rows, loaded)


def list_tasks(loaded: Loaded) -> list[Row]:
    """As `list_archs`: name, one line, parameters with their defaults, smallest length, chance there, and source."""
    import dataclasses

    import tasks

    rows = []
    for name in tasks.names():
        task = tasks.build(name)
        rows.append(
            {
                "name": name,
                "summary": task.summary(),
                "parameters": {field.name: getattr(task, field.name) for field in dataclasses.fields(task)},
                "presets": sorted(task.presets),
                "smallest length": task.min_length,
                "chance there": _chance_there(task),
                "source": task.source,
            }
        )
    return _with_plugins(rows, loaded)


def _with_plugins(rows: list[Row], loaded: Loaded) -> list[Row]:
    digests = {plugin.name: plugin.digest for plugin in loaded.plugins}
    told = [row | ({"plugin": digests[row["name"]]} if row["name"] in digests else {}) for row in rows]
    return told + [{"name": one.name, "summary": f"disabled plugin: {one.reason}"} for one in loaded.disabled]


def describe_task(spec: str, length: int | None, seed: int) -> str:
    """One sequence of a task in words. Raises `UsageError` for an unknown task or an impossible length."""
    import tasks

    try:
        task = tasks.build(spec)
        return tasks.describe(task, _legible_length(task) if length is None else length, seed)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _chance_there(task: tasks.Task) -> float | str:
    """Chance at the smallest length, or why it cannot be told: a task's real data may be missing."""
    try:
        return round(task.chance(task.min_length), 4)
    except ValueError as error:
        return str(error)


def _legible_length(task: tasks.Task) -> int:
    import tasks

    try:
        task.check_length(LEGIBLE_LENGTH)
    except tasks.ImpossibleLength:
        return task.min_length
    return LEGIBLE_LENGTH


def list_plans() -> list[Row]:
    """Name, one line, and the number of cases."""
    plans = [(name, _plan.load(name)) for name in _plan.names()]
    return [
        {
            "name": name,
            "summary": plan.summary,
            "cases": sum(len(grid.archs) * len(grid.tasks) * len(grid.lengths) * grid.seeds for grid in plan.grids()),
        }
        for name, plan in plans
    ]


def list_runs(store: Path) -> list[Row]:
    """Id, plan, how many cases are recorded, and whether the run has ended."""
    rows: list[Row] = []
    if store.exists() and not store.is_dir():
        raise UsageError(f"{store} is not a folder of runs; give another with --store")
    for run in Store(store).runs():
        try:
            file = run.file()
        except StoreError as error:
            rows.append({"name": run.id, "plan": "", "recorded": "", "state": str(error)})
            continue
        recorded = len(list((run.folder / "records").glob("*.json")))
        state = "finished" if file.finished else "unfinished"
        rows.append({"name": run.id, "plan": file.plan, "recorded": f"{recorded} of {len(file.cases)}", "state": state})
    return rows


def show_listing(what: str, rows: Sequence[Row], glob: str, *, as_json: bool) -> None:
    """Print the rows whose name matches. Raises `NothingSelected` where a glob matches none."""
    matching = [row for row in rows if fnmatchcase(row["name"], glob)]
    if not matching and glob != "*":
        raise NothingSelected(f"no {what} match {glob!r}; there are {', '.join(row['name'] for row in rows) or 'none'}")
    if as_json:
        print(json.dumps(matching, indent=1))
        return
    console = Console(highlight=False)
    if not matching:
        console.print(f"no {what} yet")
        return
    if what == "runs":
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("name", "plan", "recorded", "state"):
            table.add_column(column, overflow="fold")
        for row in matching:
            table.add_row(*(str(value) for value in row.values()))
        console.print(table)
        return
    for row in matching:
        console.print(Text.assemble((row["name"], "bold"), ": ", row["summary"]), soft_wrap=True)
        for label, value in row.items():
            if label not in ("name", "summary"):
                console.print(Padding(Text(f"{label}: {_written(value)}", "dim"), (0, 0, 0, 4), expand=False))


def _written(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={one}" for key, one in value.items()) or "—"
    if isinstance(value, list):
        return ", ".join(value) or "—"
    return str(value)
