"""`carousel run`: choose the cases of a plan, execute them and print the leaderboard."""

from __future__ import annotations

import importlib
import itertools
import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from rich.console import Console

import reports
from bench.against.measure import describe_in_turns, measure_in_turns
from bench.commands.dry_run import print_dry_run
from bench.commands.output import new_console, print_json, print_lines, run_document
from bench.commands.quantities import parse_duration, parse_size
from bench.commands.report import PAGE, write_page
from bench.commands.run_against import AgainstOptions, check_in_turns, require_measured
from bench.commands.run_warnings import (
    budget_warnings,
    claim_warnings,
    deadline_warnings,
    option_warnings,
    plugin_warnings,
    rate_warnings,
    spoilt_plugins,
)
from bench.commands.stored_run import StoredRun
from bench.errors import FAILED, INTERRUPTED, OK, UsageError
from bench.machine.environment import default_workers
from bench.machine.streams import only_documents_on_standard_output
from bench.plans.choice import choose, specs_of
from bench.plans.invalid_field import first_error
from bench.plans.plan import Plan, load
from bench.plans.protocol_settings import parse_settings
from bench.plugins import loader
from bench.runner.pending import Pending
from bench.runner.request import Request
from bench.runner.run import Outcome, describe, execute
from results import BUDGETS, Probe, Run, Tuning

MAX_COMMAND = 4000
"""Maximum length of a stored command in characters."""

PRIVATE_OPTIONS = ("--store", "--summary", "--junit")
"""Options whose values are paths on this machine. They are omitted from the stored command."""

NAMED_PATHS = ("--plugin", "--base-plugin", "--against")
"""Options whose values may be paths on this machine. The stored command has their last parts."""

MIN_WORKER_BYTES = 256 << 20
"""Minimum memory limit in bytes: about the memory that a worker uses before its first job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of `carousel run`. None means the plan's value, unless the field gives another meaning."""

    plan: str
    """Name of a shipped plan, or path of a TOML file."""
    store: Path
    """Folder of runs."""
    archs: Sequence[str] = ()
    """Patterns: names, globs, additions and exclusions."""
    tasks: Sequence[str] = ()
    """Patterns, like `archs`."""
    lengths: str | None = None
    """Lengths of the training sequences in steps, separated by commas."""
    seeds: int | None = None
    """Number of seeds."""
    params: str | None = None
    """Number of parameters per model, such as `20k`. At most one of it, `width`, `state` and `step_flops` is given."""
    params_of: str | None = None
    depth: int | None = None
    """What `params` counts: `model` or `layers`."""
    width: int | None = None
    """Width of the layers."""
    state: str | None = None
    """Size of the state of one stream at the trained length, such as `4KiB`."""
    step_flops: str | None = None
    """FLOPs of one streamed step at the trained length, such as `40k`."""
    learning_rates: str | None = None
    """Learning rates to choose from, separated by commas; None for the rates or the grid of the plan."""
    tuning_seeds: int | None = None
    """Number of seeds per learning rate of the grid."""
    settings: Sequence[str] = ()
    """Fields of the protocol, such as `steps=2000`, which replace those of the plan."""
    measure: str | None = None
    """Names of probes, separated by commas."""
    device: str = "cpu"
    """`cpu` or `cuda`."""
    workers: int | None = None
    """Number of training workers; None for one per core that the process may use."""
    lanes: int | None = None
    """Value of `--lanes`, the old name of `--workers`; None if it is not given."""
    scheduler: str | None = None
    """Address of a dask scheduler; None to run on this machine."""
    repeat: int = 1
    """Number of processes in which every timing is repeated. If the number exceeds 1, every process is fresh."""
    deadline: str | None = None
    """Duration that a streamed step should not exceed, such as `50us`; None for the plan's deadline."""
    timeout: float | None = None
    """Time limit in seconds for each try of a job; None for no limit."""
    memory: str | None = None
    """Memory limit per worker, such as `4GiB`; None for no limit."""
    resume: bool = True
    """Whether to resume an unfinished run."""
    dry_run: bool = False
    """Whether to describe the run without starting it."""
    quiet: bool = False
    plugin_files: Sequence[Path] = ()
    as_json: bool = False
    against: AgainstOptions = field(default_factory=AgainstOptions)
    """What to measure in turns with another version."""

    @property
    def worker_count(self) -> int | None:
        """Number of training workers, given by either name of the option; None if it is not given."""
        return self.lanes if self.workers is None else self.workers


