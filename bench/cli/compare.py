"""Declare `carousel compare` and `carousel check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import completion
from bench.cli.options import DEFAULT_STORE, RUN_HELP, AllowOption, FormatOption, JsonOption, RenameOption, StoreOption

BaseArgument = Annotated[
    str,
    typer.Argument(
        metavar="BASE",
        help=f"The baseline. {RUN_HELP} Or files of pytest-benchmark.",
        autocompletion=completion.runs,
    ),
]
NewArgument = Annotated[
    str,
    typer.Argument(metavar="NEW", help="The run, or the files, to compare with it.", autocompletion=completion.runs),
]


def compare(
    base: BaseArgument,
    new: NewArgument = "latest",
    format: FormatOption = "table",
    allow: AllowOption = None,
    rename: RenameOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Compare two runs case by case, or files of pytest-benchmark.

    The output has an effect, its 95% interval and a verdict for each metric. Changes do not affect the exit code. The
    exit code is 4 if nothing is comparable, and 5 if there is nothing to compare. The other codes are those of check.
    """
    from bench.commands.compare import compare_runs

    raise typer.Exit(
        compare_runs(store, base, new, allow=allow, rename=rename or [], format="json" if as_json else format)
    )


def check(
    base: BaseArgument,
    new: NewArgument = "latest",
    fail_on: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC[:EFFECT],...",
            help="Metrics whose regression fails the check, with the smallest effect that counts, such as "
            "accuracy:-0.02,streaming:10%, or benchmark:5% for files of pytest-benchmark (default: all metrics).",
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Also fail if a result is inconclusive.")] = False,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the results as JUnit XML; - is standard output.")
    ] = None,
    summary: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a summary as Markdown; - is standard output.")
    ] = None,
    allow: AllowOption = None,
    rename: RenameOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Check a run for regressions against a baseline.

    BASE and NEW are runs, or JSON files of pytest-benchmark: each a file, a quoted pattern such as 'base-*.json', or a
    folder, with one file per process. Inconclusive results pass unless --strict is given. If possible, the first line
    says how many more repetitions, files or seeds are likely to decide them; with --json, it is not printed. The
    verdict is printed before the files are written. It goes to standard error if a file goes to standard output.

    The exit code is that of the first line that applies. With --fail-on, other metrics count for code 3 only.

    \b
    1    a metric regressed
    3    a case failed only in the new run, or a case or a metric is missing:
         its record in either run is damaged, unreadable or not there yet
    4    a result is not comparable
    5    there is nothing to compare
    1    a result is inconclusive, and --strict is given
    0    none of these
    2    an option is wrong, a run or a file cannot be read or written, or
         both sides are the same
    70   an unexpected error; CAROUSEL_DEBUG=1 shows its traceback
    130  stopped by Ctrl-C
    """
    from bench.commands.compare import check_run

    code = check_run(
        store,
        base,
        new,
        allow=allow,
        rename=rename or [],
        fail_on=fail_on,
        strict=strict,
        junit=junit,
        summary=summary,
        as_json=as_json,
    )
    raise typer.Exit(code)
