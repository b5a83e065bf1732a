"""The commands that look after a store: merge, export, verify, history."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli.options import DEFAULT_STORE, JsonOption, RunArgument, StoreOption


def merge(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="Stores, or single runs' folders.")],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Put the runs of other stores into one; what conflicts is kept beside and named."""
    from bench.commands.store import merge_stores

    raise typer.Exit(merge_stores(sources, store, as_json=as_json))


def export(
    run: RunArgument = "latest",
    format: Annotated[
        Literal["csv", "parquet", "pytest-benchmark"],
        typer.Option(help="One row a sample; or timings as pytest-benchmark writes them."),
    ] = "csv",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write; else standard output.")] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Every sample of a run for other programs, with its case's full identity."""
    from bench.commands.store import export_run

    export_run(store, run, format, output)


def verify(
    folder: Annotated[Path | None, typer.Argument(metavar="[STORE]", help="Folder of runs.")] = None,
    clean: Annotated[bool, typer.Option("--clean", help="Remove what killed writers left over.")] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Check every file of a store, and name each that is not as it was written."""
    from bench.commands.store import verify_store

    raise typer.Exit(verify_store(folder or store, tidy=clean, as_json=as_json))


def history(
    glob: Annotated[str, typer.Argument(metavar="[GLOB]", help="arch/task/length, or part of it.")] = "*",
    metric: Annotated[str, typer.Option(help="A metric, such as accuracy or step_seconds.")] = "accuracy",
    at: Annotated[list[str] | None, typer.Option(help="A place, such as position=1024; repeatable.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write a page, or a figure (.svg).")] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """One case over all stored runs, with the runs from which on it changed."""
    from bench.commands.history import show_history

    show_history(store, glob, metric, at or [], output, as_json=as_json)
