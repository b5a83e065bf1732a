"""The executor protocol, and the retries, locking and scheduling that all executors share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from bench.executors.jobs import Failure, JobProgress, JobStarted
from bench.executors.worker_process import WorkerProcess
from bench.machine.lock import Stopping, Work, machine_lock
from results import Span

if TYPE_CHECKING:
    from bench.executors.jobs import Job
from bench.executors.jobs import JobResult, work_of

TRIES = 3
"""A job whose lane ended by itself is tried again so many times in all."""

EPOCH = time.time() - time.monotonic()  # taken once: a wall clock that jumps later moves no span against another


class Executor(Protocol):
    """Lanes, wherever they are."""

    @property
    def workers(self) -> int:
        """How many trainings can go on at once."""
        ...

    @property
    def machines(self) -> int:
        """How many timings can."""
        ...

    def work(
        self,
        jobs: Iterable[Job],
        *,
        timeout: float | None,
        fresh: bool,
        on_start: Callable[[str, Job], None],
        on_begin: Callable[[JobStarted], None],
        on_advance: Callable[[JobProgress], None],
        on_wait: Callable[[str, Work], None],
    ) -> Iterator[JobResult]:
        """Do the jobs in their order, as lanes become free, and give each back when it has ended.

        A job that times has its machine alone; `fresh` gives each such job a process of its own.
        `on_start` tells which lane got a job; `on_begin` that it took it up, started and with the machine to itself.
        `on_wait` tells which lane waits for another run to leave the machine to a job of that kind.
        """
        ...


def attend(
    worker: WorkerProcess,
    job: Job,
    *,
    timeout: float | None,
    fresh: bool,
    stopping: Stopping,
    on_begin: Callable[[JobStarted], None],
    on_advance: Callable[[JobProgress], None],
    on_wait: Callable[[Work], None],
) -> JobResult:
    """Have one lane do one job while it holds the machine, once more where the lane ended by itself.

    A process that times has not trained before; with `fresh` it has done nothing before.
    Raises `Stopped` where that comes before the machine is free.
    """
    work = work_of(job)
    for left in reversed(range(TRIES)):
        with machine_lock(work, stopping=stopping, on_wait=lambda: on_wait(work)):
            if work == "timing" and (fresh or "training" in worker.did):
                worker.end()
            worker.did.add(work)
            attempt = worker.run(job, timeout, on_begin, on_advance, stopping)
        result = attempt.result
        if not (isinstance(result, Failure) and result.worker_exited) or stopping.is_set():
            break
        if not left:
            result = replace(result, reason=f"{result.reason}, {TRIES} times")
    span = Span(work=work, worker=worker.name, began=EPOCH + attempt.began, ended=EPOCH + attempt.ended)
    return JobResult(worker.name, job, result, span)
