"""Declare `carousel run`."""

from __future__ import annotations

import sys
from pathlib import Path
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

PATTERN_HELP = "A name or a glob; +NAME adds to the plan, !NAME excludes; repeatable."


def run(
    plan: Annotated[
        str,
        typer.Argument(metavar="PLAN", help="Name of a plan, or a TOML file.", autocompletion=completion.plans),
    ] = "quick",
    archs: Annotated[
        list[str] | None,
        typer.Option(
            "-a",
            "--arch",
            metavar="ARCH",
            help=f"Architectures to run. {PATTERN_HELP}",
            autocompletion=completion.archs,
        ),
    ] = None,
    task_patterns: Annotated[
        list[str] | None,
        typer.Option(
            "-t",
            "--task",
            metavar="TASK",
            help=f"Tasks to run. {PATTERN_HELP}",
            autocompletion=completion.tasks,
        ),
    ] = None,
    lengths: Annotated[
        str | None,
        typer.Option("-L", "--lengths", metavar="N,...", help="Lengths of the training sequences, such as 64,256."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(metavar="N", help="Number of seeds.")] = None,
    params: Annotated[
        str | None,
        typer.Option(metavar="N", help="Parameter budget per model, such as 20k; the width is derived from it."),
    ] = None,
    params_of: Annotated[
        str | None,
        typer.Option(
            metavar="PART",
            help="What --params counts: model (default), or layers, without embedding and readout.",
        ),
    ] = None,
    width: Annotated[
        int | None, typer.Option(metavar="N", help="Width of the layers, instead of a parameter budget.")
    ] = None,
    depth: Annotated[int | None, typer.Option(metavar="N", help="Number of layers of every model.")] = None,
    state: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Budget for the state of one stream at the trained length, such as 4KiB; "
            "the width is derived from it.",
        ),
    ] = None,
    step_flops: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Budget for the FLOPs of one streamed step at the trained length, such as 40k; "
            "the width is derived from it.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Set a field of the training protocol for all cases, such as learning_rate=3e-3 or steps=2000; "
            "repeatable.",
        ),
    ] = None,
    learning_rates: Annotated[
        str | None,
        typer.Option(
            metavar="RATE,...",
            help="Choose the best of these learning rates per architecture, task, length and size, such as "
            "1e-3,3e-3,1e-2. They replace the rates of the plan.",
        ),
    ] = None,
    tuning_seeds: Annotated[
        int | None,
        typer.Option(metavar="N", help="Number of seeds per learning rate, none of which is reported (default: 2)."),
    ] = None,
    measure: Annotated[
        str | None, typer.Option(metavar="PROBE,...", help="Probes to run, such as accuracy,latency,streaming.")
    ] = None,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="Device to run on: cpu or cuda.")] = "cpu",
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Number of training workers (default: one per usable core).")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Address of a dask scheduler whose workers run the cases, such as tcp://host:8786."
        ),
    ] = None,
    repeat: Annotated[int, typer.Option(metavar="N", help="Repeat every timing in this many fresh processes.")] = 1,
    deadline: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Also measure the share of streamed steps that take longer, such as 50us (units: ns, us, ms, s).",
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Time limit for each try of a job, which trains one case or times a group of cases (default: none).",
        ),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Memory limit per worker, such as 4GiB; at least 256MiB.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="BASE",
            help="Measure in turns with another version, and check this one for regressions: another environment's "
            "Python, a folder with Carousel's packages, or a git revision.",
        ),
    ] = None,
    base_plugin_files: Annotated[
        list[Path] | None,
        typer.Option(
            "--base-plugin",
            metavar="FILE",
            help="With --against: the file or folder of a plugin in the state in which the base has it (default: as in "
            "BASE, if it has the file; else the same as --plugin); repeatable.",
        ),
    ] = None,
    build: BuildOption = False,
    pairs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="With --against: at most this many processes of each version per timing: 8, 12, 16, 20, 28 or 40 "
            "(default: 20).",
        ),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="With --against: start no more timings after this time, such as 10min (units: s, min, h).",
        ),
    ] = None,
    fail_on: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC[:EFFECT],...",
            help="With --against: metrics whose regression fails the check, as for carousel check.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="With --against: also fail if a result is inconclusive.")
    ] = False,
    junit: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --against: write the results as JUnit XML; - is standard output."),
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --against: write a summary as Markdown; - is standard output."),
    ] = None,
    allow: AllowOption = None,
    rename: RenameOption = None,
    store: StoreOption = DEFAULT_STORE,
    no_resume: Annotated[bool, typer.Option("--no-resume", help="Start a new run instead of resuming.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the cases that would run, and exit.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not show progress.")] = False,
    plugin_files: PluginOption = None,
    as_json: JsonOption = False,
    lanes: Annotated[int | None, typer.Option(hidden=True, help="Old name of --workers.")] = None,
    new: Annotated[bool, typer.Option("--new", hidden=True, help="Old name of --no-resume.")] = False,
) -> None:
    """Train, test and time the cases of a plan.

    The results are printed as a leaderboard and written as an HTML report. Rerun the same command to resume an
    interrupted run.

    With --against, fresh processes of this version and of a base time the cases in turns, until each timing is decided
    or a limit is reached. Both runs are stored. The output and the exit code are those of carousel check BASE NEW. If
    BASE has a plugin file of its own, at the same place in its checkout, it uses that file. Other plugins are the same
    in both versions, unless --base-plugin gives the file of BASE. A version that knows a name of the plan only by an
    older one, given by --rename or the plan, is asked for that.
    """
    from bench.commands.compare import CheckFiles
    from bench.commands.run import RunOptions, run_plan
    from bench.commands.run_against import AgainstOptions

    options = RunOptions(
        plan=plan,
        archs=archs or [],
        tasks=task_patterns or [],
        lengths=lengths,
        seeds=seeds,
        params=params,
        params_of=params_of,
        depth=depth,
        width=width,
        state=state,
        step_flops=step_flops,
        learning_rates=learning_rates,
        tuning_seeds=tuning_seeds,
        settings=settings or [],
        measure=measure,
        device=device,
        workers=workers,
        lanes=lanes,
        scheduler=scheduler,
        repeat=repeat,
        deadline=deadline,
        timeout=timeout,
        memory=memory,
        store=store,
        resume=not (no_resume or new),
        dry_run=dry_run,
        quiet=quiet,
        plugin_files=plugin_files or [],
        as_json=as_json,
        against=AgainstOptions(
            base=against,
            pairs=pairs,
            time_limit=time_limit,
            fail_on=fail_on,
            allow=allow,
            rename=rename or [],
            base_plugin_files=base_plugin_files or [],
            build=build,
            strict=strict,
            files=CheckFiles(junit=junit, summary=summary),
        ),
    )
    raise typer.Exit(run_plan(options, arguments=sys.argv[1:]))
