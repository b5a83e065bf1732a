"""`carousel list` and `carousel show-task`: list architectures, tasks, plans or runs, and explain a task."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bench.commands.output import new_console, print_json
from bench.errors import NothingSelected, UsageError
from bench.machine.streams import only_documents_on_standard_output
from bench.plans import plan as plans
from reports.format import plural, print_labelled, print_lines, print_table, printable
from results import Store, StoreError

if TYPE_CHECKING:
    import tasks
    from bench.plugins.loader import Loaded

Kind = Literal["archs", "tasks", "plans", "runs"]
Row = dict[str, Any]
"""One listed item. The keys are those of the JSON document."""
LABELS = {"smallest length": "shortest length", "chance there": "chance level at that length"}
"""Printed labels of keys. A key without an entry is printed as it is."""
DETAILS = {"archs": "carousel show-arch", "tasks": "carousel show-task"}
"""Commands that explain a single item, by kind."""
EXAMPLE_LENGTH = 24
"""Number of steps of an example sequence, chosen so that the sequence fits on a terminal."""


def list_names(kind: Kind, glob: str, *, store: Path, plugin_files: Sequence[Path], as_json: bool) -> None:
    """Print the items whose name matches `glob`.

    Args:
        kind: What to list.
        glob: Pattern for the names. If it is `*`, an empty list is not an error.
        store: Folder of runs.
        plugin_files: Plugin files to load first; used only for architectures and tasks.
        as_json: Whether to print one JSON document instead of a table.

    Raises `NothingSelected` if no name matches and `glob` is not `*`.
    """
    with only_documents_on_standard_output(as_json):
        rows = _rows(kind, store, plugin_files)
    matching = [row for row in rows if fnmatchcase(row["name"], glob)]
    if not matching and glob != "*":
        known = ", ".join(row["name"] for row in rows) or "none"
        raise NothingSelected(f"no {kind} match {glob!r}; available: {known}")
    if as_json:
        print_json(matching)
    elif not matching:
        print(f"no {kind} yet")
    elif kind == "runs":
        _print_runs(matching)
    else:
        _print_rows(matching)
        explained = [row["name"] for row in matching if row.keys() > {"name", "summary"}]  # no disabled plugins
        if kind in DETAILS and explained:
            name = explained[0] if len(matching) == 1 else "NAME"
            print_lines([f"`{DETAILS[kind]} {name}` shows more"], new_console(), style="dim")


def print_plan_file(kind: Kind, name: str, *, as_json: bool) -> None:
    """Print the TOML file of a shipped plan. Raises `UsageError` if `kind` is not `plans` or `name` is no plan."""
    if kind != "plans":
        raise UsageError(f"--toml prints a plan, not {kind}: use `carousel list plans NAME --toml`")
    if as_json:
        raise UsageError("--toml and --json exclude each other: give one of them")
    if name not in plans.names():
        raise UsageError(f"--toml needs the name of one plan, not {name!r}; choose from {', '.join(plans.names())}")
    print(plans.path_of(name).read_text(encoding="utf-8"), end="")


def list_archs(loaded: Loaded) -> list[Row]:
    """Return each architecture's name, summary and default options.

    The row of a plugin also has the plugin's digest. The row of a disabled plugin has only a name and a summary.
    """
    import arch

    rows = [
        {
            "name": each.name,
            "summary": each.summary,
            "options": {option: default for option, (_, default) in each.parameters.items()},
        }
        for each in map(arch.get, arch.names())
    ]
    return _with_plugins(rows, loaded)


def list_tasks(loaded: Loaded) -> list[Row]:
    """Return each task's name, summary, default parameters, presets, shortest length, chance level and source.

    The chance level is that at the shortest length. It is missing if the data of the task is, and then `unavailable`
    says what to install. Rows of plugins are as in `list_archs`.
    """
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
                **_chance_level(task),
                "source": task.source,
            }
        )
    return _with_plugins(rows, loaded)


def list_plans() -> list[Row]:
    """Return each shipped plan's name, summary and number of cases."""
    return [
        {
            "name": name,
            "summary": plan.summary,
            "cases": sum(len(grid.archs) * len(grid.tasks) * len(grid.lengths) * grid.seeds for grid in plan.grids()),
        }
        for name, plan in ((name, plans.load(name)) for name in plans.names())
    ]


