"""What `carousel run` does: choose the cases of a plan, execute them, print the leaderboard."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from bench.plans.plan import Plan
import shlex
from typing import Any, get_args

from pydantic import ValidationError
from rich.console import Console

import reports
from bench.commands.report import PAGE, write_page
from bench.commands.stored_run import as_document
from bench.plans.plan import Plan, first_line, load
from bench.plans.selection import select
from bench.plugins.loader import Loaded
from bench.runner.run import Outcome
from results import Probe

MAX_COMMAND = 4000
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
    return shlex.join(["carousel", *kept])[:MAX_COMMAND]


def finish_run(outcome: Outcome, console: Console, *, as_json: bool) -> None:
    """Write the page, then print the leaderboard and the page's path, or one JSON document."""
    page = write_page(outcome.run, outcome.file, outcome.records, outcome.run.folder / PAGE)
    if as_json:
        print(as_document(outcome.file, outcome.records))
        return
    reports.render_terminal(outcome.file, outcome.records, console=console)
    console.print(f"report: {page}", soft_wrap=True, highlight=False)


def _registered(room: str) -> Any:
    def names() -> list[str]:

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


def remark(loaded: Loaded, plan: Plan, console: Console) -> None:
    """Say which plugins are disabled, and which files were given that no case of the plan asks for."""
    import arch

    asked = {spec.partition(":")[0] for grid in plan.grids() for spec in (*grid.archs, *grid.tasks)}
    said = [f"the plugin {one.name} is disabled: {one.reason}" for one in loaded.disabled if one.name not in asked]
    for plugin in loaded.plugins:
        if plugin.source is not None and plugin.name not in asked:
            option = "-a" if plugin.name in arch.names() else "-t"
            said.append(f"no case asks for the plugin {plugin.name}; {option} +{plugin.name} adds it to the plan's own")
    for line in said:
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
