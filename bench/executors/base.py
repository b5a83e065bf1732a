"""The executor protocol for scheduling jobs, and the locking and retries that all executors share."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Protocol

from bench.executors.events import Events
from bench.executors.jobs import Failure, Job, JobResult, TrainJob
from bench.executors.worker_process import WorkerProcess
from bench.machine.lock import Stopping, Work, machine_lock
from results import Span

MAX_TRIES = 3
"""Maximum number of tries of a job whose worker process exits by itself."""

WALL_CLOCK_OFFSET = time.time() - time.monotonic()
"""Wall clock minus monotonic clock, in seconds. Read once, so that later jumps of the wall clock do not shift spans."""


class Executor(Protocol):
    """Runner of jobs in worker processes, on one machine or many."""

    @property
    def workers(self) -> int:
        """Number of training jobs that can run in parallel."""
        ...

    @property
    def machines(self) -> int:
        """Number of timing jobs that can run in parallel: one per machine."""
        ...

    def run(self, jobs: Iterable[Job], *, timeout: float | None, fresh: bool, events: Events) -> Iterator[JobResult]:
        """Start jobs in order as workers become free, and yield each result as its job ends.

        A timing job has its machine to itself.

        Args:
            jobs: the jobs to run, read lazily by the thread that iterates over the results.
            timeout: seconds that each try of a job may take after it has started; None for no limit.
            fresh: whether each timing job gets a new process.
            events: receives the events of the jobs, in the thread that iterates over the results.
        """
        ...


def run_with_retries(
    worker: WorkerProcess, job: Job, *, timeout: float | None, fresh: bool, stopping: Stopping, events: Events
) -> JobResult:
    """Run a job under the machine lock, and return its result. Retry the job if the worker process exits by itself.

    A timing job never runs in a process that has trained. Raises `Stopped` if `stopping` is set before the lock is
    acquired.

    Args:
        worker: the process that runs the job; it is replaced if necessary.
        job: the job to run.
        timeout: seconds that each try may take after it has started; None for no limit.
        fresh: whether a timing job gets a new process.
        stopping: ends the job early when set.
        events: receives the start, the progress and any wait for the machine lock.
    """
    for tries_left in reversed(range(MAX_TRIES)):
        with machine_lock(
            job.work,
            run=job.run,
            expected_seconds=job.expected_seconds if isinstance(job, TrainJob) else None,
            stopping=stopping,
            on_wait=lambda runs: events.waiting_for_machine(worker.name, job.work, runs),
        ):
            unwanted: set[Work] = {"training", "timing"} if fresh else {"training"}
            if job.work == "timing" and worker.past_work & unwanted:
                worker.end()
            worker.past_work.add(job.work)
            attempt = worker.run(job, timeout, events, stopping)
        result = attempt.result
        if not (isinstance(result, Failure) and result.worker_exited) or stopping.is_set():
            break
        if not tries_left:
            exited, colon, last_line = result.reason.partition(": ")
            result = replace(result, reason=f"{exited}, in each of {MAX_TRIES} tries{colon}{last_line}")
    span = Span(
        work=job.work,
        worker=worker.name,
        began=WALL_CLOCK_OFFSET + attempt.began,
        ended=WALL_CLOCK_OFFSET + attempt.ended,
    )
    return JobResult(worker=worker.name, job=job, result=result, span=span)
