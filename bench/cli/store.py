"""Declare `carousel merge`, `carousel export`, `carousel verify` and `carousel history`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli.options import DEFAULT_STORE, AllowOption, JsonOption, RenameOption, RunArgument, StoreOption


def merge(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE", help="Stores, or folders of single runs.")],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Merge stores or single runs into one store.

    The sources are merged into the store that --store gives. No valid record of that store is changed or dropped. If
    two files conflict, both are kept. Damaged or misplaced files, and files of a newer version of Carousel, are left
    out. The exit code is 3 if a file conflicts or is left out.
    """
    from bench.commands.store import merge_stores

    raise typer.Exit(merge_stores(sources, store, as_json=as_json))


def export(
    run: RunArgument = "latest",
    format: Annotated[
        Literal["csv", "parquet", "pytest-benchmark"] | None,
        typer.Option(
            help="csv and parquet have one row per sample; pytest-benchmark has the timings as JSON (default: by the "
            "ending of FILE, which is .csv, .parquet or .json; otherwise csv)."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Output file, or - for standard output (default: standard output). Required for parquet, and on a "
            "terminal for more than 1,000 samples.",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC",
            help="Export only this metric, such as step_seconds or '*_seconds' (default: all); repeatable.",
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Export the samples of a run for other programs."""
    from bench.commands.store import export_run

    export_run(store, run, format, output, metric or [])


def verify(
    folder: Annotated[
        Path | None, typer.Argument(metavar="STORE", help="Folder of runs (default: the value of --store).")
    ] = None,
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove temporary files left by processes that were killed.")
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Verify every file of a store.

    Checksums, schemas, names and artifacts are checked. The exit code is 3 if a file is damaged, missing, misplaced or
    of a newer version of Carousel. It is 5 if the store has no runs. Other flaws are only listed.
    """
    from bench.commands.store import verify_store

    raise typer.Exit(verify_store(folder or store, remove_leftovers=clean, as_json=as_json))


def history(
    glob: Annotated[
        str,
        typer.Argument(metavar="GLOB", help="Pattern for an architecture, arch/task/length, or a case's key."),
    ] = "*",
    metric: Annotated[str, typer.Option(metavar="METRIC", help="A metric, such as accuracy or step_seconds.")] = (
        "accuracy"
    ),
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=N",
            help="Location of the measurement, such as position=1024 or length=40..256; repeatable.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write an HTML page, or a figure if FILE ends in .svg; - is standard output.",
        ),
    ] = None,
    allow: AllowOption = None,
    rename: RenameOption = None,
    order: Annotated[
        Literal["time", "commit"],
        typer.Option(help="Order of the runs: as they ended, or as their commits follow each other in git."),
    ] = "time",
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show one metric over all stored runs and where it changed.

    Scores of all machines are joined. Timings of several machines are joined only with --allow host, and with further
    fields such as cpu if the machines differ in them.
    """
    from bench.commands.history import show_history

    show_history(store, glob, metric, at or [], output, allow=allow, rename=rename or [], order=order, as_json=as_json)
