"""The command line. Nothing heavy is imported before a command needs it, so that `--help` is quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from bench import _completion
from bench._errors import FAILED, INTERRUPTED, OK, USAGE, UsageError
from bench._own_rooms import check_own_rooms

app = typer.Typer(
    name="carousel",
    help="Which sequence architecture remembers what, over how long a distance, and at what cost per step?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode=None,
)

StoreOption = Annotated[
    Path, typer.Option("--store", envvar="CAROUSEL_STORE", help="Folder of runs.", show_default=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="[RUN]", help="An id, a unique prefix, `latest`, or a path.", autocompletion=_completion.runs
    ),
]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="File that adds an architecture or a task under its own name; repeatable."),
]
DEFAULT_STORE = Path("carousel-runs")
WrongWords: type[Exception] = typer.BadParameter.__bases__[0]
"""What typer raises for an option, a command or a value that there is not."""


@app.command()
def run(
    plan: Annotated[
        str,
        typer.Argument(metavar="[PLAN]", help="A plan's name, or a TOML file.", autocompletion=_completion.plans),
    ] = "quick",
    archs: Annotated[
        list[str] | None,
        typer.Option(
            "-a",
            "--arch",
            help="Architecture, glob, +addition or !exclusion; repeatable.",
            autocompletion=_completion.archs,
        ),
    ] = None,
    task_patterns: Annotated[
        list[str] | None,
        typer.Option(
            "-t",
            "--task",
            help="Task, glob, +addition or !exclusion; repeatable.",
            autocompletion=_completion.tasks,
        ),
    ] = None,
    lengths: Annotated[str | None, typer.Option("-L", "--lengths", help="Lengths, such as 64,256.")] = None,
    seeds: Annotated[int | None, typer.Option(help="How many seeds.")] = None,
    params: Annotated[int | None, typer.Option(help="Budget of parameters; the width is solved for.")] = None,
    width: Annotated[int | None, typer.Option(help="Width of the layers, instead of a budget.")] = None,
    measure: Annotated[str | None, typer.Option(help="Probes, such as accuracy,latency,streaming.")] = None,
    device: Annotated[str, typer.Option(help="cpu, or cuda where there is one.")] = "cpu",
    lanes: Annotated[int | None, typer.Option(help="Cases trained at once; one a core unless said.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="A dask scheduler whose workers are the lanes, such as tcp://host:8786.")
    ] = None,
    repeat: Annotated[int, typer.Option(help="Fresh processes in which every timing is taken.")] = 1,
    timeout: Annotated[float | None, typer.Option(help="Most seconds that one case may take.")] = None,
    memory: Annotated[str | None, typer.Option(help="Most memory that one lane may hold, such as 4GiB.")] = None,
    store: StoreOption = DEFAULT_STORE,
    new: Annotated[bool, typer.Option("--new", help="Do not take up an unfinished run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and stop.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    plugin_files: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train, test and time the cases of a plan, and write a report."""
    from rich.console import Console

    from bench._amount import bytes_of
    from bench._command import choose, command_line, finish_run
    from bench._environment import available_cores
    from bench._plugins import load, remark
    from bench._run import Request, describe, execute

    check_device(device)
    if lanes is not None and lanes < 1:
        raise UsageError(f"--lanes must be at least 1, not {lanes}")
    if lanes is not None and scheduler is not None:
        raise UsageError("give --lanes, for this machine, or --scheduler, whose workers have lanes of their own")
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
        lanes=lanes or available_cores(),
        scheduler=scheduler,
        repeat=repeat,
        timeout=timeout,
        memory_bytes=None if memory is None else bytes_of(memory),
        new=new,
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


@app.command(name="list")
def list_(
    what: Annotated[Literal["archs", "tasks", "plans", "runs"], typer.Argument(help="What to list.")],
    glob: Annotated[str, typer.Argument(metavar="[GLOB]", help="Only names that match.")] = "*",
    store: StoreOption = DEFAULT_STORE,
    plugin_files: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Architectures, tasks, plans, or the runs of a store."""
    from bench._listing import list_archs, list_plans, list_runs, list_tasks, show_listing

    if what in ("archs", "tasks"):
        from bench._plugins import load

        loaded = load(plugin_files or [])
        rows = (list_archs if what == "archs" else list_tasks)(loaded)
    else:
        rows = list_runs(store) if what == "runs" else list_plans()
    show_listing(what, rows, glob, as_json=as_json)


@app.command(name="show-task")
def show_task(
    task: Annotated[str, typer.Argument(help="A task, such as recall:pairs=4.", autocompletion=_completion.tasks)],
    length: Annotated[int | None, typer.Option("-L", "--length", help="Steps; a short length unless said.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed shows another sequence.")] = 0,
    plugin_files: PluginOption = None,
) -> None:
    """One sequence of a task in words: what is fed, what is asked, what guessing scores."""
    from bench._listing import describe_task
    from bench._plugins import load

    load(plugin_files or [])
    typer.echo(describe_task(task, length, seed))


@app.command()
def show(
    run: RunArgument = "latest",
    format: Annotated[
        Literal["table", "markdown", "csv", "latex", "json"], typer.Option(help="How to write it.")
    ] = "table",
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """The leaderboard of a run."""
    from bench._command import show_run

    show_run(store, run, format)


@app.command()
def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="One run; with two, the second against the first.",
            autocompletion=_completion.runs,
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where to write the page.")] = None,
    figures: Annotated[Path | None, typer.Option(help="Folder to write the figures of the page into, as SVG.")] = None,
    claims: Annotated[
        str | None,
        typer.Option(
            metavar="PLAN",
            help="Judge by the claims of this plan, rather than by those that the run kept.",
            autocompletion=_completion.plans,
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write report.html of a run, or of one run against another, one page that opens from disk, and say where it is."""
    from bench._command import report_runs

    for path in report_runs(store, runs or ["latest"], output, figures, claims):
        typer.echo(path)


@app.command()
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
    from bench._command import draw_gates, list_cases

    for line in list_cases(store, run, case) if list_all else draw_gates(store, run, case, output):
        typer.echo(line)


@app.command()
def doctor(
    seconds: Annotated[float, typer.Option(help="How long to take the machine's pulse.")] = 10.0,
    as_json: JsonOption = False,
) -> None:
    """What this machine is, and what limits trust in timings here."""
    from bench._doctor import examine

    if not 0 < seconds <= 600:
        raise UsageError(f"--seconds must be more than 0 and at most 600, not {seconds:g}")
    examine(as_json=as_json, seconds=seconds)


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


def main() -> None:
    """The `carousel` command. A user's mistake is one line on standard error, never a traceback."""
    try:
        check_own_rooms()
        code = app(prog_name="carousel", standalone_mode=False)
    except typer.Abort:
        raise SystemExit(INTERRUPTED) from None
    except WrongWords as error:
        message = error.format_message()  # type: ignore[attr-defined]
        asks_for_help = not sys.argv[1:]
        typer.echo(
            message if asks_for_help else f"carousel: {' '.join(message.split())}; see carousel --help", err=True
        )
        raise SystemExit(USAGE) from None
    except ValueError as error:
        if not _is_a_users_mistake(error):
            raise
        typer.echo(f"carousel: {error}", err=True)
        raise SystemExit(getattr(error, "exit_code", USAGE)) from None
    raise SystemExit(code or OK)


def _is_a_users_mistake(error: ValueError) -> bool:
    if isinstance(error, UsageError):
        return True
    from results import StoreError

    return isinstance(error, StoreError)


from bench import _cli_compare, _cli_extend, _cli_store  # noqa: E402, F401  (their commands need the app)
