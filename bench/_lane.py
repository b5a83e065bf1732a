"""Lanes: child processes that do one job at a time, and that are killed and replaced when a job hangs or crashes.

A lane imports torch once and lives for many jobs. It has its own thread count, flushes denormal
numbers (they slow training many times over), and dies with its parent.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from bench._work import Job

POLL_SECONDS = 0.2
STARTUP_SECONDS = 300.0
"""A lane that has not taken up a job by then, torch imported and kernels compiled, never will."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job gave no result."""

    status: Literal["crashed", "timeout", "out_of_memory"]
    reason: str


@dataclass(frozen=True, slots=True)
class Advance:
    """How far a lane has come with its job: training steps done and in all, latest validation score."""

    lane: int
    done: int
    total: int
    score: float


class Lane:
    """One child process. `run` blocks until the job has ended, in one way or another."""

    def __init__(self, number: int, threads: int = 1) -> None:
        self.number, self.threads, self._stopped = number, threads, False
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, child = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(child, self.threads), name=f"lane-{self.number}", daemon=True
        )
        self._process.start()
        child.close()

    def run(self, job: Job, timeout: float | None, on_advance: Callable[[Advance], None]) -> Any:
        """The job's result, or a `Failure`; after a failure of the process the lane is replaced.

        The timeout counts from the moment at which the lane, its imports done, takes up the job.
        """
        deadline = time.monotonic() + STARTUP_SECONDS
        allowed = STARTUP_SECONDS
        try:
            self._connection.send(job)
            while True:
                if self._connection.poll(POLL_SECONDS):
                    kind, content = self._connection.recv()
                    if kind == "done":
                        return content
                    if kind == "begun":
                        allowed = math.inf if timeout is None else timeout
                        deadline = time.monotonic() + allowed
                    else:
                        on_advance(Advance(self.number, *content))
                if time.monotonic() > deadline:
                    self._replace()
                    return Failure("timeout", f"no result within {allowed:g} s")
        except (EOFError, OSError):
            self._process.join(timeout=5)
            code = self._process.exitcode
            self._replace()
            return _death(code)

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self._stopped = True
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _replace(self) -> None:
        if not self._stopped:
            self._end()
            self._start()


class Lanes:
    """Several lanes, working through jobs; a context that leaves no process behind."""

    def __init__(self, count: int, threads: int = 1) -> None:
        self._lanes = [Lane(number, threads) for number in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for lane in self._lanes:
            lane.stop()

    def work(
        self,
        jobs: Sequence[Job],
        *,
        timeout: float | None,
        on_start: Callable[[int, Job], None],
        on_advance: Callable[[Advance], None],
        alone: bool = False,
    ) -> Iterator[tuple[int, Job, Any]]:
        """Each job's lane, itself and its result, as they end. `alone` keeps all lanes but one idle."""
        waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        events: queue.SimpleQueue[tuple[str, int, Any, Any]] = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        stopping = threading.Event()

        def drive(lane: Lane) -> None:
            while not stopping.is_set():
                try:
                    job = waiting.get_nowait()
                except queue.Empty:
                    return
                events.put(("start", lane.number, job, None))
                try:
                    result = lane.run(job, timeout, lambda advance: events.put(("advance", lane.number, None, advance)))
                except Exception as error:  # our own mistake: raised where the results are waited for
                    events.put(("broken", lane.number, job, error))
                    return
                events.put(("end", lane.number, job, result))

        threads = [
            threading.Thread(target=drive, args=(lane,), daemon=True) for lane in self._lanes[: 1 if alone else None]
        ]
        for thread in threads:
            thread.start()
        left = len(jobs)
        try:
            while left:
                try:
                    kind, lane, job, content = events.get(timeout=POLL_SECONDS)
                except queue.Empty:
                    continue
                if kind == "start":
                    on_start(lane, job)
                elif kind == "advance":
                    on_advance(content)
                elif kind == "broken":
                    raise content
                else:
                    left -= 1
                    yield lane, job, content
        finally:
            stopping.set()


def _death(code: int | None) -> Failure:
    if code is not None and code == -getattr(signal, "SIGKILL", 9):
        return Failure("out_of_memory", "the lane was killed, as the system does when memory runs out")
    return Failure("crashed", f"the lane ended with exit code {code}")


def _serve(connection: Connection, threads: int) -> None:
    """The child's life: set the machine up, then do jobs until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    import bench._work  # noqa: F401  (so that no job pays for the import)
    from arch import kernels

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    torch.set_flush_denormal(True)
    kernels.warm()
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        connection.send(("begun", None))
        connection.send(("done", _do(job, connection)))


def _do(job: Job, connection: Connection) -> Any:
    from bench._work import TrainJob, do_time, do_train

    try:
        if isinstance(job, TrainJob):
            return do_train(job, lambda *progress: connection.send(("advance", progress)))
        return do_time(job)
    except MemoryError:
        return Failure("out_of_memory", "the case needs more memory than there is")
    except Exception as error:
        if "out of memory" in str(error) or "can't allocate memory" in str(error):
            return Failure("out_of_memory", str(error).partition("\n")[0])
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        return Failure("crashed", f"{type(error).__name__} at {where}: {error}".partition("\n")[0])


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
