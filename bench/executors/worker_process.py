"""A lane: a child process that does one job at a time, replaced when a job hangs, crashes or takes too much.

A lane imports torch once and lives for many jobs. It has its own thread count, flushes denormal
numbers (they slow training many times over), keeps the memory that it frees, and dies with its parent.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from bench.machine.allocator import keep_freed_memory
from bench.machine.lock import Stopping

if TYPE_CHECKING:
    from bench.executors.jobs import Job
from bench.executors.jobs import Failure, JobProgress, JobStarted

POLL_SECONDS = 0.2
STARTUP_SECONDS = 300.0
"""A lane that has not taken up a job by then, torch imported and kernels compiled, never will."""
MIB = 1 << 20
EDITED = "the code was edited while the run went on; the same command begins a new run of the present code"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of a job, and when it was begun and had ended by the monotonic clock."""

    result: Any
    began: float
    ended: float


class WorkerProcess:
    """One child process, started when the first job needs it. `run` blocks until the job has ended in some way."""

    def __init__(self, name: str, threads: int = 1, memory_bytes: int | None = None, code: str | None = None) -> None:
        self.name, self.threads, self.memory_bytes, self.code = name, threads, memory_bytes, code
        self.did: set[str] = set()
        """The kinds of work that the present process has done."""
        self._process: multiprocessing.process.BaseProcess | None = None
        self._stopped, self._changing = False, threading.Lock()

    def run(
        self,
        job: Job,
        timeout: float | None,
        on_begin: Callable[[JobStarted], None],
        on_advance: Callable[[JobProgress], None],
        stopping: Stopping,
    ) -> Attempt:
        """The job's result, or a `Failure`; after a failure of the process the next job gets another one.

        The timeout counts from the moment at which the lane, its imports done, takes up the job.
        The process is ended where `stopping` is set.
        """
        began = time.monotonic()
        try:
            connection = self._started()
            connection.send(job)
            deadline, late = began + STARTUP_SECONDS, f"the lane did not start within {STARTUP_SECONDS:g} s"
            while True:
                if connection.poll(POLL_SECONDS):
                    kind, content = connection.recv()
                    if kind == "done":
                        return Attempt(content, began, time.monotonic())
                    if kind == "begun":
                        began = time.monotonic()
                        deadline = began + (math.inf if timeout is None else timeout)
                        late = f"no result within {timeout:g} s" if timeout is not None else ""
                        on_begin(JobStarted(self.name, content))
                    else:
                        on_advance(JobProgress(self.name, *content))
                if time.monotonic() > deadline:
                    self.end()
                    return Attempt(Failure("timeout", late), began, time.monotonic())
                if stopping.is_set():
                    self.end()
                    return Attempt(Failure("crashed", "the run was stopped"), began, time.monotonic())
                if (used := self._too_much_memory()) is not None:
                    self.end()
                    return Attempt(used, began, time.monotonic())
        except (EOFError, OSError):
            code = self._exit_code()
            self.end()
            return Attempt(death(code), began, time.monotonic())

    def end(self) -> None:
        """End the process, whatever it is doing; the next job gets another one."""
        with self._changing:
            if self._process is None:
                return
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = None
            self.did = set()

    def stop(self) -> None:
        """End the process for good."""
        self._stopped = True
        self.end()

    def _started(self) -> Connection:
        with self._changing:
            if self._stopped:
                raise EOFError
            if self._process is None:
                context = multiprocessing.get_context("spawn")
                self._connection, child = context.Pipe()
                self._process = context.Process(
                    target=_serve, args=(child, self.threads, self.code), name=f"lane-{self.name}", daemon=True
                )
                self._process.start()
                child.close()
            return self._connection

    def _too_much_memory(self) -> Failure | None:
        if self.memory_bytes is None or (process := self._process) is None or process.pid is None:
            return None
        try:
            used = psutil.Process(process.pid).memory_info().rss
        except psutil.Error:  # it has just ended, which shows elsewhere
            return None
        if used <= self.memory_bytes:
            return None
        reason = f"the lane held {used // MIB:,} MiB of memory, more than the {self.memory_bytes // MIB:,} MiB allowed"
        return Failure("out_of_memory", reason)

    def _exit_code(self) -> int | None:
        process = self._process
        if process is None:
            return None
        process.join(timeout=5)
        return process.exitcode


def death(code: int | None) -> Failure:
    """Describe why a worker process ended by itself."""
    if code is not None and code == -getattr(signal, "SIGKILL", 9):
        return Failure("out_of_memory", "the lane was killed, as the system does when memory runs out")
    return Failure("crashed", f"the lane ended with exit code {code}", worker_exited=True)


def _serve(connection: Connection, threads: int, code: str | None) -> None:
    """The child's life: set the machine up, then do jobs until the parent is gone.

    `code` is the digest of the code that the run began with: a lane that starts later may find it edited.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    keep_freed_memory()
    import torch

    import bench.executors.timing_job  # noqa: F401  (so that no job pays for the import)
    from arch import kernels
    from bench.machine.provenance import code_digest

    edited = code is not None and code_digest() != code
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    torch.set_flush_denormal(True)
    compiling_seconds = kernels.compile_all()
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        connection.send(("begun", compiling_seconds))
        compiling_seconds = 0.0
        result = Failure("crashed", EDITED) if edited else run_job(job, connection)
        connection.send(("done", result))


def run_job(job: Job, connection: Connection) -> Any:
    """Run one job in this process. Returns its result, or a `Failure`."""
    from bench.executors.jobs import TrainJob
    from bench.executors.timing_job import run_timing_job
    from bench.executors.training_job import run_training_job

    try:
        if isinstance(job, TrainJob):
            return run_training_job(job, lambda *progress: connection.send(("advance", progress)))
        return run_timing_job(job)
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
