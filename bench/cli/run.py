"""Declare `carousel run`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli import completion
from bench.cli.options import DEFAULT_STORE, JsonOption, PluginOption, StoreOption
from bench.errors import FAILED, INTERRUPTED, OK, UsageError


def run(
    plan: Annotated[
        str,
        typer.Argument(metavar="[PLAN]", help="A plan's name, or a TOML file.", autocompletion=completion.plans),
    ] = "quick",
    archs: Annotated[
        list[str] | None,
        typer.Option(
            "-a",
            "--arch",
            help="Architecture, glob, +addition or !exclusion; repeatable.",
            autocompletion=completion.archs,
        ),
    ] = None,
    task_patterns: Annotated[
        list[str] | None,
        typer.Option(
            "-t",
            "--task",
            help="Task, glob, +addition or !exclusion; repeatable.",
            autocompletion=completion.tasks,
        ),
    ] = None,
    lengths: Annotated[str | None, typer.Option("-L", "--lengths", help="Lengths, such as 64,256.")] = None,
    seeds: Annotated[int | None, typer.Option(help="How many seeds.")] = None,
    params: Annotated[int | None, typer.Option(help="Budget of parameters; the width is solved for.")] = None,
    width: Annotated[int | None, typer.Option(help="Width of the layers, instead of a budget.")] = None,
    measure: Annotated[str | None, typer.Option(help="Probes, such as accuracy,latency,streaming.")] = None,
    device: Annotated[str, typer.Option(help="cpu, or cuda where there is one.")] = "cpu",
    workers: Annotated[int | None, typer.Option(help="Number of training workers (default: one per core).")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="A dask scheduler whose workers are the lanes, such as tcp://host:8786.")
    ] = None,
    repeat: Annotated[int, typer.Option(help="Fresh processes in which every timing is taken.")] = 1,
    timeout: Annotated[float | None, typer.Option(help="Most seconds that one case may take.")] = None,
    memory: Annotated[str | None, typer.Option(help="Most memory that one lane may hold, such as 4GiB.")] = None,
    store: StoreOption = DEFAULT_STORE,
    no_resume: Annotated[bool, typer.Option("--no-resume", help="Start a new run instead of resuming.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and stop.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    plugin_files: PluginOption = None,
    as_json: JsonOption = False,
    lanes: Annotated[int | None, typer.Option(hidden=True, help="Old name of --workers.")] = None,
    new: Annotated[bool, typer.Option("--new", hidden=True, help="Old name of --no-resume.")] = False,
) -> None:
    """Train, test and time the cases of a plan, and write a report."""
    from rich.console import Console

    from bench.cli.parsing import bytes_of
    from bench.commands.run import choose, command_line, finish_run, remark
    from bench.machine.environment import available_cores
    from bench.plugins.loader import load
    from bench.runner.request import Request
    from bench.runner.run import describe, execute

    check_device(device)
    if workers is not None and lanes is not None:
        raise UsageError("give --workers or its old name --lanes, not both")
    workers = lanes if workers is None else workers
    if workers is not None and workers < 1:
        raise UsageError(f"--workers must be at least 1, not {workers}")
    if workers is not None and scheduler is not None:
        raise UsageError("give --workers, for this machine, or --scheduler, which brings its own workers")
    if repeat < 1:
        raise UsageError(f"--repeat must be at least 1, not {repeat}")
    if timeout is not None and not timeout > 0:
        raise UsageError(f"--timeout must be more than 0 seconds, not {timeout:g}")
    loaded = load(plugin_files or [])
    chosen = choose(
        plan,
        archs=archs or [],
        tasks=task_patterns or [],
        lengths=lengths,
        seeds=seeds,
        params=params,
        width=width,
        measure=measure,
    )
    request = Request(
        plan_name=Path(plan).stem,
        plan=chosen,
        store=store,
        command=command_line(sys.argv[1:]),
        device=device,
        workers=workers or available_cores(),
        scheduler=scheduler,
        repeat=repeat,
        timeout=timeout,
        memory_bytes=None if memory is None else bytes_of(memory),
        resume=not (new or no_resume),
        plugins=loaded.plugins,
    )
    console = Console(stderr=as_json)
    remark(loaded, chosen, console)
    if dry_run and as_json:
        raise UsageError("--dry-run runs nothing that --json could print; leave one of them out")
    if dry_run:
        describe(request, console)
        return
    try:
        outcome = execute(request, console, quiet=quiet or as_json)
    except KeyboardInterrupt:
        console.print("stopped; every finished case is kept, and the same command goes on from there")
        raise typer.Exit(INTERRUPTED) from None
    finish_run(outcome, console, as_json=as_json)
    raise typer.Exit(OK if outcome.complete else FAILED)


def check_device(device: str) -> None:
    """Raises `UsageError` for a device that is not there."""
    if device == "cpu":
        return
    if device.startswith("cuda:"):
        raise UsageError(f"--device is cpu or cuda, not {device!r}; choose among GPUs with CUDA_VISIBLE_DEVICES")
    if device != "cuda":
        raise UsageError(f"--device is cpu or cuda, not {device!r}")
    import torch

    if not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine has no CUDA device that torch can use; leave --device out")
