"""Declare `carousel --version`."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path
from typing import Annotated

import typer

DISTRIBUTION = "carousel-bench"


def version() -> str:
    """Return the installed version, or the version in `pyproject.toml` if Carousel is not installed."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        project = Path(__file__).resolve().parents[2] / "pyproject.toml"
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])


def _print_version(requested: bool) -> None:
    if requested:
        print(f"carousel {version()}")
        raise typer.Exit


def global_options(
    _: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Accept the options that come before a command."""
