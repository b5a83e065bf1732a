"""Declare `carousel validate`."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli import completion
from bench.cli.options import JsonOption, PluginOption


def validate(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARCH|TASK",
            help="Names or specs to check (default: the given plugins, otherwise everything).",
            autocompletion=completion.archs_and_tasks,
        ),
    ] = None,
    plugin_files: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check architectures and tasks against their contracts.

    Each failed check is printed with the smallest example that fails. The exit code is 3 if a check fails.
    """
    from bench.commands.validate import validate_names

    raise typer.Exit(validate_names(names or [], plugin_files or [], as_json=as_json))