def list_runs(store: Path) -> list[Row]:
    """Return each run's id, plan, number of recorded cases and state.

    The state of an unreadable run is the error message. Records that are damaged or unreadable do not count as recorded
    cases, and are part of the state. Raises `UsageError` if `store` exists but is not a folder.
    """
    if store.exists() and not store.is_dir():
        raise UsageError(f"{store} is not a folder of runs; choose another with --store")
    rows: list[Row] = []
    for run in Store(store).runs():
        try:
            file = run.file()
        except StoreError as error:
            rows.append({"name": run.id, "plan": "", "recorded": "", "state": str(error)})
            continue
        state = "finished" if file.finished else "unfinished"
        try:
            intact, unusable = run.count_records()
        except StoreError as error:
            rows.append({"name": run.id, "plan": file.plan, "recorded": "", "state": f"{state}; records {error}"})
            continue
        if unusable:
            state += f"; {plural(unusable, 'record')} damaged or unreadable, see `carousel verify`"
        rows.append({"name": run.id, "plan": file.plan, "recorded": f"{intact} of {len(file.cases)}", "state": state})
    return rows


def describe_task(spec: str, length: int | None, seed: int) -> str:
    """Return a description of a task with one example sequence. Raises `UsageError` for a wrong spec or length.

    If the data of the task are not installed, the description says what to install instead of showing a sequence.
    `length` is in steps. If `length` is None, a short length is chosen. `seed` selects the sequence.
    """
    import tasks
    from bench.plugins.source_files import forgotten_files

    try:
        task = tasks.build(spec)
        return tasks.describe(task, _example_length(task) if length is None else length, seed)
    except ValueError as error:
        raise UsageError(f"{error}{forgotten_files([spec], error)}") from None


def _rows(kind: Kind, store: Path, plugin_files: Sequence[Path]) -> list[Row]:
    if kind == "runs":
        return list_runs(store)
    if kind == "plans":
        return list_plans()
    from bench.plugins.loader import load

    loaded = load(plugin_files)
    return list_archs(loaded) if kind == "archs" else list_tasks(loaded)


def _with_plugins(rows: list[Row], loaded: Loaded) -> list[Row]:
    digests = {plugin.name: plugin.digest for plugin in loaded.plugins}
    marked = [row | ({"plugin": digests[row["name"]]} if row["name"] in digests else {}) for row in rows]
    return marked + [
        {"name": plugin.name, "summary": f"disabled plugin: {plugin.reason}"} for plugin in loaded.disabled
    ]


def _chance_level(task: tasks.Task) -> Row:
    """Return the chance level at the shortest length, or what to install if the data of the task is missing."""
    import tasks

    try:
        return {"chance there": round(task.chance(task.min_length), 4)}
    except tasks.MissingData as error:
        return {"unavailable": str(error)}


def _example_length(task: tasks.Task) -> int:
    import tasks

    try:
        task.check_length(EXAMPLE_LENGTH)
    except tasks.ImpossibleLength:
        return task.min_length
    return EXAMPLE_LENGTH


def _print_runs(rows: Sequence[Row]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "plan", "recorded", "state"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(str(value))) for value in row.values()))
    print_table(table, new_console())


def _print_rows(rows: Sequence[Row]) -> None:
    console = new_console()
    for row in rows:
        print_labelled(row["name"], f": {row['summary']}", console)
        for key, value in row.items():
            if key == "unavailable":  # one line, so that the command in it can be copied
                print_lines([f"    {key}: {value}"], console, style="dim")
            elif key not in ("name", "summary"):
                text = Text(printable(f"{LABELS.get(key, key)}: {_as_text(value)}"), "dim")
                console.print(Padding(text, (0, 0, 0, 4), expand=False))


def _as_text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={option}" for key, option in value.items()) or "—"
    if isinstance(value, list):
        return ", ".join(value) or "—"
    return str(value)
