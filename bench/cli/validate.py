"""Commands for who extends Carousel, and which Carousel this is. The heavy imports are inside the commands."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli import completion
from bench.cli.options import JsonOption, PluginOption


def validate(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ARCH|TASK]...",
            help="Which; the plugins that are given, or all, unless said.",
            autocompletion=completion.archs_and_tasks,
        ),
    ] = None,
    plugin_files: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold architectures and tasks to their contract, and name the law that is broken."""
    from bench.commands.validate import validate as hold

    raise typer.Exit(hold(names or [], plugin_files or [], as_json=as_json))
