"""`carousel validate`: check architectures and tasks, and print each verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

import arch
import tasks
from arch import kernels
from bench.commands.output import new_console, print_json, print_lines
from bench.errors import FAILED, OK, UsageError
from bench.machine.streams import only_documents_on_standard_output
from bench.plugins.loader import Loaded, load
from bench.plugins.source_files import forgotten_files
from bench.runner.trial import BATCH, Trial, trials_of_arch, trials_of_task
from bench.validation.checker import CheckResult, Verdict, validate_arch, validate_task
from reports.format import listed
from results.specs import Spec, UnknownName


def validate_names(specs: Sequence[str], files: Sequence[Path], *, as_json: bool) -> int:
    """Validate `specs`, print the verdicts, and return the exit code.

    If `specs` is empty, validate the plugins in `files`. If both are empty, validate every architecture and task.
    Raises `UsageError` for an unknown name and for a plugin in `files` that cannot be loaded.
    """
    with only_documents_on_standard_output(as_json):
        loaded = load(files)
        given = {file.stem for file in files}
        for plugin in loaded.disabled:
            message = f"the plugin {plugin.name} is disabled: {plugin.reason}"
            if plugin.name in given:
                raise UsageError(message)
            print_lines([f"carousel: {message}"], new_console(stderr=True))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # on such small tensors, synchronising threads costs more time than they save
        try:
            verdicts = []
            for verdict in _verdicts(specs, given, loaded):
                verdicts.append(verdict)
                if not as_json:
                    _print_verdict(verdict)
        finally:
            torch.set_num_threads(threads)
    if (note := kernels.note()) is not None:
        print_lines([f"carousel: {note}"], new_console(stderr=True))
    if as_json:
        print_json({"validated": [dataclasses.asdict(verdict) for verdict in verdicts]})
    return FAILED if any(verdict.failed for verdict in verdicts) else OK


def _verdicts(specs: Sequence[str], given: set[str], loaded: Loaded) -> Iterator[Verdict]:
    """Yield a verdict per spec, or two if an architecture and a task have the same name.

    If `specs` is empty, use the names in `given`. If `given` is empty too, use every architecture and task. Raises
    `UsageError` for an unknown name, before any check runs, and for an invalid spec.
    """
    digests = {plugin.name: plugin.digest for plugin in loaded.plugins}
    pending: list[tuple[str, Callable[[str], Verdict], Callable[[str], list[Trial]]]] = []
    for spec in dict.fromkeys(list(specs) or sorted(given) or [*arch.names(), *tasks.names()]):
        name = Spec.parse_stored(spec).name
        kinds = ((arch, validate_arch, trials_of_arch), (tasks, validate_task, trials_of_task))
        checks = [(check, trials) for package, check, trials in kinds if name in package.names()]
        if not checks:
            known = ", ".join([*arch.names(), *tasks.names()])
            error = UnknownName(f"no architecture or task {name!r}; choose from {known}")
            raise UsageError(f"{error}{forgotten_files([spec], error)}")
        pending += [(spec, *each) for each in checks]
    for spec, check, trials in pending:
        try:
            verdict = check(spec)
            if not verdict.failed:
                verdict = dataclasses.replace(verdict, results=(*verdict.results, _try(trials(spec))))
        except ValueError as error:
            raise UsageError(str(error)) from None
        yield dataclasses.replace(verdict, plugin=digests.get(Spec.parse_stored(verdict.name).name))


def _try(trials: Sequence[Trial]) -> CheckResult:
    """Run trials until one fails, and return the result as that of a check."""
    for trial in trials:
        if (failure := trial.failure()) is not None:
            return CheckResult(check="run", failure=failure, smallest={"length": trial.length, "batch": BATCH})
    return CheckResult(check="run")


def _print_verdict(verdict: Verdict) -> None:
    count = len(verdict.results) + len(verdict.not_run)
    name = verdict.name if verdict.plugin is None else f"{verdict.name} (plugin {verdict.plugin})"
    outcome = f"all {count} checks passed" if not verdict.failed else f"{len(verdict.failed)} of {count} checks failed"
    if verdict.not_run:
        outcome += f", so {len(verdict.not_run)} others did not run"
    state = f"; {verdict.state}" if verdict.state is not None and not verdict.not_run else ""
    print_lines([f"{name}: {outcome}{state}", *_failures(verdict.failed)], new_console())


def _failures(failed: Sequence[CheckResult]) -> list[str]:
    """Return a line for each failure. Checks that observed the same share a line, with the first example."""
    alike: dict[str | None, list[CheckResult]] = {}
    for result in failed:
        alike.setdefault(result.failure, []).append(result)
    lines = []
    for first, *others in alike.values():
        names = [f"`{result.check}`" for result in (first, *others)]
        lines.append(f"  check{'s' * bool(others)} {listed(names)}: {first.found}")
    return lines
