"""Measure a plan with two versions in turns, until each case is decided.

Both versions train all cases first. Then every timing group is timed by one fresh process of each version, one after
the other, again and again: these are the pairs. Which version comes first is drawn for every second pair, and the pair
after it has the other order (ABBA or BAAB). So a linear drift cancels, and any other change of the machine meets each
version by chance. After the numbers of pairs in `LOOKS`, the test decides which cases need more of them.

Each version fills a run of its own. The two runs name each other, and `check` judges them by pairs, as here.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rich.console import Console

from bench.against.interrupted import Interrupted, find_interrupted, whole_rounds
from bench.against.planned import (
    SIDES,
    Planned,
    Settings,
    common_keys,
    planned_versions,
    print_planned,
    run_files,
)
from bench.against.version_process import VersionProcess
from bench.machine.lock import Work
from bench.progress.display import Progress
from bench.progress.estimates import DurationEstimator
from bench.progress.eta import TIMING, EtaEstimator, JobKind
from bench.runner.execution import Execution, check_run_exists
from bench.runner.pending import Pending, TimingGroup
from bench.runner.request import Request
from bench.runner.resume import now, run_lock
from bench.runner.run import duration_estimator
from reports.format import plural, print_lines
from results import Record, Run, RunFile, Store
from results.comparison import LOOKS, Comparison, compare


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One of the two versions, with its processes and its run."""

    executor: VersionProcess
    execution: Execution
    common_keys: Mapping[str, str]
    """Keys of the cases under names that both versions share, by their own keys."""

    @property
    def pending(self) -> Pending:
        return self.execution.pending

    @property
    def run(self) -> Run:
        return self.execution.run


def describe_in_turns(request: Request, settings: Settings, console: Console) -> None:
    """Print what `measure_in_turns` would measure, and measure nothing. Raises `UsageError` as it does."""
    with planned_versions(request, settings, console) as planned:
        run_files(request, settings, planned)
        print_planned(request, settings, planned, console)


def measure_in_turns(
    request: Request, settings: Settings, console: Console, *, quiet: bool, is_step: bool = False
) -> tuple[Run, Run]:
    """Measure a plan with the base and with the new version in turns, and return the two finished runs, base first.

    Two unfinished runs of the same request are resumed after their last whole round of pairs. If `quiet` is true, print
    only warnings and long waits. Ctrl-C leaves both runs as they are, and says so. If the measurement is a step of a
    search, `is_step`, the line does not say how to resume.

    Raises `UsageError` if the base is no version, cannot run the plan or cannot be compared with the new version. Then
    nothing has been measured or stored. Raises `StoreError` if the store cannot be written.
    """
    with contextlib.ExitStack() as stack:
        planned = stack.enter_context(planned_versions(request, settings, console))
        files = run_files(request, settings, planned)
        if not quiet:
            print_planned(request, settings, planned, console)
        store = Store(request.store)
        resumed = find_interrupted(request, files)
        if isinstance(resumed, str) and not quiet:
            print_lines([resumed], console, style="yellow")
        estimator = duration_estimator(request.store)
        runs = resumed if isinstance(resumed, tuple) else [store.create(file) for file in files]
        for run in runs:
            stack.enter_context(run_lock(run))
        interrupted = whole_rounds(resumed) if isinstance(resumed, tuple) else None
        if interrupted is not None and not quiet:
            base, new = runs
            after = plural(interrupted.pairs, "pair")
            print_lines([f"resuming runs {base.id} and {new.id} after {after} of each undecided case"], console)
        sides = _sides(request, planned, runs, files, interrupted, estimator)
        expected: dict[JobKind, float] = defaultdict(float)
        starts: Counter[Work] = Counter()
        for side in sides:
            starts.update(side.pending.starts(request.workers))
            for kind, seconds in side.pending.expected_seconds.items():
                expected[kind] += seconds
        eta = EtaEstimator(expected, request.workers, starts=starts, start_seconds=estimator.start_seconds)
        progress = stack.enter_context(
            Progress(console, eta, estimator.job_seconds, training_share=estimator.training_share, quiet=quiet)
        )
        try:
            _measure(sides, settings, progress, interrupted)
        except KeyboardInterrupt:
            progress.__exit__(None, None, None)
            _print_interrupted(sides, console, is_step=is_step)
            raise
        base, new = (_finish(side, store) for side in sides)
    return base, new


