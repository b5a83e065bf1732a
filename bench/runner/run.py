"""A run: take up what is unfinished, train on all lanes, time on a quiet machine, keep every record."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from bench.executors.base import Executor
from bench.executors.local import LocalExecutor
from bench.machine.lock import reason_unlocked
from bench.machine.provenance import code_digest
from bench.probes.table import TIMING_PROBES
from bench.progress.display import Progress, humanised
from bench.progress.estimates import DurationEstimator
from bench.progress.eta import EtaEstimator
from bench.runner.execution import Execution, check_run_exists
from bench.runner.pending import expected_seconds, has_weights, untimed, untrained
from bench.runner.request import Request
from bench.runner.resume import now, planned, reason_not_resumed, run_lock, unfinished
from results import Record, Run, RunFile, Store, StoreError

if TYPE_CHECKING:
    from bench.executors.dask_cluster import DaskExecutor

__all__ = ["Outcome", "Request", "describe", "execute"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A finished run."""

    run: Run
    file: RunFile
    records: list[Record]
    """In the order of the plan's cases."""

    @property
    def complete(self) -> bool:
        """Whether every case was measured as planned; a diverged model is a result, a crashed one is not."""
        measured = all(record.status in ("ok", "diverged", "inconsistent") for record in self.records)
        failed = any(ran.status == "failed" for record in self.records for ran in record.probes.values())
        return measured and not failed and len(self.records) == len(self.file.cases)


def describe(request: Request, console: Console) -> None:
    """Say what `execute` would do: what is cached, what is to run, how long it expects."""
    with _machines(request) as cluster:
        request = _with_workers_of(request, cluster)
        file = planned(request, None if cluster is None else cluster.environment)
        run = unfinished(request, file)
        records = {} if run is None else run.read()[0]
        _announce(console, request, file, run, records, _expectation(request.store), cluster)


def execute(request: Request, console: Console, *, quiet: bool = False) -> Outcome:
    """Run what is left of the request's cases and keep every record as it comes.

    Raises `UsageError` for an impossible plan and `StoreError` for a store that cannot be written;
    what was recorded before stays.
    """
    with _machines(request) as cluster:
        request = _with_workers_of(request, cluster)
        plan = planned(request, None if cluster is None else cluster.environment)
        run = unfinished(request, plan) or Store(request.store).create(plan)
        with run_lock(run):
            file = run.file()
            records = _usable(run, file, console)
            expectation = _expectation(request.store)
            if run.id == plan.id and request.resume and (reason := reason_not_resumed(request, plan)) is not None:
                console.print(reason, style="yellow", highlight=False, soft_wrap=True)
            if not quiet:
                _announce(console, request, plan, run, records, expectation, cluster)
            _work(Execution(request, file, run, records, expectation), cluster, console, quiet)
            check_run_exists(run)
            file = file.model_copy(update={"finished": now()})
            run.write_file(file)
    return Outcome(run=run, file=file, records=[records[case.key] for case in file.cases if case.key in records])


def _machines(request: Request) -> AbstractContextManager[DaskExecutor | None]:
    """The cluster that the request names; None for this machine."""
    if request.scheduler is None:
        return nullcontext()
    from bench.executors.dask_cluster import DaskExecutor

    return DaskExecutor(
        request.scheduler,
        code=code_digest(),
        plugins=request.plugins,
        device=request.device,
        memory_bytes=request.memory_bytes,
        timed=any(probe in TIMING_PROBES for probe in request.plan.measure),
    )


def _with_workers_of(request: Request, cluster: DaskExecutor | None) -> Request:
    return request if cluster is None else replace(request, workers=max(1, cluster.workers))