def run_plan(options: RunOptions, arguments: Sequence[str]) -> int:
    """Execute a plan, print the results, and return the exit code. A dry run only describes what would be executed.

    `arguments` are the words after `carousel`. The run stores them as `command_line` formats them.

    Raises `UsageError` if the options are invalid. In this case, nothing is executed. Errors of `describe`,
    `execute` and `finish_run` are passed on.
    """
    in_turns = options.against.settings(
        repeat=options.repeat,
        scheduler=options.scheduler,
        as_json=options.as_json,
        plugin_files=options.plugin_files,
    )
    prints_document = options.as_json or options.against.files.use_standard_output
    with only_documents_on_standard_output(prints_document):
        console = new_console(stderr=prints_document)
        request = new_request(options, arguments, console)
        require_measured(options.against.fail_on, request.plan)
        quiet = options.quiet or options.as_json
        outcome: Pending | Outcome | tuple[Run, Run]
        try:
            if options.dry_run and in_turns is not None:
                describe_in_turns(request, in_turns, console)
                return OK
            if options.dry_run:
                outcome = describe(request, console)
            elif in_turns is None:
                outcome = execute(request, console, quiet=quiet)
            else:
                outcome = measure_in_turns(request, in_turns, console, quiet=quiet)
        except KeyboardInterrupt:
            if in_turns is None and not options.dry_run:
                print_lines(["stopped: finished cases are saved; rerun the same command to resume"], console)
            return INTERRUPTED
    if isinstance(outcome, Pending):
        print_dry_run(outcome, console, as_json=options.as_json)
        return OK
    if isinstance(outcome, Outcome):
        finish_run(outcome, console, as_json=options.as_json)
        return OK if outcome.complete else FAILED
    return check_in_turns(options.store, *outcome, options.against, console, as_json=options.as_json)


def new_request(options: RunOptions, arguments: Sequence[str], console: Console) -> Request:
    """Return what to run, and print what the user should know about it. Raises `UsageError` as `run_plan` does."""
    _check(options)
    memory_bytes = None if options.memory is None else parse_memory(options.memory)
    loaded = loader.load(options.plugin_files)
    plan = choose_plan(options)
    print_lines(plugin_warnings(loaded, plan), console, style="yellow")
    as_shipped = load(options.plan)
    for planned, patterns in zip(specs_of(as_shipped), (options.archs, options.tasks), strict=True):
        print_lines(option_warnings(planned, patterns), console, style="yellow")
    if options.learning_rates is not None and as_shipped.fixes_rates:
        print_lines(["--learning-rates replaces the learning rates that the plan fixes"], console)
    if plan.timing.deadline_seconds is not None and "streaming" in plan.measure:
        print_lines(deadline_warnings(plan, options.device), console, style="yellow")
    print_lines(
        [*rate_warnings(plan), *budget_warnings(plan), *claim_warnings(as_shipped, plan)], console, style="yellow"
    )
    return Request(
        plan_name=Path(options.plan).stem,
        plan=plan,
        store=options.store,
        command=command_line(arguments),
        device=options.device,
        workers=options.worker_count or default_workers(),
        scheduler=options.scheduler,
        repeat=options.repeat,
        timeout=options.timeout,
        memory_bytes=memory_bytes,
        resume=options.resume,
        plugins=loaded.plugins,
    )


