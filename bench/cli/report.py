"""Declare `carousel show`, `carousel report` and `carousel gates`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli import completion
from bench.cli.options import (
    DEFAULT_STORE,
    FormatOption,
    MaxParamsOption,
    MaxStateOption,
    MaxStepOption,
    RunArgument,
    StoreOption,
)


def show(
    run: RunArgument = "latest",
    format: FormatOption = "table",
    max_state: MaxStateOption = None,
    max_step: MaxStepOption = None,
    max_params: MaxParamsOption = None,
    aggregate: Annotated[
        bool,
        typer.Option(
            "--aggregate",
            help="Print aggregates over tasks, lengths and seeds instead: interquartile mean, performance profile and "
            "probability of improvement.",
        ),
    ] = False,
    table: Annotated[
        Literal["score", "step", "state"] | None,
        typer.Option(
            help="With --format latex, print a table for a paper instead: scores, step times or state sizes, with "
            "architectures as rows and tasks and lengths as columns."
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Print the leaderboard of a run. The format json prints the whole run, with the rows of the CSV.

    With limits, the answer to them takes the place of the recommendation.
    """
    from bench.commands.quantities import LimitOptions
    from bench.commands.report import show_run

    limits = LimitOptions(max_state=max_state, max_step=max_step, max_params=max_params)
    show_run(store, run, format, limits, aggregate=aggregate, table=table)


def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="One run, or a baseline and a run (default: latest).",
            autocompletion=completion.runs,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Path of the page, which ends in .html, or - for standard output (default: report.html in the run; if "
            "two runs are given, against-BASELINE.html in the second run).",
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also write the figures of the run into this folder; if two runs are given, only those of the second "
            "run.",
        ),
    ] = None,
    format: Annotated[
        Literal["svg", "pdf", "png"] | None,
        typer.Option(help="With --figures: the format of the files (default: svg)."),
    ] = None,
    width: Annotated[
        str | None,
        typer.Option(
            metavar="LENGTH",
            help="With --figures: draw for a column of a paper of this width, such as 3.25in (units: in, cm, mm, pt).",
        ),
    ] = None,
    scale: Annotated[
        Literal["page", "slide"] | None,
        typer.Option(help="With --figures: size of text and lines, as for carousel gates (default: page)."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="With --figures: write only this figure, such as accuracy-against-length, or all that match a "
            "pattern, such as 'gates-*'; repeatable.",
        ),
    ] = None,
    claims: Annotated[
        str | None,
        typer.Option(
            metavar="PLAN",
            help="Judge the claims of this plan (default: the claims stored with the run).",
            autocompletion=completion.plans,
        ),
    ] = None,
    max_state: MaxStateOption = None,
    max_step: MaxStepOption = None,
    max_params: MaxParamsOption = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write the HTML report of a run.

    The page is one file that works offline. If two runs are given, the page compares the second with the first. With
    limits, the page and the terminal name what is left, what to choose and what each limit excludes. The path of each
    written file is printed last. If the page goes to standard output, everything else goes to standard error.
    """
    from bench.commands.output import new_console, print_lines
    from bench.commands.quantities import LimitOptions
    from bench.commands.report import FigureFiles, report_runs
    from results import is_standard_output

    page_is_printed = output is not None and is_standard_output(output)
    limits = LimitOptions(max_state=max_state, max_step=max_step, max_params=max_params)
    files = FigureFiles(folder=figures, format=format, width=width, scale=scale, only=only or [])
    written = report_runs(store, runs or ["latest"], output, files, claims, limits)
    print_lines(written.answer, new_console(stderr=page_is_printed))
    for path in written.paths:
        if path != output or not page_is_printed:
            print(path, file=sys.stderr if page_is_printed else sys.stdout)


def gates(
    run: RunArgument = "latest",
    case: Annotated[
        str | None,
        typer.Argument(
            metavar="CASE",
            help="A name from the report, such as 'lstm on first_last, seed 0', or part of a case's key "
            "(default: the first case with traces).",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Folder for the figures (default: inside the run)."),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option(metavar="N", help="Layer to draw, counted from 1 (default: the first with gates)."),
    ] = None,
    units: Annotated[
        str | None,
        typer.Option(metavar="N,...", help="Units to draw, such as 1-4,9 (default: the first eight)."),
    ] = None,
    sequence: Annotated[int, typer.Option(metavar="N", help="Stored sequence to draw, counted from 1.")] = 1,
    scale: Annotated[
        Literal["page", "slide"],
        typer.Option(help="Size of text and lines: for a page with a caption, or for a slide in the format 16:9."),
    ] = "page",
    list_all: Annotated[
        bool, typer.Option("--list", help="List the matching cases with what can be drawn of each, and exit.")
    ] = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Draw inputs, answers, gates, states, memory and gradients of one trained model.

    Each figure is written as SVG and PNG with its title and caption. The path of each written file is printed. Gates
    need a run that measures them: `carousel run --measure accuracy,gates`. Of other runs, the learning curve of a case
    can be drawn.
    """
    from bench.commands.report import GatesOptions, draw_gates, list_cases

    options = GatesOptions(layer=layer, units=units, sequence=sequence, scale=scale)
    for line in list_cases(store, run, case) if list_all else draw_gates(store, run, case, output, options):
        print(line)
