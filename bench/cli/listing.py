"""Declare `carousel list` and `carousel show-task`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from bench.cli import completion
from bench.cli.options import DEFAULT_STORE, JsonOption, PluginOption, StoreOption


def list_(
    what: Annotated[Literal["archs", "tasks", "plans", "runs"], typer.Argument(help="What to list.")],
    glob: Annotated[str, typer.Argument(metavar="[GLOB]", help="Only names that match.")] = "*",
    store: StoreOption = DEFAULT_STORE,
    plugin_files: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Architectures, tasks, plans, or the runs of a store."""
    from bench.commands.listing import list_archs, list_plans, list_runs, list_tasks, show_listing

    if what in ("archs", "tasks"):
        from bench.plugins.loader import load

        loaded = load(plugin_files or [])
        rows = (list_archs if what == "archs" else list_tasks)(loaded)
    else:
        rows = list_runs(store) if what == "runs" else list_plans()
    show_listing(what, rows, glob, as_json=as_json)


def show_task(
    task: Annotated[str, typer.Argument(help="A task, such as recall:pairs=4.", autocompletion=completion.tasks)],
    length: Annotated[int | None, typer.Option("-L", "--length", help="Steps; a short length unless said.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed shows another sequence.")] = 0,
    plugin_files: PluginOption = None,
) -> None:
    """One sequence of a task in words: what is fed, what is asked, what guessing scores."""
    from bench.commands.listing import describe_task
    from bench.plugins.loader import load

    load(plugin_files or [])
    typer.echo(describe_task(task, length, seed))
