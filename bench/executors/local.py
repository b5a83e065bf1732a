"""Schedule jobs on this machine. Each running job has a thread that controls its worker process."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from operator import methodcaller
from typing import Self

from bench.executors.base import run_with_retries
from bench.executors.events import Events, JobProgress, JobStarted
from bench.executors.jobs import Job, JobResult
from bench.executors.worker_process import WorkerProcess
from bench.machine.lock import Work, machine_lock

POLL_SECONDS = 0.2
"""Longest wait for a message, in seconds. Ctrl-C is handled between waits."""

Message = Callable[[Events], None] | Exception | tuple[WorkerProcess, JobResult]


class LocalExecutor:
    """Executor over worker processes on this machine. Leaving its context ends all processes."""

    def __init__(
        self, count: int, *, threads: int = 1, memory_bytes: int | None = None, code: str | None = None
    ) -> None:
        """Create an executor whose processes start when they get their first job.

        Args:
            count: number of worker processes.
            threads: torch threads per process.
            memory_bytes: resident memory at which a process is ended; None for no limit.
            code: digest of the run's source; a process that finds different source fails its jobs. None for no check.
        """
        self._workers = [WorkerProcess(str(number), threads, memory_bytes, code) for number in range(count)]
        self.workers, self.machines = count, 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.stop()

    def prepare(self, archs: tuple[str, ...], *, run: str, events: Events) -> None:
        """Start the process of the next timing job and load the kernels of `archs`.

        No other run is timed meanwhile, but other executors of the same run may prepare a process.

        Args:
            archs: names of the architectures that the job will time.
            run: id of the job's run.
            events: receives any wait for the machine lock.
        """
        worker = self._workers[0]
        with machine_lock(
            "timing",
            shared=True,
            run=run,
            on_wait=lambda runs: events.waiting_for_machine(worker.name, "timing", runs),
        ):
            worker.prepare(archs)

    def run(self, jobs: Iterable[Job], *, timeout: float | None, fresh: bool, events: Events) -> Iterator[JobResult]:
        """Run jobs and yield their results, as `Executor.run` specifies.

        Args:
            jobs: the jobs to run, read lazily.
            timeout: seconds that each try of a job may take after it has started; None for no limit.
            fresh: whether each timing job gets a new process.
            events: receives the events of the jobs.
        """
        messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        stopping = threading.Event()

        def drive(worker: WorkerProcess, job: Job) -> None:
            try:
                result = run_with_retries(
                    worker, job, timeout=timeout, fresh=fresh, stopping=stopping, events=_QueuedEvents(messages)
                )
            except Exception as error:  # a bug of ours: raise it in the thread that waits for results
                messages.put(error)
            else:
                messages.put((worker, result))

        free, running = list(reversed(self._workers)), 0
        waiting = iter(jobs)
        job = next(waiting, None)
        try:
            while running or job is not None:
                while job is not None and free and not (running and job.work == "timing"):
                    worker = free.pop()
                    events.job_assigned(worker.name, job)
                    threading.Thread(target=drive, args=(worker, job), daemon=True).start()
                    running, job = running + 1, next(waiting, None)
                try:
                    message = messages.get(timeout=POLL_SECONDS)
                except queue.Empty:
                    continue
                if isinstance(message, Exception):
                    raise message
                if isinstance(message, tuple):
                    worker, result = message
                    free.append(worker)
                    running -= 1
                    yield result
                else:
                    message(events)
        finally:
            stopping.set()


class _QueuedEvents:
    """Receiver that queues events for another thread to deliver."""

    def __init__(self, messages: queue.SimpleQueue[Message]) -> None:
        self._messages = messages

    def job_assigned(self, worker: str, job: Job) -> None:
        self._messages.put(methodcaller("job_assigned", worker, job))

    def job_started(self, event: JobStarted) -> None:
        self._messages.put(methodcaller("job_started", event))

    def job_progressed(self, event: JobProgress) -> None:
        self._messages.put(methodcaller("job_progressed", event))

    def waiting_for_machine(self, worker: str, work: Work, runs: tuple[str, ...] = ()) -> None:
        self._messages.put(methodcaller("waiting_for_machine", worker, work, runs))
