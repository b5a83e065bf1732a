"""Find out what a plan is in each of two versions, before anything is measured.

A version may know an architecture or a task of the plan only by an older name, or not at all, and a plugin only in
another state. So each version is asked for the cases of the plan that it has (see `described_plan.py`), and it gets its
own plugin files if its checkout has them.
"""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from bench.against.described_plan import described_plan
from bench.against.version import SAME_CODE, THIS, Version, given_version
from bench.against.version_plugins import plugins_of, shared_although_tracked, with_base_plugins
from bench.against.version_process import Description, VersionProcess
from bench.errors import NotComparable, UsageError
from bench.plugins.loader import Plugin
from bench.runner.request import Request
from bench.runner.resume import new_run_file
from bench.runner.run import counted_cases
from reports.format import listed, print_lines
from results import Case, RunFile, Side, Turns
from results.comparison import (
    COMPARED_AS,
    Thresholds,
    rename_case,
    rename_cases,
    renames,
    require_known,
    require_no_circle,
    run_differences,
)

SIDES: tuple[Side, Side] = ("base", "new")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How two versions are measured in turns."""

    base: str | Version
    """The base: a Python, a folder or a git revision."""
    new: Version = THIS
    """The version that is checked."""
    cases: str | None = None
    """Pattern of the cases to measure, as `selected_cases` reads it; None for all."""
    pairs: int
    """Largest number of pairs of processes; one of `LOOKS`."""
    time_limit: float | None = None
    """Seconds after which no new pair of processes starts; None for no limit."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    metrics: frozenset[str] = frozenset(COMPARED_AS)
    """Metrics that must be decided. Others are measured as long as these need more pairs."""
    allow: frozenset[str] = frozenset()
    """Fields in which the two versions may differ."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """New names of architectures and tasks by old names, in addition to those of the plan."""
    plugin_files: Sequence[Path] = ()
    """The files of the plugins of the request, as the user gave them."""
    base_plugin_files: Sequence[Path] = ()
    """Files of plugins in the state in which the base has them, as the user gave them."""
    build: bool = False
    """Whether to build an environment for a revision that pins other packages than those installed here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One of two versions, which is ready to measure the cases of a plan."""

    executor: VersionProcess
    described: Description
    plugins: tuple[Plugin, ...]
    """The plugins of the version: those of the request, in the state in which the version has them."""

    @property
    def name(self) -> str:
        return self.executor.version.name


@contextlib.contextmanager
def planned_versions(request: Request, settings: Settings, console: Console) -> Iterator[list[Planned]]:
    """Start both versions, and yield what the plan is in each of them, base first. Print what a version lacks.

    Raises `UsageError` if the base is no version, or if a version cannot run the plan. Raises `RenameError` if names
    are renamed in a circle, if two cases of a version would become one, or if no case has an old or a new name of the
    settings.
    """
    names = _names(request, settings)
    require_no_circle(names)
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(
            given_version(
                settings.base, build=settings.build, announce=lambda line: print_lines([line], console, style="yellow")
            )
        )
        if base.note is not None:
            print_lines([base.note], console, style="yellow")
        if isinstance(settings.base, str):
            shared = shared_although_tracked(base, request, settings.plugin_files, settings.base_plugin_files)
            advice = "; check out its other state, and give the file by --base-plugin"
            print_lines([f"{sentence}{advice}" for sentence in shared], console, style="yellow")
        planned = []
        cases: list[Case] = []
        for version in (base, settings.new):
            executor = stack.enter_context(
                VersionProcess(version, workers=request.workers, memory_bytes=request.memory_bytes)
            )
            plugins = plugins_of(version, request.plugins, settings.plugin_files)
            if version is base:
                plugins = with_base_plugins(plugins, settings.base_plugin_files)
            described, lacking = described_plan(executor, replace(request, plugins=plugins), names)
            cases += described.cases
            if lacking:
                print_lines([_lacking_in_words(version, lacking)], console, style="yellow")
            if settings.cases is not None:
                described = replace(
                    described, cases=_selected(described.cases, settings.cases, names, version, lacking)
                )
            planned.append(Planned(executor=executor, described=described, plugins=plugins))
        require_known(settings.renamed, cases, names, or_new=True)
        for each in planned:
            rename_cases(each.described.cases, names, each.name)  # otherwise nothing could read the runs
        yield planned


def _names(request: Request, settings: Settings) -> dict[str, str]:
    return {**request.plan.renamed, **settings.renamed}


def _lacking_in_words(version: Version, lacking: Sequence[str]) -> str:
    return (
        f"{version.name} lacks {listed(list(lacking))}: such cases are missing there and not compared; if it has an "
        f"older name for {lacking[0]}, add --rename OLD={lacking[0]}"
    )


def _selected(
    cases: Sequence[Case], pattern: str, names: Mapping[str, str], version: Version, lacking: Sequence[str]
) -> tuple[Case, ...]:
    """Return the cases of a version as `selected_cases` does. An error says what the version lacks."""
    try:
        return selected_cases(cases, pattern, names)
    except UsageError:
        if not lacking:
            raise
        raise UsageError(
            f"{version.name} lacks {listed(list(lacking))}, and --case {pattern} matches none of its other cases; "
            "choose a version that has them"
        ) from None


def selected_cases(cases: Sequence[Case], pattern: str, names: Mapping[str, str] | None = None) -> tuple[Case, ...]:
    """Return the cases whose name matches a glob: `lstm`, `lstm on first_last*`, `lstm on first_last at 32`.

    `names` are new names by old ones: a case also has its new name. Raises `UsageError` if no case matches.
    """
    known = {case.key: [*_names_of(case), *_names_of(rename_case(case, names or {}))] for case in cases}
    found = tuple(case for case in cases if any(fnmatch.fnmatchcase(name, pattern) for name in known[case.key]))
    if not found:
        longest = list(dict.fromkeys(of_case[-1] for of_case in known.values()))
        close = difflib.get_close_matches(pattern, longest, n=1, cutoff=0.0)
        raise UsageError(f"--case {pattern} matches no case of the plan; its names are like {close[0]!r}")
    return found


def _names_of(case: Case) -> tuple[str, str, str]:
    return case.arch, f"{case.arch} on {case.task}", f"{case.arch} on {case.task} at {case.length}"


def run_files(request: Request, settings: Settings, planned: Sequence[Planned]) -> list[RunFile]:
    """Return the `run.json` of both runs, base first. Raises `NotComparable` if no case can be compared."""
    orders = random.SystemRandom().choices((True, False), k=settings.pairs // 2)
    new_first = tuple(order for first in orders for order in (first, not first))
    files = [
        new_run_file(replace(request, repeat=settings.pairs, plugins=each.plugins), each.described.environment)
        for each in planned
    ]
    files = [
        file.model_copy(
            update={
                "cases": each.described.cases,
                "code": each.described.code,
                "commit": each.described.commit,
                "modified": each.described.modified,
                "turns": Turns(side=side, other=other.id, new_first=new_first),
                "renamed": _names(request, settings),
            }
        )
        for file, each, side, other in zip(files, planned, SIDES, reversed(files), strict=True)
    ]
    base, new = (each.name for each in planned)
    forbidding = [each for each in run_differences(*files).forbidding if each.field not in settings.allow]
    if forbidding:
        fields = ",".join(each.field for each in forbidding)
        raise NotComparable(
            f"{base} cannot be compared with {new}: {'; '.join(map(str, forbidding))}; to compare them all the same, "
            f"add --allow {fields}"
        )
    of_base, of_new = (common_keys(file, files) for file in files)
    if not set(of_base.values()) & set(of_new.values()):
        raise NotComparable(
            f"{base} and {new} have no case in common ({_difference_of_cases(*files)}); choose a base with the same "
            "cases"
        )
    return files


def common_keys(file: RunFile, files: Sequence[RunFile]) -> dict[str, str]:
    """Return the keys of the cases of one of two runs under their latest names, by their own keys."""
    names = renames(files)
    return {case.key: rename_case(case, names).key for case in file.cases}


def _difference_of_cases(base: RunFile, new: RunFile) -> str:
    """Return the fields in which the first cases of two runs differ."""
    before, after = (file.cases[0].model_dump(mode="json") for file in (base, new))
    return "; ".join(f"{name}: {before[name]} → {after[name]}" for name in after if before[name] != after[name])


def _common_cases(request: Request, settings: Settings, planned: Sequence[Planned]) -> list[Case]:
    """Return the cases of the new version that the base has too."""
    names = _names(request, settings)
    base, new = ({rename_case(case, names).key: case for case in each.described.cases} for each in planned)
    return [case for key, case in new.items() if key in base]


def print_planned(request: Request, settings: Settings, planned: Sequence[Planned], console: Console) -> None:
    """Print what will be measured, and what the user should know about the two versions."""
    base, new = planned
    common = counted_cases(_common_cases(request, settings, planned))
    lines = [
        f"{request.plan_name}: {common} of {new.name} in turns with {base.name}, at most {settings.pairs} pairs of "
        "processes"
    ]
    own = [plugin.name for plugin in new.plugins if plugin not in base.plugins]
    if base.described.code == new.described.code and not own:
        lines.append(SAME_CODE)
    if base.described.modified:
        lines.append(f"{base.name} differs from its commit; it is measured as it is")
    shared = [plugin.name for plugin in new.plugins if plugin in base.plugins]
    if shared:
        lines.append(f"the same plugin in both versions: {', '.join(shared)}")
    if own:
        lines.append(f"each version has its own state of the plugin: {', '.join(own)}")
    print_lines(lines, console)
