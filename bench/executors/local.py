"""Run jobs on this machine: several worker processes, each driven by a thread; `dask_cluster.py` uses many machines."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self

from bench.executors.jobs import Advance, Begun
from bench.executors.worker_process import Lane
from bench.machine.lock import Work

if TYPE_CHECKING:
    from bench.executors.jobs import Job
from bench.executors.base import attend
from bench.executors.jobs import Ended, work_of

POLL_SECONDS = 0.2


class Lanes:
    """Several lanes, working through jobs; a context that leaves no process behind."""

    def __init__(
        self, count: int, *, threads: int = 1, memory_bytes: int | None = None, code: str | None = None
    ) -> None:
        self._lanes = [Lane(str(number), threads, memory_bytes, code) for number in range(count)]
        self.lanes, self.machines = count, 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for lane in self._lanes:
            lane.stop()

    def work(
        self,
        jobs: Iterable[Job],
        *,
        timeout: float | None,
        fresh: bool,
        on_start: Callable[[str, Job], None],
        on_begin: Callable[[Begun], None],
        on_advance: Callable[[Advance], None],
        on_wait: Callable[[str, Work], None],
    ) -> Iterator[Ended]:
        """As `Executor.work` says; the thread that iterates reads `jobs` and calls all of `on_...`."""
        events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        stopping = threading.Event()

        def drive(lane: Lane, job: Job) -> None:
            try:
                ended = attend(
                    lane,
                    job,
                    timeout=timeout,
                    fresh=fresh,
                    stopping=stopping,
                    on_begin=lambda begun: events.put(("begin", begun)),
                    on_advance=lambda advance: events.put(("advance", advance)),
                    on_wait=lambda work: events.put(("wait", (lane.name, work))),
                )
            except Exception as error:  # our own mistake: raised where the results are waited for
                events.put(("broken", error))
            else:
                events.put(("end", (lane, ended)))

        free, running = list(reversed(self._lanes)), 0
        waiting = iter(jobs)
        job = next(waiting, None)
        try:
            while running or job is not None:
                while job is not None and free and not (running and work_of(job) == "timing"):
                    lane = free.pop()
                    on_start(lane.name, job)
                    threading.Thread(target=drive, args=(lane, job), daemon=True).start()
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
                    lane, ended = content
                    free.append(lane)
                    running -= 1
                    yield ended
        finally:
            stopping.set()
