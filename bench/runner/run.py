"""Run a plan: resume an unfinished run or start a new one, and execute its pending work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from bench.errors import UsageError
from bench.executors.base import Executor
from bench.executors.local import LocalExecutor
from bench.machine.lock import reason_unlocked
from bench.machine.provenance import code_digest
from bench.progress.display import Progress, format_duration
from bench.progress.estimates import DurationEstimator
from bench.progress.eta import EtaEstimator
from bench.progress.work import planned_tests
from bench.runner.execution import Execution, check_run_exists, has_weights
from bench.runner.pending import Pending
from bench.runner.request import Request
from bench.runner.resume import find_resumable_run, new_run_file, now, reason_not_resumed, run_lock
from reports.format import print_labelled, print_lines
from results import TIMING_PROBES, Case, Record, Run, RunFile, Store, StoreError

if TYPE_CHECKING:
    from bench.executors.dask_cluster import DaskExecutor

__all__ = ["Outcome", "Request", "describe", "execute"]

MENTIONED_TESTING = 0.2
"""Share of the training jobs that tests must take to be mentioned."""
MENTIONED_SECONDS = 10.0
"""Seconds that tests must take to be mentioned."""
HISTORY_RUNS = 3
"""Number of the store's newest runs whose records are used to estimate durations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A finished run and its records."""

    run: Run
    file: RunFile
    records: list[Record]
    """Records in the order of the plan's cases."""

    @property
    def complete(self) -> bool:
        """Whether every case has a record with status `ok` or `diverged`, and no probe has failed."""
        measured = all(record.status in ("ok", "diverged") for record in self.records)
        failed = any(ran.status == "failed" for record in self.records for ran in record.probes.values())
        return measured and not failed and len(self.records) == len(self.file.cases)


def describe(request: Request, console: Console) -> Pending:
    """Print the numbers of finished and pending cases, and the expected duration. Execute nothing.

    Returns the work that the run would have.

    Raises `UsageError` for an impossible plan or an unusable dask cluster.
    """
    with _cluster(request) as cluster:
        request = _with_cluster_workers(request, cluster)
        file = new_run_file(request, None if cluster is None else cluster.environment)
        run = find_resumable_run(request, file)
        records = {} if run is None else run.read()[0]
        pending = Pending(file, records, duration_estimator(request.store))
        _print_plan(console, request, pending, cluster, resumed=run)
    return pending


def execute(request: Request, console: Console, *, quiet: bool = False) -> Outcome:
    """Run the pending cases of a request, and return the outcome. Each record is stored as soon as its job has ended.

    If `quiet` is true, print only warnings and long waits. Raises `UsageError` for an impossible plan, an unusable dask
    cluster or a run in use. Raises `StoreError` if the store cannot be read or written. Records that are already stored
    remain after an error.
    """
    with _cluster(request) as cluster:
        request = _with_cluster_workers(request, cluster)
        new_file = new_run_file(request, None if cluster is None else cluster.environment)
        resumed = find_resumable_run(request, new_file)
        run = resumed or Store(request.store).create(new_file)
        with run_lock(run) as has_locks:
            file = run.file()
            if not has_locks:
                warning = f"cannot lock files in {request.store}: start no other run there until this run ends"
                print_lines([warning], console, style="yellow")
            pending = _load_pending(run, file, request, console)
            if resumed is None and request.resume and (reason := reason_not_resumed(request, file)) is not None:
                print_lines([reason], console, style="yellow")
            if resumed is None and file.commit is not None and file.modified is None:
                line = "git cannot be run here: the run does not record whether its code is modified"
                print_lines([line], console, style="yellow")
            if not quiet:
                _print_plan(console, request, pending, cluster, resumed=resumed)
            _run_pending(Execution(request, run, pending), cluster, console, quiet)
            check_run_exists(run)
            ended = now()
            file = file.model_copy(update={"finished": ended, "after": Store(request.store).last_ended(ended)})
            run.write_file(file)
    records = [pending.records[case.key] for case in file.cases if case.key in pending.records]
    return Outcome(run=run, file=file, records=records)


