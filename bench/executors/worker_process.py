"""A child process that runs one job at a time.

The process is replaced if it exits, uses too much memory, or exceeds the time limit of its job.

The process imports torch once and runs many jobs. It sets its own thread count, keeps the memory that it frees, and
dies with its parent. It flushes denormal numbers to zero, because such numbers make training many times slower.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import psutil

from bench.errors import informative_line, message_of, name_and_message, show_warnings_in_one_line
from bench.executors.child_process import ErrorOutput, start_child
from bench.executors.events import Events, JobProgress, JobStarted
from bench.executors.jobs import Failure, Job, TimeJob, TrainJob
from bench.machine.allocator import keep_freed_memory
from bench.machine.lock import Stopping, Work
from bench.machine.streams import lasting_streams

POLL_SECONDS = 0.2
STARTUP_SECONDS = 300.0
"""Time limit in seconds for importing torch and compiling kernels before the first job starts."""
MIB = 1 << 20
SOURCE_CHANGED = "source changed during the run: rerun to start a new run with the current code"


@dataclass(frozen=True, slots=True)
class Attempt:
    """Result of one attempt to run a job. Start and end are in seconds of the monotonic clock."""

    result: Any
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class _Preparation:
    """Request to a process to compile or load the kernels of architectures before its first job."""

    archs: tuple[str, ...]


class WorkerProcess:
    """A child process that is started when a job needs it, and replaced after it has ended."""

    def __init__(self, name: str, threads: int = 1, memory_bytes: int | None = None, code: str | None = None) -> None:
        """Create a worker without starting its process.

        Args:
            name: name of the worker in events, results and spans.
            threads: torch threads of the process.
            memory_bytes: resident memory at which the process is ended; None for no limit.
            code: digest of the run's source; a process that finds different source fails its jobs. None for no check.
        """
        self.name, self.threads, self.memory_bytes, self.code = name, threads, memory_bytes, code
        self.past_work: set[Work] = set()
        """Kinds of work that the current process has done."""
        self._process: multiprocessing.process.BaseProcess | None = None
        self._errors = ErrorOutput()
        self._stopped, self._lock = False, threading.Lock()

    def prepare(self, archs: tuple[str, ...]) -> None:
        """Start the process and compile or load the kernels of `archs`, so that the next job starts at once.

        If this fails, the next job starts another process and reports the reason.
        """
        deadline = time.monotonic() + STARTUP_SECONDS
        try:
            connection = self._started()
            connection.send(_Preparation(archs))
            while not connection.poll(POLL_SECONDS):
                if time.monotonic() > deadline:
                    raise EOFError
            connection.recv()
        except (EOFError, OSError):
            self.end()

    def run(self, job: Job, timeout: float | None, events: Events, stopping: Stopping) -> Attempt:
        """Run a job, and return the attempt after the job has ended.

        The result is a `Failure` if the job raised an exception, or if the process exited or was killed.

        Args:
            job: the job to run.
            timeout: seconds that the job may take after it has started; None for no limit.
            events: receives the start and the progress of the job.
            stopping: ends the process when set.
        """
        began = time.monotonic()
        try:
            connection = self._started()
            connection.send(job)
            deadline, overdue = began + STARTUP_SECONDS, f"the worker did not start within {STARTUP_SECONDS:g} s"
            while True:
                if connection.poll(POLL_SECONDS):
                    kind, content = connection.recv()
                    if kind == "result":
                        self._errors.show()
                        return Attempt(content, began, time.monotonic())
                    if kind == "started":
                        began = time.monotonic()
                        deadline = began + (math.inf if timeout is None else timeout)
                        overdue = f"no result within {timeout:g} s" if timeout is not None else ""
                        seconds, note = content
                        events.job_started(JobStarted(worker=self.name, compiling_seconds=seconds, kernels_note=note))
                    else:
                        step, total_steps, score = content
                        events.job_progressed(
                            JobProgress(worker=self.name, step=step, total_steps=total_steps, score=score)
                        )
                failure = self._reason_to_end(deadline, overdue, stopping)
                if failure is not None:
                    self.end()
                    return Attempt(failure, began, time.monotonic())
        except (EOFError, OSError):
            exit_code, last_line = self._exit_code(), self._errors.last_line()
            self.end()
            return Attempt(exit_failure(exit_code, last_line), began, time.monotonic())

    def end(self) -> None:
        """Kill the process. The next job starts a new process."""
        with self._lock:
            if self._process is None:
                return
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = None
            self.past_work = set()

    def stop(self) -> None:
        """Kill the process. Later jobs fail, because no new process is started."""
        self._stopped = True
        self.end()

    def _started(self) -> Connection:
        with self._lock:
            if self._stopped:
                raise EOFError
            if self._process is None:
                context = multiprocessing.get_context("spawn")
                self._connection, child = context.Pipe()
                process = context.Process(
                    target=_serve, args=(child, self.threads, self.code), name=f"worker-{self.name}", daemon=True
                )
                self._errors = start_child(process)
                self._process = process
                child.close()
            return self._connection

    def _reason_to_end(self, deadline: float, overdue: str, stopping: Stopping) -> Failure | None:
        if time.monotonic() > deadline:
            return Failure("timeout", overdue)
        if stopping.is_set():
            return Failure("crashed", "the run was stopped")
        return self._memory_failure()

    def _memory_failure(self) -> Failure | None:
        if self.memory_bytes is None or (process := self._process) is None or process.pid is None:
            return None
        try:
            used = psutil.Process(process.pid).memory_info().rss
        except psutil.Error:  # the process has just exited; the connection reports this
            return None
        if used <= self.memory_bytes:
            return None
        allowed = f"{self.memory_bytes // MIB:,} MiB allowed"
        return Failure("out_of_memory", f"the worker used {used // MIB:,} MiB of memory, more than the {allowed}")

    def _exit_code(self) -> int | None:
        process = self._process
        if process is None:
            return None
        process.join(timeout=5)
        return process.exitcode


def exit_failure(exit_code: int | None, last_line: str = "") -> Failure:
    """Return the failure of a job whose worker process exited by itself.

    SIGKILL counts as out of memory, because Linux sends SIGKILL to a process when memory runs out. `last_line` is the
    last line that the process wrote to its standard error.
    """
    if exit_code is not None and exit_code == -getattr(signal, "SIGKILL", 9):
        return Failure("out_of_memory", "the worker was killed, probably because the machine ran out of memory")
    said = f": {last_line}" if last_line else ""
    return Failure("crashed", f"the worker ended with exit code {exit_code}{said}", worker_exited=True)


@lasting_streams()
def _serve(connection: Connection, threads: int, code: str | None) -> None:
    """Set up the child process, then run jobs until the parent is gone.

    `code` is the digest of the run's source, or None for no check. If this process finds different source, its jobs
    fail.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    show_warnings_in_one_line()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    keep_freed_memory()
    import torch

    import arch
    import bench.executors.timing_job  # noqa: F401  (imported here, so that no job pays for it)
    from arch import kernels
    from bench.machine.provenance import code_digest

    source_changed = code is not None and code_digest() != code
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    torch.set_flush_denormal(True)
    compiled, compiling_seconds, reported = set[str](), 0.0, 0.0
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        specs = _archs_to_compile(request) - compiled
        compiled |= specs
        if specs:
            compiling_seconds = arch.compile_kernels(sorted(specs))
        if isinstance(request, _Preparation):
            connection.send("prepared")
            continue
        connection.send(("started", (compiling_seconds - reported, kernels.note())))
        reported = compiling_seconds
        result = Failure("crashed", SOURCE_CHANGED) if source_changed else run_job(request, connection)
        connection.send(("result", result))


def _archs_to_compile(request: Job | _Preparation) -> set[str]:
    if isinstance(request, _Preparation):
        return set(request.archs)
    return {case.arch for case in request.cases if isinstance(request, TimeJob) or case.protocol.trains}


def run_job(job: Job, connection: Connection) -> Any:
    """Run a job in this process and return its result, or a `Failure` if the job raises an exception.

    The next job finds torch's global state as this job found it.
    """
    from bench.executors.timing_job import run_timing_job
    from bench.executors.training_job import run_training_job
    from bench.plugins.torch_state import preserved

    try:
        with preserved():
            if isinstance(job, TrainJob):
                return run_training_job(job, lambda *progress: connection.send(("progress", progress)))
            return run_timing_job(job)
    except MemoryError:
        return Failure("out_of_memory", "the case needs more memory than is available")
    except Exception as error:
        whole = message_of(error)
        if "out of memory" in whole or "can't allocate memory" in whole:
            return Failure("out_of_memory", informative_line(whole))
        frame = traceback.extract_tb(error.__traceback__)[-1]
        name, _, message = name_and_message(error).partition(": ")
        where = f"{name} at {Path(frame.filename).name}:{frame.lineno}"
        return Failure("crashed", f"{where}: {message}" if message else where)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
