"""Commands for who extends Carousel, and which Carousel this is. The heavy imports are inside the commands."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path
from typing import Annotated

import typer

from bench import _completion
from bench._cli import JsonOption, PluginOption, app

DISTRIBUTION = "carousel-bench"


def version() -> str:
    """The version that is installed, or that of the checkout that runs without being installed."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        project = Path(__file__).resolve().parent.parent / "pyproject.toml"
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"carousel {version()}")
        raise typer.Exit


@app.callback()
def about(
    _: Annotated[
        bool, typer.Option("--version", help="Name and version.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """What stands before any command."""


@app.command()
def validate(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ARCH|TASK]...",
            help="Which; the plugins that are given, or all, unless said.",
            autocompletion=_completion.archs_and_tasks,
        ),
    ] = None,
    plugin_files: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold architectures and tasks to their contract, and name the law that is broken."""
    from bench._validate import validate as hold

    raise typer.Exit(hold(names or [], plugin_files or [], as_json=as_json))
