"""Declare `carousel compare` and `carousel check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import completion
from bench.cli.options import DEFAULT_STORE, RUN_HELP, AllowOption, FormatOption, JsonOption, StoreOption

BaseArgument = Annotated[
    str, typer.Argument(metavar="BASE", help=f"The baseline. {RUN_HELP}", autocompletion=completion.runs)
]
NewArgument = Annotated[
    str, typer.Argument(metavar="NEW", help="The run to compare with it.", autocompletion=completion.runs)
]


def compare(
    base: BaseArgument,
    new: NewArgument = "latest",
    format: FormatOption = "table",
    allow: AllowOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Compare two runs case by case.

    The output has an effect, its 95% interval and a verdict for each metric. Changes do not affect the exit code. The
    exit code is 4 if nothing is comparable, and 5 if there is nothing to compare.
    """
    from bench.commands.compare import compare_runs

    raise typer.Exit(compare_runs(store, base, new, allow=allow, format="json" if as_json else format))


def check(
    base: BaseArgument,
    new: NewArgument = "latest",
    fail_on: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC[:EFFECT],...",
            help="Metrics whose regression fails the check, with the smallest effect that counts, such as "
            "accuracy:-0.02,streaming:10% (default: all metrics).",
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
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Check a run for regressions against a baseline.

    The exit code is 1 if a metric of --fail-on regressed. It is 3 if a case failed only in the new run, or if a case or
    a metric is missing. A case is missing if its record in either run is damaged, unreadable or not there yet. The exit
    code is 4 if a result is not comparable, and 5 if there is nothing to compare. It is 2 if both runs are the same or
    an option is wrong, and 70 after an unexpected error; CAROUSEL_DEBUG=1 shows its traceback. Inconclusive results
    pass unless --strict is given. If possible, the first line says how many more repetitions or seeds are likely to
    decide inconclusive results. With --json, this line is not printed. The verdict is printed before the files are
    written. It goes to standard error if a file goes to standard output.
    """
    from bench.commands.compare import check_run

    code = check_run(
        store,
        base,
        new,
        allow=allow,
        fail_on=fail_on,
        strict=strict,
        junit=junit,
        summary=summary,
        as_json=as_json,
    )
    raise typer.Exit(code)
