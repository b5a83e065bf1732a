"""Plans, training, probes, runs and the command line. Modules here import `arch`, `tasks`, `results` and `reports`."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results import Run


def run(
    plan: str = "quick",
    *,
    archs: str | Sequence[str] = (),
    tasks: str | Sequence[str] = (),
    lengths: Sequence[int] = (),
    seeds: int | None = None,
    params: int | None = None,
    measure: str | Sequence[str] = (),
    settings: Mapping[str, object] | None = None,
    plugins: str | Path | Sequence[str | Path] = (),
    workers: int | None = None,
    store: str | Path = "carousel-runs",
    quiet: bool = True,
) -> Run:
    """Execute a plan as `carousel run` does, and return the stored run.

    An unfinished run of the same plan and code is resumed. Cases that fail are part of the run, with their reasons. The
    page is `report.html` in the folder of the run.

    Args:
        plan: Name of a shipped plan, or path of a TOML file.
        archs: Names, specs, globs, `+additions` and `!exclusions` of architectures; empty for those of the plan.
        tasks: Those of tasks, like `archs`.
        lengths: Lengths of the training sequences in steps; empty for those of the plan.
        seeds: Number of seeds; None for that of the plan.
        params: Number of parameters per model; None for the size of the plan.
        measure: Names of probes, such as `accuracy` and `streaming`; empty for those of the plan.
        settings: Fields of the protocol that replace those of the plan, such as `{"steps": 200}`.
        plugins: Python files that add an architecture or a task.
        workers: Number of training workers; None for one per core.
        store: Folder of runs.
        quiet: Whether to print neither progress nor notes on the plan, but only long waits.

    Raises `bench.errors.UsageError`, a `ValueError`, if an argument is invalid.

    >>> import bench, results
    >>> run = bench.run("quick", archs=["lstm", "gru"], tasks=["first_last"], lengths=[32], seeds=1)
    >>> results.cases(run.folder)[["arch", "accuracy length=32"]]
    """
    from rich.console import Console

    from bench.commands.output import new_console
    from bench.commands.report import PAGE, write_page
    from bench.commands.run import RunOptions, new_request
    from bench.commands.stored_run import load_run
    from bench.runner.run import execute

    options: dict[str, Any] = {
        "archs": _several(archs),
        "tasks": _several(tasks),
        "lengths": ",".join(map(str, lengths)) or None,
        "seeds": seeds,
        "params": params,
        "measure": ",".join(map(str, _several(measure))) or None,
        "settings": [f"{field}={json.dumps(value)}" for field, value in (settings or {}).items()],
        "plugin_files": [Path(plugin) for plugin in _several(plugins)],
        "workers": workers,
    }
    console = new_console(stderr=True)
    notes = Console(file=io.StringIO(), force_jupyter=False) if quiet else console
    request = new_request(RunOptions(plan=plan, store=Path(store), **options), _words(plan, options), notes)
    run = execute(request, console, quiet=quiet).run
    write_page(run, load_run(run), run.folder / PAGE)
    return run


def _words(plan: str, options: Mapping[str, Any]) -> list[str]:
    """Return the words of the command that does the same, without `carousel`, to store with the run."""
    names = {"archs": "-a", "tasks": "-t", "lengths": "-L", "settings": "--set", "plugin_files": "--plugin"}
    words = ["run", plan]
    for name, value in options.items():
        for each in value if isinstance(value, (list, tuple)) else () if value is None else (value,):
            words += [names.get(name, f"--{name}"), str(each)]
    return words


def _several(value: str | Path | Sequence[str | Path]) -> list[str | Path]:
    return [value] if isinstance(value, (str, Path)) else list(value)