def _work(execution: Execution, cluster: DaskExecutor | None, console: Console, quiet: bool) -> None:
    file, records, request = execution.file, execution.records, execution.request
    training, timing = untrained(file, records), untimed(file, records)
    if not training and not timing:
        return
    if cluster is None and execution.timing_probes and (reason := reason_unlocked()) is not None:
        console.print(f"[yellow]{reason}[/]: nothing keeps other runs from disturbing the timings of this one")
    with contextlib.ExitStack() as stack:
        workers = max(1, min(request.workers, len(training)))
        executor: Executor = cluster or stack.enter_context(
            LocalExecutor(workers, memory_bytes=request.memory_bytes, code=file.code)
        )
        seconds = expected_seconds(file, records, execution.expectation)
        pace = EtaEstimator(seconds, executor.workers, timing_places=executor.machines)
        progress = stack.enter_context(Progress(console, pace, quiet=quiet))
        try:
            execution.work(executor, progress)
        except KeyboardInterrupt:
            _say_what_stopped(console, execution, progress.running)
            raise
        share = execution.use.share(executor.workers, executor.machines)
    if share is not None and not quiet:
        console.print(
            f"{share:.0%} of the lanes' time went into training and measuring, the rest into starting and waiting",
            highlight=False,
        )


def _say_what_stopped(console: Console, execution: Execution, running: list[str]) -> None:
    file, records = execution.file, execution.records
    to_train = {case.key for case in untrained(file, records)}
    to_time = {case.key for group in untimed(file, records) for case in group.cases}
    if running:
        console.print(f"stopped, to begin anew: {'; '.join(running)}", highlight=False, soft_wrap=True)
    done, trained = len(file.cases) - len(to_train | to_time), len(to_time - to_train)
    further = f", {trained} more trained but not timed" if trained else ""
    console.print(f"{done} of {len(file.cases)} cases are done{further}", highlight=False)


def _usable(run: Run, file: RunFile, console: Console) -> dict[str, Record]:
    """What earlier attempts have left, without what is damaged or cannot be timed any more.

    Raises `StoreError` where a newer Carousel has worked on the run: its records are neither read nor run again.
    """
    records, damaged = run.read()
    for damage in damaged:
        if damage.is_newer:
            raise StoreError(f"{damage.path} was {damage.reason}, or begin a run of its own with --no-resume")
    for damage in damaged:
        console.print(f"[yellow]set aside[/] {damage}; its case runs again")
        run.set_aside(damage)
    for case in {case for group in untimed(file, records) for case in group.cases}:
        if not has_weights(run, case):
            console.print(f"[yellow]lost[/] the weights of {case.key}; its case runs again")
            del records[case.key]
    return records


def _announce(
    console: Console,
    request: Request,
    file: RunFile,
    run: Run | None,
    records: dict[str, Record],
    expectation: DurationEstimator,
    cluster: DaskExecutor | None,
) -> None:
    left = {case.key for case in untrained(file, records)} | {
        case.key for group in untimed(file, records) for case in group.cases
    }
    workers, machines = request.workers, 1 if cluster is None else cluster.machines
    pace = EtaEstimator(
        expected_seconds(file, records, expectation), max(1, min(workers, len(left))), timing_places=machines
    )
    taken_up = f", taking up run {run.id}" if run is not None and run.id != file.id else ""
    where = "" if cluster is None else f" of {machines} host{'s' if machines > 1 else ''}"
    repeated = f", every timing in {file.repeat} processes" if file.repeat > 1 else ""
    console.print(
        Text.assemble(
            (request.plan_name, "bold"),
            f": {len(file.cases)} case{'s' if len(file.cases) > 1 else ''}, {len(file.cases) - len(left)} done before, "
            f"{len(left)} to run on {workers} lane{'s' if workers > 1 else ''}{where}{repeated}, "
            f"about {humanised(pace.left_seconds)}{taken_up}",
        ),
        soft_wrap=True,
    )


def _expectation(store: Path) -> DurationEstimator:
    """What the newest few runs of the store tell about durations."""

    def history() -> Iterator[Record]:
        for run in Store(store).runs()[-3:]:
            yield from run.read()[0].values()

    return DurationEstimator(history())
