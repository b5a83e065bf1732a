"""Declare `carousel bisect`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bench.cli import completion
from bench.cli.options import (
    DEFAULT_STORE,
    AllowOption,
    BuildOption,
    JsonOption,
    PluginOption,
    RenameOption,
    StoreOption,
)


def bisect(
    good: Annotated[str, typer.Argument(metavar="GOOD", help="A git revision without the regression.")],
    bad: Annotated[str, typer.Argument(metavar="BAD", help="A later git revision with it.")],
    plan: Annotated[
        str,
        typer.Argument(metavar="PLAN", help="Name of a plan, or a TOML file.", autocompletion=completion.plans),
    ] = "quick",
    case: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="Measure only the cases of this name, a glob such as 'lstm', 'lstm on first_last*' or "
            "'* at 64' (default: all cases of the plan).",
        ),
    ] = None,
    seeds: Annotated[int | None, typer.Option(metavar="N", help="Number of seeds.")] = None,
    measure: Annotated[
        str | None, typer.Option(metavar="PROBE,...", help="Probes to run, such as accuracy,latency,streaming.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Number of training workers (default: one per usable core).")
    ] = None,
    pairs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="At most this many processes of each version per timing: 8, 12, 16, 20, 28 or 40 (default: 20).",
        ),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Start no more timings of a commit after this time, such as 10min (units: s, min, h).",
        ),
    ] = None,
    fail_on: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC[:EFFECT],...",
            help="Metrics whose regression makes a commit bad, as for carousel check (default: all metrics).",
        ),
    ] = None,
    build: BuildOption = False,
    allow: AllowOption = None,
    rename: RenameOption = None,
    store: StoreOption = DEFAULT_STORE,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the progress of each measurement.")] = False,
    plugin_files: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the commit that made a case slower or worse.

    Each step checks out one commit between GOOD and BAD into a temporary folder, and measures it in turns with GOOD, as
    carousel run --against does. A commit is bad if a metric of --fail-on regressed. A commit that cannot be measured or
    judged is passed over, and one beside it is measured instead. Only commits that change Carousel's packages, a plugin
    of --plugin or, with --build, the pinned packages count. A merge counts as one commit. A plugin in the checkout is
    measured in the state of each commit; any other plugin is the same for all.

    The exit code is 0 if the first bad commit is found, and 3 if several commits remain. It is 5 if BAD has not
    regressed from GOOD, and 2 if a revision or an option is wrong.
    """
    from bench.commands.bisect import bisect as bisect_revisions
    from bench.commands.run import RunOptions
    from bench.commands.run_against import AgainstOptions

    options = RunOptions(
        plan=plan,
        store=store,
        seeds=seeds,
        measure=measure,
        workers=workers,
        quiet=not verbose,
        plugin_files=plugin_files or [],
        as_json=as_json,
        against=AgainstOptions(
            base=good,
            pairs=pairs,
            time_limit=time_limit,
            fail_on=fail_on,
            allow=allow,
            rename=rename or [],
            build=build,
        ),
    )
    raise typer.Exit(bisect_revisions(good, bad, options, case=case, arguments=sys.argv[1:]))