def _sides(
    request: Request,
    planned: Sequence[Planned],
    runs: Sequence[Run],
    files: Sequence[RunFile],
    interrupted: Interrupted | None,
    estimator: DurationEstimator,
) -> list[_Side]:
    """Return both sides, base first, with what they have measured so far.

    Args:
        request: what to measure.
        planned: the two versions.
        runs: their runs.
        files: the `run.json` of new runs.
        interrupted: the runs that are resumed; None for new runs.
        estimator: estimates the duration of jobs.
    """
    files = files if interrupted is None else interrupted.files
    records: Sequence[Mapping[str, Record]] = ({}, {}) if interrupted is None else interrupted.records
    sides = []
    for version, run, file, of_run in zip(planned, runs, files, records, strict=True):
        version.executor.run_id = files[1].id  # of both sides, so that other runs see one run
        pending = Pending(file, of_run, estimator)
        execution = Execution(replace(request, plugins=version.plugins), run, pending)
        sides.append(_Side(executor=version.executor, execution=execution, common_keys=common_keys(file, files)))
    return sides


def _measure(
    sides: Sequence[_Side], settings: Settings, progress: Progress, interrupted: Interrupted | None = None
) -> None:
    """Train all cases on both sides, then time them in pairs.

    Args:
        sides: the two versions, base first.
        settings: how they are measured.
        progress: displays the progress.
        interrupted: the runs that are resumed; None for new runs.
    """
    began = time.monotonic()
    for side, name in zip(sides, SIDES, strict=True):
        side.execution.train(side.executor, progress, side=f" ({name})")
    base, new = sides
    turns = new.pending.file.turns
    assert turns is not None
    undecided = set(base.common_keys.values()) & set(new.common_keys.values())
    measured = 0 if interrupted is None else interrupted.pairs
    if interrupted is not None and measured in LOOKS:
        undecided &= _undecided(sides, settings)
    elif interrupted is not None and measured > LOOKS[0]:
        undecided &= interrupted.undecided_between_looks()
    for pair, new_first in list(enumerate(turns.new_first))[measured:]:
        groups = _groups(sides, pair, undecided)
        if not groups:
            return
        cases = sum(len(of_base.cases) for of_base, _ in groups)
        seconds = [side.pending.timing_seconds for side in sides]
        progress.set_remaining(TIMING, sum(seconds) * cases / max(1, len(base.pending.untimed)))
        progress.start_phase(f"pair {pair + 1} of at most {settings.pairs}, {cases} cases undecided", 2 * cases)
        for group in groups:
            if settings.time_limit is not None and time.monotonic() - began > settings.time_limit:
                progress.report(f"the time limit is reached after {pair} pairs")
                return
            _prepare(sides, group, progress)
            in_order = list(zip(sides, group, strict=True))
            for side, of_side in reversed(in_order) if new_first else in_order:
                side.execution.time(side.executor, progress, [of_side])
        if pair + 1 in LOOKS:
            undecided &= _undecided(sides, settings)


def _prepare(sides: Sequence[_Side], group: Sequence[TimingGroup], progress: Progress) -> None:
    """Start the processes of a pair together, before either is timed. This halves the time that a pair takes to start.

    If one version cannot prepare a process, neither does, so that both are measured alike.
    """
    if not all(side.executor.prepares for side in sides):
        return
    for side, of_side in zip(sides, group, strict=True):
        side.executor.start_preparing({case.arch for case in of_side.cases})
    for side in sides:
        side.executor.wait_until_prepared(progress)


def _groups(sides: Sequence[_Side], pair: int, undecided: set[str]) -> list[tuple[TimingGroup, TimingGroup]]:
    """Return the groups of undecided cases that both versions have trained, and that are due for a pair.

    Each entry has the same cases of the base and of the new version, which may have other names.
    """
    groups = [[group for group in side.pending.timing_groups if group.repetition == pair] for side in sides]
    due = [
        {side.common_keys[case.key]: case for group in of_side for case in group.cases}
        for side, of_side in zip(sides, groups, strict=True)
    ]
    keys = undecided & due[0].keys() & due[1].keys()
    of_both = []
    for group in groups[0]:
        kept = [key for case in group.cases if (key := sides[0].common_keys[case.key]) in keys]
        if kept:
            base, new = (replace(group, cases=tuple(of_side[key] for key in kept)) for of_side in due)
            of_both.append((base, new))
    return of_both


def _undecided(sides: Sequence[_Side], settings: Settings) -> set[str]:
    """Return the common keys of the cases that need more pairs."""
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


def _print_interrupted(sides: Sequence[_Side], console: Console, *, is_step: bool) -> None:
    base, new = sides
    line = f"stopped: what was measured is stored, and `carousel check {base.run.id} {new.run.id}` judges it"
    print_lines([line if is_step else f"{line}; rerun the same command to resume"], console)
