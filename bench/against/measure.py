"""Measure a plan with two versions in turns, until each case is decided.

Both versions train all cases first. Then every timing group is timed by one fresh process of each version, side by
side, again and again: these are the pairs. Which version comes first is drawn for every second pair, and the pair after
it has the other order (ABBA or BAAB). So a linear drift cancels, and any other change of the machine meets each version
by chance. After the numbers of pairs in `LOOKS`, the test decides which cases need more of them.

Each version fills a run of its own. The two runs name each other, and `check` judges them by pairs, as here.
"""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from rich.console import Console

from bench.against.version import THIS, Version, given_version
from bench.against.version_process import Description, VersionProcess
from bench.errors import NotComparable, NothingSelected
from bench.progress.display import Progress
from bench.progress.eta import TIMING, EtaEstimator
from bench.runner.execution import Execution, check_run_exists
from bench.runner.pending import Pending, TimingGroup
from bench.runner.request import Request
from bench.runner.resume import new_run_file, now, run_lock
from bench.runner.run import counted_cases, duration_estimator
from reports.format import print_lines
from results import Case, Run, RunFile, Side, Store, Turns
from results.comparison import COMPARED_AS, LOOKS, Comparison, Thresholds, compare, run_differences

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One of the two versions, with its processes and its run."""

    executor: VersionProcess
    execution: Execution

    @property
    def pending(self) -> Pending:
        return self.execution.pending

    @property
    def run(self) -> Run:
        return self.execution.run


def describe_in_turns(request: Request, settings: Settings, console: Console) -> None:
    """Print what `measure_in_turns` would measure, and measure nothing. Raises `UsageError` as it does."""
    with _versions(request, settings, console) as (executors, described):
        _files(request, settings, executors, described)
        _print_plan(request, settings, executors, described, console)


def measure_in_turns(request: Request, settings: Settings, console: Console, *, quiet: bool) -> tuple[Run, Run]:
    """Measure a plan with the base and with the new version in turns, and return the two finished runs, base first.

    If `quiet` is true, print only warnings and long waits. Ctrl-C leaves both runs as they are, and says so.

    Raises `UsageError` if the base is no version, cannot run the plan or cannot be compared with the new version. Then
    nothing has been measured or stored. Raises `StoreError` if the store cannot be written.
    """
    with contextlib.ExitStack() as stack:
        executors, described = stack.enter_context(_versions(request, settings, console))
        files = _files(request, settings, executors, described)
        if not quiet:
            _print_plan(request, settings, executors, described, console)
        estimator, store = duration_estimator(request.store), Store(request.store)
        sides = []
        for executor, file in zip(executors, files, strict=True):
            run = store.create(file)
            stack.enter_context(run_lock(run))
            pending = Pending(file, {}, estimator)
            sides.append(_Side(executor=executor, execution=Execution(request, run, pending)))
        expected = [side.pending.expected_seconds for side in sides]
        eta = EtaEstimator({kind: sum(each[kind] for each in expected) for kind in expected[0]}, request.workers)
        progress = stack.enter_context(
            Progress(console, eta, estimator.job_seconds, training_share=estimator.training_share, quiet=quiet)
        )
        try:
            _measure(sides, settings, progress)
        except KeyboardInterrupt:
            progress.__exit__(None, None, None)
            _print_interrupted(sides, console)
            raise
        base, new = (_finish(side, store) for side in sides)
    return base, new


@contextlib.contextmanager
def _versions(
    request: Request, settings: Settings, console: Console
) -> Iterator[tuple[list[VersionProcess], list[Description]]]:
    """Start both versions, and yield their executors and what the plan is in each of them, base first."""
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(given_version(settings.base))
        if base.note is not None:
            print_lines([base.note], console, style="yellow")
        executors = [
            stack.enter_context(VersionProcess(version, workers=request.workers, memory_bytes=request.memory_bytes))
            for version in (base, settings.new)
        ]
        described = [each.describe(request.plan, device=request.device, plugins=request.plugins) for each in executors]
        if settings.cases is not None:
            described = [replace(each, cases=selected_cases(each.cases, settings.cases)) for each in described]
        yield executors, described


def selected_cases(cases: Sequence[Case], pattern: str) -> tuple[Case, ...]:
    """Return the cases whose name matches a glob: `lstm`, `lstm on first_last*`, `lstm on first_last at 32`.

    Raises `NothingSelected` if there are none.
    """
    names = {
        case.key: (case.arch, f"{case.arch} on {case.task}", f"{case.arch} on {case.task} at {case.length}")
        for case in cases
    }
    found = tuple(case for case in cases if any(fnmatch.fnmatchcase(name, pattern) for name in names[case.key]))
    if not found:
        known = list(dict.fromkeys(name[-1] for name in names.values()))
        close = difflib.get_close_matches(pattern, known, n=1, cutoff=0.0)
        raise NothingSelected(f"--case {pattern} matches no case of the plan; its names are like {close[0]!r}")
    return found


def _files(
    request: Request, settings: Settings, executors: Sequence[VersionProcess], described: Sequence[Description]
) -> list[RunFile]:
    """Return the `run.json` of both runs, base first. Raises `NotComparable` if no case can be compared."""
    request = replace(request, repeat=settings.pairs)
    orders = random.SystemRandom().choices((True, False), k=settings.pairs // 2)
    new_first = tuple(order for first in orders for order in (first, not first))
    files = [new_run_file(request, each.environment) for each in described]
    files = [
        file.model_copy(
            update={
                "cases": each.cases,
                "code": each.code,
                "commit": each.commit,
                "modified": each.modified,
                "turns": Turns(side=side, other=other.id, new_first=new_first),
            }
        )
        for file, each, side, other in zip(files, described, SIDES, reversed(files), strict=True)
    ]
    base, new = (executor.version.name for executor in executors)
    forbidding = [each for each in run_differences(*files).forbidding if each.field not in settings.allow]
    if forbidding:
        fields = ",".join(each.field for each in forbidding)
        raise NotComparable(
            f"{base} cannot be compared with {new}: {'; '.join(map(str, forbidding))}; to compare them all the same, "
            f"add --allow {fields}"
        )
    if not {case.key for case in files[0].cases} & {case.key for case in files[1].cases}:
        raise NotComparable(
            f"{base} and {new} have no case in common ({_difference_of_cases(*files)}); choose a base with the same "
            "cases"
        )
    return files


def _difference_of_cases(base: RunFile, new: RunFile) -> str:
    """Return the fields in which the first cases of two runs differ."""
    before, after = (file.cases[0].model_dump(mode="json") for file in (base, new))
    return "; ".join(f"{name}: {before[name]} → {after[name]}" for name in after if before[name] != after[name])


def _measure(sides: Sequence[_Side], settings: Settings, progress: Progress) -> None:
    """Train all cases on both sides, then time them in pairs."""
    began = time.monotonic()
    for side, name in zip(sides, SIDES, strict=True):
        side.execution.train(side.executor, progress, side=f" ({name})")
    base, new = sides
    turns = new.pending.file.turns
    assert turns is not None
    undecided = {case.key for case in base.pending.file.cases} & {case.key for case in new.pending.file.cases}
    for pair, new_first in enumerate(turns.new_first):
        groups = _groups(sides, pair, undecided)
        if not groups:
            return
        cases = sum(len(group.cases) for group in groups)
        seconds = [side.pending.timing_seconds for side in sides]
        progress.set_remaining(TIMING, sum(seconds) * cases / max(1, len(base.pending.untimed)))
        progress.start_phase(f"pair {pair + 1} of at most {settings.pairs}, {cases} cases undecided", 2 * cases)
        for group in groups:
            if settings.time_limit is not None and time.monotonic() - began > settings.time_limit:
                progress.report(f"the time limit is reached after {pair} pairs")
                return
            for side in reversed(sides) if new_first else sides:
                side.execution.time(side.executor, progress, [group])
        if pair + 1 in LOOKS:
            undecided &= _undecided(sides, settings)


def _groups(sides: Sequence[_Side], pair: int, undecided: set[str]) -> list[TimingGroup]:
    """Return the groups of undecided cases that both versions have trained, and that are due for a pair."""
    due = [
        {
            case.key: (group, case)
            for group in side.pending.timing_groups
            if group.repetition == pair
            for case in group.cases
        }
        for side in sides
    ]
    keys = undecided & due[0].keys() & due[1].keys()
    groups = [group for group in sides[0].pending.timing_groups if group.repetition == pair]
    kept = [replace(group, cases=tuple(case for case in group.cases if case.key in keys)) for group in groups]
    return [group for group in kept if group.cases]


def _undecided(sides: Sequence[_Side], settings: Settings) -> set[str]:
    """Return the keys of the cases that need more pairs."""
    comparison = compare_sides(sides, settings)
    return {key for key, metric in comparison.unsettled if metric in settings.metrics}


def compare_sides(sides: Sequence[_Side], settings: Settings) -> Comparison:
    """Compare what has been measured so far."""
    base, new = ((side.pending.file, list(side.pending.records.values())) for side in sides)
    return compare(base, new, thresholds=settings.thresholds, allow=settings.allow)


def _finish(side: _Side, store: Store) -> Run:
    """Mark a run as finished, with the largest number of processes that timed a case."""
    check_run_exists(side.run)
    ended, records = now(), side.pending.records.values()
    repeat = max((record.repetitions for record in records), default=1)
    changes = {"finished": ended, "after": store.last_ended(ended), "repeat": repeat}
    side.run.write_file(side.pending.file.model_copy(update=changes))
    return side.run


def _print_plan(
    request: Request,
    settings: Settings,
    executors: Sequence[VersionProcess],
    described: Sequence[Description],
    console: Console,
) -> None:
    lines = [
        f"{request.plan_name}: {counted_cases(described[1].cases)} of {executors[1].version.name} in turns with "
        f"{executors[0].version.name}, at most {settings.pairs} pairs of processes"
    ]
    base = described[0]
    if base.code == described[1].code:
        lines.append("both versions have the same code: only noise can differ, unless their environments do")
    if base.modified:
        lines.append(f"{executors[0].version.name} differs from its commit; it is measured as it is")
    print_lines(lines, console)


def _print_interrupted(sides: Sequence[_Side], console: Console) -> None:
    base, new = sides
    line = (
        f"stopped: what was measured is stored, and `carousel check {base.run.id} {new.run.id}` judges it; runs in "
        "turns cannot be resumed, so the same command starts anew"
    )
    print_lines([line], console)