def _cluster(request: Request) -> AbstractContextManager[DaskExecutor | None]:
    """Return a context manager that yields the request's dask cluster, or None if the request has no scheduler.

    Raises `UsageError` if dask is not installed or the cluster is unusable.
    """
    if request.scheduler is None:
        return nullcontext()
    try:
        import distributed  # noqa: F401
    except ModuleNotFoundError:
        raise UsageError("--scheduler needs dask: run `pip install '.[cluster]'` in a clone of Carousel") from None
    from bench.executors.dask_cluster import DaskExecutor

    return DaskExecutor(
        request.scheduler,
        code=code_digest(),
        plugins=request.plugins,
        device=request.device,
        memory_bytes=request.memory_bytes,
        timed=any(probe in TIMING_PROBES for probe in request.plan.measure),
    )


def _with_cluster_workers(request: Request, cluster: DaskExecutor | None) -> Request:
    return request if cluster is None else replace(request, workers=max(1, cluster.workers))


def duration_estimator(store: Path) -> DurationEstimator:
    """Return an estimator that uses the records of the newest `HISTORY_RUNS` runs in the store."""

    def history() -> Iterator[Record]:
        for run in Store(store).in_order()[-HISTORY_RUNS:]:
            yield from run.read()[0].values()

    return DurationEstimator(history())


def _load_pending(run: Run, file: RunFile, request: Request, console: Console) -> Pending:
    """Return the pending work of a run.

    Damaged records are set aside, and their cases run again. A case with missing timings runs again if its weights
    are unreadable.

    Args:
        run: the run, whose records are read.
        file: the `run.json` of the run.
        request: the request, whose store is used to estimate durations.
        console: console on which each case that runs again is reported.

    Raises `StoreError` if a newer version of Carousel has written a record.
    """
    records, damaged = run.read()
    for damage in damaged:
        if damage.is_folder:
            raise StoreError(
                f"{damage.path} {damage.reason}; repair the folder, or pass --no-resume to start a new run"
            )
        if damage.is_newer:
            raise StoreError(f"{damage.path} was {damage.reason}, or pass --no-resume to start a new run")
    for damage in damaged:
        print_labelled("set aside", f" {damage}; its case will run again", console, style="yellow")
        run.set_aside(damage)
    pending = Pending(file, records, duration_estimator(request.store))
    for case in pending.untimed:
        if not has_weights(run, case):
            consequence = f" of {case.key}; its case will run again"
            print_labelled("cannot read the weights", consequence, console, style="yellow")
            pending.discard_record(case)
    return pending


def _print_plan(
    console: Console, request: Request, pending: Pending, cluster: DaskExecutor | None, *, resumed: Run | None
) -> None:
    """Print one line with the number of cases, the workers and the expected duration.

    Args:
        console: console on which the line is printed.
        request: the request, which has the name of the plan and the number of workers.
        pending: the pending work of the run.
        cluster: the dask cluster; None to run on this machine.
        resumed: the run that is resumed; None for a new run.
    """
    count, left, workers = len(pending.file.cases), pending.count, request.workers
    machines = 1 if cluster is None else cluster.machines
    eta = _eta(pending, max(1, min(workers, left)), machines)
    hosts = "" if cluster is None else f" on {_counted(machines, 'host')}"
    tuning = _tuning_part(pending, request.workers)
    testing = _testing_part(pending, request.workers)
    repeated = f", each timing in {pending.file.repeat} processes" if pending.file.repeat > 1 else ""
    resuming = f"; resuming run {resumed.id}" if resumed is not None else ""
    print_labelled(
        request.plan_name,
        f": {counted_cases(pending.file.cases)}{tuning}, {count - left} done, {left} to run on "
        f"{_counted(workers, 'worker')}{hosts}{repeated}, about {format_duration(eta.remaining_seconds)}{testing}"
        f"{resuming}",
        console,
    )
    print_lines(_testing_warnings(pending), console, style="yellow")


def _eta(pending: Pending, workers: int, machines: int) -> EtaEstimator:
    return EtaEstimator(
        pending.expected_seconds,
        workers,
        machines=machines,
        starts=pending.starts(workers, machines),
        start_seconds=pending.estimator.start_seconds,
    )


