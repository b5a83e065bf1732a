"""`carousel compare` and `carousel check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli import completion
from bench.cli.options import DEFAULT_STORE, JsonOption, StoreOption

BaseArgument = Annotated[
    str,
    typer.Argument(metavar="BASE", help="An id, a unique prefix, `latest`, or a path.", autocompletion=completion.runs),
]
NewArgument = Annotated[
    str,
    typer.Argument(metavar="[NEW]", help="Likewise; the latest run unless said.", autocompletion=completion.runs),
]
AllowOption = Annotated[
    str | None, typer.Option(help="Fields in which the runs may differ, such as cpu,torch; the output says so.")
]


def compare(
    base: BaseArgument,
    new: NewArgument = "latest",
    format: Annotated[
        Literal["table", "markdown", "csv", "latex", "json"], typer.Option(help="How to write it.")
    ] = "table",
    allow: AllowOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """What changed from one run to another, case by case: effect, interval and verdict."""
    from bench.commands.compare import compared, show_comparison
    from results.comparison import Thresholds

    comparison = compared(store, base, new, thresholds=Thresholds(), allow=allow)
    raise typer.Exit(show_comparison(comparison, "json" if as_json else format))


def check(
    base: BaseArgument,
    new: NewArgument = "latest",
    fail_on: Annotated[
        str | None,
        typer.Option(help="What fails, and from which effect on: accuracy:-0.02,streaming:10%. All unless said."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail, with exit code 1, on what is inconclusive.")] = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.")] = None,
    summary: Annotated[Path | None, typer.Option(help="Write a Markdown summary here.")] = None,
    allow: AllowOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Whether a run may replace another: exit code 1 where anything regressed, 3 failed or missing, 4 not comparable.

    What is inconclusive passes and is counted in the first line, with the repetitions that would settle it.
    """
    from bench.commands import compare as _check

    criterion = _check.fail_on(fail_on)
    comparison = _check.compared(store, base, new, thresholds=criterion.thresholds, allow=allow)
    failing = criterion.failing(comparison)
    code = _check.exit_code(comparison, failing, strict=strict)
    if junit is not None:
        _check.write_junit(comparison, failing, junit, strict=strict)
    if summary is not None:
        _check.write_summary(comparison, code, summary)
    _check.show_check(comparison, failing, code=code, as_json=as_json)
    raise typer.Exit(code)