def choose_plan(options: RunOptions) -> Plan:
    """Return the plan, changed by the user's options. Raises `UsageError` if an option is invalid.

    Choices and a size apply to all grids of the plan.
    """
    as_shipped = load(options.plan)
    lengths = options.lengths.split(",") if options.lengths is not None else []
    plan = choose(
        as_shipped,
        archs=options.archs,
        tasks=options.tasks,
        lengths=tuple(_whole_number("--lengths", text) for text in lengths) or None,
        arch_names=_names_in("arch"),
        task_names=_names_in("tasks"),
    )
    changes: dict[str, Any] = {}
    if options.seeds is not None:
        changes["seeds"] = _whole_number("--seeds", options.seeds)
    budgets: dict[str, Any] = {kind: getattr(options, kind) for kind in BUDGETS}
    given = [f"--{kind.replace('_', '-')}" for kind, amount in budgets.items() if amount is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other: give one of them")
    if (tuning := _tuning(options, plan)) is not None:
        plan = plan.tuned_by(tuning)
    if given:
        changes |= budgets | {"extra": tuple(extra.without_budget() for extra in plan.extra)}
    if options.depth is not None:
        extras = changes.get("extra", plan.extra)
        without_depth = tuple(extra.model_copy(update={"depth": None}) for extra in extras)
        changes |= {"depth": _whole_number("--depth", options.depth), "extra": without_depth}
    if options.params_of is not None:
        if changes.get("params", plan.params) is None:
            raise UsageError("--params-of says what a number of parameters counts: add --params")
        changes["params_of"] = options.params_of
    if options.settings:
        settings = parse_settings(options.settings)
        if tuning is not None and "learning_rate" in settings:
            raise UsageError("--set learning_rate and --learning-rates exclude each other: give one of them")
        plan = plan.with_protocol(settings)
    if options.measure is not None:
        changes["measure"] = _probes(options.measure)
    if options.deadline is not None:
        if "streaming" not in changes.get("measure", plan.measure):
            raise UsageError("--deadline needs the probe streaming: add it to --measure or to the plan's measure")
        seconds = parse_duration("--deadline", options.deadline)
        changes["timing"] = dict(plan.timing) | {"deadline_seconds": seconds}
    try:
        return Plan.model_validate(dict(plan) | changes).without_origins_unless_in(as_shipped)
    except ValidationError as error:
        raise UsageError(f"invalid options for the plan {options.plan}: {first_error(error)}") from None


def parse_memory(text: str) -> int:
    """Return the number of bytes in a memory limit per worker, such as `4GiB`.

    Raises `UsageError` if `parse_size` does, or if the limit is below `MIN_WORKER_BYTES`.
    """
    size = parse_size("--memory", text)
    if size < MIN_WORKER_BYTES:
        raise UsageError(f"--memory {text} is too little: a worker needs at least {MIN_WORKER_BYTES >> 20}MiB")
    return size


def check_device(device: str) -> None:
    """Raise `UsageError` if `device` is unknown or not available."""
    if device == "cpu":
        return
    if device.startswith("cuda:"):
        raise UsageError(f"--device must be cpu or cuda, not {device!r}; select a GPU with CUDA_VISIBLE_DEVICES")
    if device != "cuda":
        raise UsageError(f"--device must be cpu or cuda, not {device!r}")
    import torch

    if not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no CUDA device on this machine; use --device cpu")


def command_line(arguments: Sequence[str]) -> str:
    """Return the command as shell text of at most `MAX_COMMAND` characters, without paths on this machine.

    Options in `PRIVATE_OPTIONS` are omitted. Plan files, plugin files and bases are reduced to their names.
    """
    retained: list[str] = []
    words = iter(arguments)
    for word in words:
        if word in PRIVATE_OPTIONS:
            next(words, None)
        elif word in NAMED_PATHS:
            retained += [word, *(Path(value).name for value in itertools.islice(words, 1))]
        elif not word.startswith(tuple(f"{option}=" for option in PRIVATE_OPTIONS)):
            option, sign, value = word.rpartition("=") if word.startswith("--") else ("", "", word)
            is_path = option in NAMED_PATHS or value.endswith((".toml", ".py"))
            retained.append(f"{option}{sign}{Path(value).name}" if is_path else word)
    return shlex.join(["carousel", *retained])[:MAX_COMMAND]


def finish_run(outcome: Outcome, console: Console, *, as_json: bool) -> None:
    """Print the leaderboard, then write the report and print its path.

    If `as_json` is true, print one JSON document instead of the leaderboard and the path. Raises `UsageError` if the
    report cannot be written.
    """
    try:
        if as_json:
            print_json(run_document(outcome.file, outcome.records))
        else:
            reports.render_terminal(outcome.file, outcome.records, console=console)
    finally:  # also if standard output cannot be written
        page = write_page(outcome.run, StoredRun(file=outcome.file, records=outcome.records), outcome.run.folder / PAGE)
    if not as_json:
        print_lines([*spoilt_plugins(outcome.file, outcome.records), f"report: {page}"], console)


def _check(options: RunOptions) -> None:
    check_device(options.device)
    if options.workers is not None and options.lanes is not None:
        raise UsageError("--lanes is the old name of --workers: give only --workers")
    workers = options.worker_count
    if workers is not None:
        _whole_number("--workers", workers)
    if workers is not None and options.scheduler is not None:
        raise UsageError(
            "--workers and --scheduler exclude each other: a scheduler brings its own workers; omit --workers"
        )
    _whole_number("--repeat", options.repeat)
    if options.timeout is not None and not options.timeout > 0:
        raise UsageError(f"--timeout must be more than 0 seconds, not {options.timeout:g}")
    if options.dry_run and options.as_json and options.against.base is not None:
        raise UsageError("--dry-run and --json exclude each other with --against; give one of them")


def _names_in(package: str) -> Callable[[], list[str]]:
    """Return a function that returns the names registered in `package`.

    The package is imported when the function is called.
    """

    def names() -> list[str]:
        registered: list[str] = importlib.import_module(package).names()
        return registered

    return names


def _whole_number(option: str, value: str | int) -> int:
    try:
        number = int(value)
    except ValueError:
        raise UsageError(f"{option} takes whole numbers, not {value!r}") from None
    if number < 1:
        raise UsageError(f"{option} must be at least 1, not {number}")
    return number


def _tuning(options: RunOptions, plan: Plan) -> Tuning | None:
    """Return the grid of learning rates that the options give, or None if they give none."""
    if options.learning_rates is None and options.tuning_seeds is None:
        return None
    grid: dict[str, Any] = {} if plan.tuning is None else dict(plan.tuning)
    if options.learning_rates is not None:
        grid["learning_rates"] = tuple(_rate(text.strip()) for text in options.learning_rates.split(","))
    elif plan.tuning is None:
        raise UsageError("--tuning-seeds needs a grid: add --learning-rates, or the table tuning to the plan")
    if options.tuning_seeds is not None:
        grid["seeds"] = _whole_number("--tuning-seeds", options.tuning_seeds)
    try:
        return Tuning.model_validate(grid)
    except ValidationError as error:
        option = "--tuning-seeds" if error.errors()[0]["loc"][:1] == ("seeds",) else "--learning-rates"
        raise UsageError(f"{option}: {first_error(error).removeprefix('learning_rates: ')}") from None


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise UsageError(f"--learning-rates takes positive numbers such as 1e-3,3e-3, not {text!r}")
    return rate


def _probes(text: str) -> tuple[Probe, ...]:
    known = get_args(Probe)
    wanted = [name.strip() for name in text.split(",")]
    for name in wanted:
        if name not in known:
            raise UsageError(f"--measure: unknown probe {name!r}; choose from {', '.join(known)}")
    return tuple(probe for probe in known if probe in wanted)
