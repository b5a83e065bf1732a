"""Declare `carousel list`, `carousel show-task` and `carousel show-arch`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from bench.cli import completion
from bench.cli.options import DEFAULT_STORE, JsonOption, PluginOption, StoreOption


def list_(
    kind: Annotated[Literal["archs", "tasks", "plans", "runs"], typer.Argument(metavar="KIND", help="What to list.")],
    glob: Annotated[str, typer.Argument(metavar="GLOB", help="List only names that match this pattern.")] = "*",
    store: StoreOption = DEFAULT_STORE,
    plugin_files: PluginOption = None,
    as_toml: Annotated[bool, typer.Option("--toml", help="Print the file of one plan: a start for your own.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List architectures, tasks, plans or stored runs."""
    from bench.commands.listing import list_names, print_plan_file

    if as_toml:
        print_plan_file(kind, glob, as_json=as_json)
        return
    list_names(kind, glob, store=store, plugin_files=plugin_files or [], as_json=as_json)


def show_task(
    task: Annotated[
        str,
        typer.Argument(metavar="TASK", help="A task, such as recall:pairs=4.", autocompletion=completion.tasks),
    ],
    length: Annotated[
        int | None,
        typer.Option("-L", "--length", metavar="N", help="Length of the sequence in steps (default: a short one)."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the sequence.")] = 0,
    plugin_files: PluginOption = None,
) -> None:
    """Explain a task with one example sequence.

    The output shows the inputs, the expected outputs and the chance level.
    """
    from bench.commands.listing import describe_task
    from bench.plugins.loader import load

    load(plugin_files or [])
    print(describe_task(task, length, seed))


def show_arch(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="ARCH", help="An architecture, such as gru:reset=before.", autocompletion=completion.archs
        ),
    ],
    width: Annotated[
        int | None,
        typer.Option(metavar="N", help="Width of the layers (default: 64, or the next larger allowed width)."),
    ] = None,
    depth: Annotated[
        int | None, typer.Option(metavar="N", help="Number of layers (default: 1, or the whole pattern of a hybrid).")
    ] = None,
    plugin_files: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Explain an architecture: equations, options, state, and the cost of a step.

    The output also says what is compiled, and what the architecture can represent in theory.
    """
    from bench.commands.show_arch import show

    show(spec, width=width, depth=depth, plugin_files=plugin_files or [], as_json=as_json)
