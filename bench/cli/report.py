"""Declare `carousel show`, `carousel report` and `carousel gates`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli import completion
from bench.cli.options import DEFAULT_STORE, RunArgument, StoreOption


def show(
    run: RunArgument = "latest",
    format: Annotated[
        Literal["table", "markdown", "csv", "latex", "json"], typer.Option(help="How to write it.")
    ] = "table",
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """The leaderboard of a run."""
    from bench.commands.report import show_run

    show_run(store, run, format)


def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="One run; with two, the second against the first.",
            autocompletion=completion.runs,
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where to write the page.")] = None,
    figures: Annotated[Path | None, typer.Option(help="Folder to write the figures of the page into, as SVG.")] = None,
    claims: Annotated[
        str | None,
        typer.Option(
            metavar="PLAN",
            help="Judge by the claims of this plan, rather than by those that the run kept.",
            autocompletion=completion.plans,
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write report.html of a run, or of one run against another, one page that opens from disk, and say where it is."""
    from bench.commands.report import report_runs

    for path in report_runs(store, runs or ["latest"], output, figures, claims):
        typer.echo(path)


def gates(
    run: RunArgument = "latest",
    case: Annotated[
        str | None,
        typer.Argument(
            metavar="[CASE]",
            help="A name as on the page, such as 'lstm on first_last, seed 0', or part of a key; "
            "the first with traces unless said.",
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder to write into.")] = None,
    list_all: Annotated[bool, typer.Option("--list", help="Name the cases that there are, and stop.")] = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Draw what happens inside one case's model, as SVG and PNG, and say where."""
    from bench.commands.report import draw_gates, list_cases

    for line in list_cases(store, run, case) if list_all else draw_gates(store, run, case, output):
        typer.echo(line)