def _testing_part(pending: Pending, workers: int) -> str:
    """Return how long the tests of untrained cases will take, and at how many lengths, if it is worth mentioning."""
    testing, jobs = pending.testing_seconds, pending.job_seconds
    if testing < max(MENTIONED_SECONDS, MENTIONED_TESTING * jobs):
        return ""
    lengths = [[length for length, _ in planned_tests(case)] for case in pending.untrained if case.is_reported]
    most = max(len(each) for each in lengths)
    longest = max(length for each in lengths for length in each)
    seconds = testing / max(1, min(workers, len(pending.untrained)))
    at = _counted(most, "length") if most == min(map(len, lengths)) else f"up to {_counted(most, 'length')}"
    return f" ({format_duration(seconds)} of it for tests at {at} of at most {longest:,} steps)"


def _testing_warnings(pending: Pending) -> list[str]:
    """Return a line on how to shorten the tests if they are expected to take longer than all training."""
    testing, jobs = pending.testing_seconds, pending.job_seconds
    if testing < MENTIONED_SECONDS or testing <= jobs - testing:
        return []
    times = testing / max(1.0, jobs - testing)
    return [
        f"tests take {times:.1f} times as long as training: to bound them, set test_steps in the protocol, such as "
        "test_steps = 100000 time steps per length; or give fewer lengths (evaluate_at) or test_sequences"
    ]


def _tuning_part(pending: Pending, workers: int) -> str:
    """Return how many cases only serve to choose learning rates, and how long the untrained ones of them will take."""
    count, left = len(pending.file.tuning_cases), len(pending.untuned)
    if not count:
        return ""
    seconds = pending.tuning_seconds / max(1, min(workers, left))
    duration = f", about {format_duration(seconds)}" if left else ""
    return f" ({count} of them to choose learning rates{duration})"


def _run_pending(execution: Execution, cluster: DaskExecutor | None, console: Console, quiet: bool) -> None:
    pending, request = execution.pending, execution.request
    if pending.count == 0:
        return
    if cluster is None and pending.timing_probes and (reason := reason_unlocked()) is not None:
        consequence = "other runs on this machine may disturb the timings of this run"
        print_labelled(reason, f": {consequence}; start no other run until it ends", console, style="yellow")
    with contextlib.ExitStack() as stack:
        workers = max(1, min(request.workers, len(pending.untrained)))
        executor: Executor = cluster or stack.enter_context(
            LocalExecutor(workers, memory_bytes=request.memory_bytes, code=pending.file.code)
        )
        eta = _eta(pending, executor.workers, executor.machines)
        progress = stack.enter_context(
            Progress(
                console,
                eta,
                pending.estimator.job_seconds,
                training_share=pending.estimator.training_share,
                quiet=quiet,
            )
        )
        try:
            execution.run_pending(executor, progress)
        except KeyboardInterrupt:
            _print_interrupted(console, pending, progress.running)
            raise
        share = execution.utilization.share(executor.workers, executor.machines)
    if share is not None and not quiet:
        line = f"{share:.0%} of worker time was spent training and measuring, the rest starting up and waiting"
        print_lines([line], console)


def _print_interrupted(console: Console, pending: Pending, running: list[str]) -> None:
    """Print which jobs were interrupted, and how many cases are done."""
    if running:
        print_lines([f"interrupted, to be run again: {'; '.join(running)}"], console)
    count, trained = len(pending.file.cases), len(pending.untimed)
    untimed = f", {trained} more trained but not timed" if trained else ""
    print_lines([f"{count - pending.count} of {count} cases done{untimed}"], console)


def counted_cases(cases: Sequence[Case]) -> str:
    """Return the number of cases, and of untrained ones among them: `4 untrained cases`, or `8 cases, 4 untrained`."""
    untrained = sum(not case.protocol.trains for case in cases)
    if cases and untrained == len(cases):
        return _counted(untrained, "untrained case")
    return _counted(len(cases), "case") + (f", {untrained} untrained" if untrained else "")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
