"""Code that runs inside a dask worker: it reports the worker's properties, and runs jobs in worker processes.

Dask only decides where a job runs. A dask worker has at most one worker process per thread. If a model crashes its
worker process, the dask worker continues. A worker process is ended if its job exceeds the time limit.
"""

from __future__ import annotations

import multiprocessing
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from distributed import Worker, WorkerPlugin, get_worker

from bench.executors.base import run_with_retries
from bench.executors.events import JobProgress, JobStarted
from bench.executors.jobs import Job, JobResult
from bench.executors.worker_process import WorkerProcess
from bench.machine.environment import environment
from bench.machine.lock import Work
from bench.machine.provenance import code_digest
from bench.plugins.loader import Plugin, install
from results import Environment

RESOURCE = "carousel-machine"
"""Dask resource of a worker that takes part in runs."""
ALL_SHARES = 1 << 20
"""Amount of the resource per dask worker. A training job uses 1, and a timing job uses the whole amount."""
PROGRESS_SECONDS = 1.0
"""Shortest interval between two progress events of a job, in seconds."""
LOADED_CODE = code_digest()
"""Digest of the source that this process has loaded. Later edits of the files do not change it."""

EventKind = Literal["assigned", "started", "progressed", "waiting"]
Message = tuple[EventKind, str, str, int, Any]
"""Event sent to the driver: kind, dask worker address, worker process name, job number, content."""

_free_workers: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()
_workers: list[WorkerProcess] = []
_workers_lock = threading.Lock()
_stopped_topics: set[str] = set()


@dataclass(frozen=True, slots=True)
class DaskWorkerInfo:
    """Properties that decide whether a dask worker can take part in a run."""

    code: str
    environment: Environment
    can_start_processes: bool


def inspect_worker(device: str, plugins: Sequence[Plugin] = ()) -> DaskWorkerInfo:
    """Install `plugins` if there are any, and return the properties of this dask worker.

    Raises `PluginError` if a plugin cannot be installed here.
    """
    if plugins:
        install(plugins)
    code = LOADED_CODE if code_digest() == LOADED_CODE else f"{LOADED_CODE}, edited since"
    has_no_nanny = not multiprocessing.current_process().daemon
    return DaskWorkerInfo(code, environment(device), can_start_processes=has_no_nanny)


class ResourcePlugin(WorkerPlugin):
    """Dask plugin that gives `RESOURCE` to each suitable worker, including workers that join later.

    A worker is suitable if it runs the driver's code and can start processes.
    """

    name = "carousel"

    def __init__(self, code: str) -> None:
        self.code = code

    async def setup(self, worker: Worker) -> None:
        info = inspect_worker("cpu")
        if info.code == self.code and info.can_start_processes:
            await worker.set_resources(**{RESOURCE: ALL_SHARES})


def run_on_dask_worker(
    number: int, job: Job, topic: str, timeout: float | None, fresh: bool, memory_bytes: int | None
) -> tuple[str, JobResult]:
    """Run a job in a worker process of this dask worker. Return the dask worker's address and the result.

    Args:
        number: identifies the job in its events.
        job: the job to run.
        topic: dask topic to which the job's events are sent.
        timeout: seconds that each try may take after it has started; None for no limit.
        fresh: whether a timing job gets a new process.
        memory_bytes: resident memory at which the worker process is ended; None for no limit.
    """
    dask_worker = get_worker()
    worker_process = _take_worker_process(dask_worker.state.nthreads)
    worker_process.memory_bytes = memory_bytes
    events = _SentEvents(dask_worker, worker_process.name, topic, number)
    try:
        events.job_assigned(worker_process.name, job)
        result = run_with_retries(
            worker_process,
            job,
            timeout=timeout,
            fresh=fresh,
            stopping=_Stopping(dask_worker, topic),
            events=events,
        )
        return dask_worker.address, result
    finally:
        _free_workers.put(worker_process)


def stop_jobs(topic: str) -> None:
    """Make this dask worker end its jobs of the run that uses `topic`."""
    _stopped_topics.add(topic)


class _Stopping:
    """Stop signal that is set if the driver has stopped or is gone.

    Dask forgets the task of a lost driver, but cannot end the thread that runs it.
    """

    def __init__(self, dask_worker: Worker, topic: str) -> None:
        self._dask_worker, self._topic, self._key = dask_worker, topic, dask_worker.get_current_task()

    def is_set(self) -> bool:
        task = self._dask_worker.state.tasks.get(self._key)
        return self._topic in _stopped_topics or task is None or task.state == "cancelled"


class _SentEvents:
    """Receiver that sends the events of one job to the driver."""

    def __init__(self, dask_worker: Worker, worker: str, topic: str, number: int) -> None:
        """Create a receiver for one job.

        Args:
            dask_worker: the dask worker that sends the events.
            worker: name of the worker process that runs the job.
            topic: dask topic to which the events are sent.
            number: identifies the job in its events.
        """
        self._dask_worker, self._worker, self._topic, self._number = dask_worker, worker, topic, number
        self._last_progress = -PROGRESS_SECONDS

    def job_assigned(self, worker: str, job: Job) -> None:
        self._send("assigned", job.work)

    def job_started(self, event: JobStarted) -> None:
        self._send("started", (event.compiling_seconds, event.kernels_note))

    def job_progressed(self, event: JobProgress) -> None:
        if time.monotonic() - self._last_progress >= PROGRESS_SECONDS:
            self._last_progress = time.monotonic()
            self._send("progressed", (event.step, event.total_steps, event.score))

    def waiting_for_machine(self, worker: str, work: Work, runs: tuple[str, ...] = ()) -> None:
        self._send("waiting", (work, runs))

    def _send(self, kind: EventKind, content: Any) -> None:
        message: Message = (kind, self._dask_worker.address, self._worker, self._number, content)
        self._dask_worker.log_event(self._topic, message)


def _take_worker_process(threads: int) -> WorkerProcess:
    """Return a free worker process, or a new worker process if none is free.

    There are at most `threads` worker processes, because each thread of the dask worker uses one at a time.
    """
    with _workers_lock:
        if len(_workers) < threads and _free_workers.empty():
            _workers.append(WorkerProcess(str(len(_workers)), code=LOADED_CODE))
            return _workers[-1]
    return _free_workers.get()
