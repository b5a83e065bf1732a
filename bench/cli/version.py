"""Report the installed version."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path
from typing import Annotated

import typer

DISTRIBUTION = "carousel-bench"


def version() -> str:
    """The version that is installed, or that of the checkout that runs without being installed."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        project = Path(__file__).resolve().parents[2] / "pyproject.toml"
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"carousel {version()}")
        raise typer.Exit


def about(
    _: Annotated[
        bool, typer.Option("--version", help="Name and version.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """What stands before any command."""
