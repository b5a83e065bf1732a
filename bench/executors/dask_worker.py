"""What runs inside a dask worker: its lanes, one a thread, and what it is asked before it gets any work.

Dask only chooses where a job goes. The lanes are child processes as everywhere: a model that crashes or hangs ends
a lane and not the worker.
"""

from __future__ import annotations

import multiprocessing
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distributed import Worker, WorkerPlugin, get_worker

from bench.executors.base import attend
from bench.executors.jobs import JobProgress, JobResult, JobStarted, work_of
from bench.executors.worker_process import WorkerProcess
from bench.machine.environment import environment
from bench.machine.lock import Work
from bench.machine.provenance import code_digest
from bench.plugins.loader import Plugin, install
from results import Environment

if TYPE_CHECKING:
    from bench.executors.jobs import Job

RESOURCE, WHOLE = "carousel-machine", 1 << 20
"""A training takes one of a worker's many shares, a timing all of them."""
TELL_EVERY_SECONDS = 1.0
LOADED = code_digest()
"""Of the code as this process has it, however the files are edited later."""

_lanes: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()
_made: list[WorkerProcess] = []
_making = threading.Lock()
_unwanted: set[str] = set()


@dataclass(frozen=True, slots=True)
class Identity:
    """What a worker is: what must agree before it takes part in a run."""

    code: str
    environment: Environment
    can_have_lanes: bool


def identify(device: str, plugins: Sequence[Plugin] = ()) -> Identity:
    """Asked of every worker. Raises `PluginError` where a plugin does not work there."""
    if plugins:
        install(plugins)
    alone = not multiprocessing.current_process().daemon
    code = LOADED if code_digest() == LOADED else f"{LOADED}, and edited since"
    return Identity(code, environment(device), can_have_lanes=alone)


class Member(WorkerPlugin):
    """Makes a worker part of runs of this code; one of other code never gets work, whenever it joins."""

    name = "carousel"

    def __init__(self, code: str) -> None:
        self.code = code

    async def setup(self, worker: Worker) -> None:
        mine = identify("cpu")
        if mine.code == self.code and mine.can_have_lanes:
            await worker.set_resources(**{RESOURCE: WHOLE})


def do(
    number: int, job: Job, topic: str, timeout: float | None, fresh: bool, memory_bytes: int | None
) -> tuple[str, JobResult]:
    """Do one job in a lane of this worker, telling `topic` how it goes. Gives the worker's address, too."""
    worker = get_worker()
    key = worker.get_current_task()

    class Unwanted:
        """The driver has stopped, or is gone: dask then forgets the task, but cannot end its thread."""

        def is_set(self) -> bool:
            task = worker.state.tasks.get(key)
            return topic in _unwanted or task is None or task.state == "cancelled"

    def tell(kind: str, content: Any) -> None:
        worker.log_event(topic, (kind, worker.address, lane.name, number, content))

    told = -TELL_EVERY_SECONDS

    def advanced(advance: JobProgress) -> None:
        nonlocal told
        if time.monotonic() - told >= TELL_EVERY_SECONDS:
            told = time.monotonic()
            tell("advance", (advance.done, advance.total, advance.score))

    def begins(begun: JobStarted) -> None:
        tell("begin", begun.compiling_seconds)

    def waits(work: Work) -> None:
        tell("wait", work)

    lane = _take(worker.state.nthreads)
    lane.memory_bytes = memory_bytes
    try:
        tell("start", work_of(job))
        ended = attend(
            lane,
            job,
            timeout=timeout,
            fresh=fresh,
            stopping=Unwanted(),
            on_begin=begins,
            on_advance=advanced,
            on_wait=waits,
        )
        return worker.address, ended
    finally:
        _lanes.put(lane)


def stop(topic: str) -> None:
    """Have this worker end its jobs of one run."""
    _unwanted.add(topic)


def _take(threads: int) -> WorkerProcess:
    """A free lane: there are as many as threads, so one is."""
    with _making:
        if len(_made) < threads and _lanes.empty():
            _made.append(WorkerProcess(str(len(_made)), code=LOADED))
            return _made[-1]
    return _lanes.get()
