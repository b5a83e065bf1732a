"""What `carousel validate` does: check architectures and tasks, and print each verdict."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
import typer

import arch
import tasks
from bench.errors import FAILED, OK, UsageError
from bench.plugins.loader import Loaded, load
from bench.validation.checker import Verdict, validate_arch, validate_task


def validate(names: Sequence[str], files: Sequence[Path], *, as_json: bool) -> int:
    """Print what was found of these names, or of the plugins, or of all there is; the exit code.

    Raises `UsageError` for a name there is not and a plugin that cannot be loaded.
    """
    loaded = load(files)
    given = {file.stem for file in files}
    for one in loaded.disabled:
        if one.name in given:
            raise UsageError(f"the plugin {one.name} is disabled: {one.reason}")
        typer.echo(f"carousel: the plugin {one.name} is disabled: {one.reason}", err=True)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for each other cost more than such small tensors bring
    try:
        verdicts = []
        for verdict in _verdicts(names, given, loaded):
            verdicts.append(verdict)
            if not as_json:
                _tell(verdict)
    finally:
        torch.set_num_threads(before)
    if as_json:
        print(json.dumps({"validated": [dataclasses.asdict(verdict) for verdict in verdicts]}, indent=1))
    return FAILED if any(verdict.failed for verdict in verdicts) else OK


def _verdicts(names: Sequence[str], given: set[str], loaded: Loaded) -> Iterator[Verdict]:
    digests = {plugin.name: plugin.digest for plugin in loaded.plugins}
    wanted = list(names) or sorted(given) or [*arch.names(), *tasks.names()]
    kinds: list[tuple[str, Callable[[str], Verdict]]] = []
    for spec in dict.fromkeys(wanted):
        name = spec.partition(":")[0].strip()
        rooms = [check for room, check in ((arch, validate_arch), (tasks, validate_task)) if name in room.names()]
        if not rooms:
            known = ", ".join([*arch.names(), *tasks.names()])
            raise UsageError(f"no architecture or task {name!r}; there are {known}")
        kinds += [(spec, check) for check in rooms]
    for spec, check in kinds:
        try:
            verdict = check(spec)
        except ValueError as error:
            raise UsageError(str(error)) from None
        yield dataclasses.replace(verdict, plugin=digests.get(verdict.name.partition(":")[0]))


def _tell(verdict: Verdict) -> None:
    count = len(verdict.results)
    who = verdict.name if verdict.plugin is None else f"{verdict.name} (plugin {verdict.plugin})"
    held = f"all {count} checks passed" if not verdict.failed else f"{len(verdict.failed)} of {count} checks failed"
    typer.echo(f"{who}: {held}" + ("" if verdict.state is None else f"; {verdict.state}"))
    for result in verdict.failed:
        typer.echo(f"  {result}")
