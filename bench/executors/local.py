"""Run jobs on this machine: several worker processes, each driven by a thread; `dask_cluster.py` uses many machines."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self

from bench.executors.jobs import JobProgress, JobStarted
from bench.executors.worker_process import WorkerProcess
from bench.machine.lock import Work

if TYPE_CHECKING:
    from bench.executors.jobs import Job
from bench.executors.base import attend
from bench.executors.jobs import JobResult, work_of

POLL_SECONDS = 0.2


class LocalExecutor:
    """Several lanes, working through jobs; a context that leaves no process behind."""

    def __init__(
        self, count: int, *, threads: int = 1, memory_bytes: int | None = None, code: str | None = None
    ) -> None:
        self._workers = [WorkerProcess(str(number), threads, memory_bytes, code) for number in range(count)]
        self.workers, self.machines = count, 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.stop()

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
        """As `Executor.work` says; the thread that iterates reads `jobs` and calls all of `on_...`."""
        events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        stopping = threading.Event()

        def drive(worker: WorkerProcess, job: Job) -> None:
            try:
                ended = attend(
                    worker,
                    job,
                    timeout=timeout,
                    fresh=fresh,
                    stopping=stopping,
                    on_begin=lambda begun: events.put(("begin", begun)),
                    on_advance=lambda advance: events.put(("advance", advance)),
                    on_wait=lambda work: events.put(("wait", (worker.name, work))),
                )
            except Exception as error:  # our own mistake: raised where the results are waited for
                events.put(("broken", error))
            else:
                events.put(("end", (worker, ended)))

        free, running = list(reversed(self._workers)), 0
        waiting = iter(jobs)
        job = next(waiting, None)
        try:
            while running or job is not None:
                while job is not None and free and not (running and work_of(job) == "timing"):
                    worker = free.pop()
                    on_start(worker.name, job)
                    threading.Thread(target=drive, args=(worker, job), daemon=True).start()
                    running, job = running + 1, next(waiting, None)
                try:
                    kind, content = events.get(timeout=POLL_SECONDS)  # so that Ctrl-C is heard
                except queue.Empty:
                    continue
                if kind == "begin":
                    on_begin(content)
                elif kind == "advance":
                    on_advance(content)
                elif kind == "wait":
                    on_wait(*content)
                elif kind == "broken":
                    raise content
                else:
                    worker, ended = content
                    free.append(worker)
                    running -= 1
                    yield ended
        finally:
            stopping.set()
