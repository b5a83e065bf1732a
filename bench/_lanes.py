"""What does a run's jobs: here, the lanes of this machine, each driven by a thread. `_cluster.py` has those of many."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, Self

from bench._holding import Stopping, Work, held
from bench._lane import Advance, Begun, Failure, Lane
from results import Span

if TYPE_CHECKING:
    from bench._work import Job

POLL_SECONDS = 0.2
TRIES = 3
"""A job whose lane ended by itself is tried again so many times in all."""
_EPOCH = time.time() - time.monotonic()  # taken once: a wall clock that jumps later moves no span against another


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that has ended, where, how and when."""

    lane: str
    job: Job
    result: Any
    span: Span


class Executor(Protocol):
    """Lanes, wherever they are."""

    @property
    def lanes(self) -> int:
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
        on_begin: Callable[[Begun], None],
        on_advance: Callable[[Advance], None],
        on_wait: Callable[[str, Work], None],
    ) -> Iterator[Ended]:
        """Do the jobs in their order, as lanes become free, and give each back when it has ended.

        A job that times has its machine alone; `fresh` gives each such job a process of its own.
        `on_start` tells which lane got a job; `on_begin` that it took it up, started and with the machine to itself.
        `on_wait` tells which lane waits for another run to leave the machine to a job of that kind.
        """
        ...


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


def attend(
    lane: Lane,
    job: Job,
    *,
    timeout: float | None,
    fresh: bool,
    stopping: Stopping,
    on_begin: Callable[[Begun], None],
    on_advance: Callable[[Advance], None],
    on_wait: Callable[[Work], None],
) -> Ended:
    """Have one lane do one job while it holds the machine, once more where the lane ended by itself.

    A process that times has not trained before; with `fresh` it has done nothing before.
    Raises `Stopped` where that comes before the machine is free.
    """
    work = work_of(job)
    for left in reversed(range(TRIES)):
        with held(work, stopping=stopping, on_wait=lambda: on_wait(work)):
            if work == "timing" and (fresh or "training" in lane.did):
                lane.end()
            lane.did.add(work)
            attempt = lane.run(job, timeout, on_begin, on_advance, stopping)
        result = attempt.result
        if not (isinstance(result, Failure) and result.lane_ended) or stopping.is_set():
            break
        if not left:
            result = replace(result, reason=f"{result.reason}, {TRIES} times")
    span = Span(work=work, lane=lane.name, began=_EPOCH + attempt.began, ended=_EPOCH + attempt.ended)
    return Ended(lane.name, job, result, span)


def work_of(job: Job) -> Work:
    """What a job does to its machine."""
    from bench._work import TrainJob

    return "training" if isinstance(job, TrainJob) else "timing"
