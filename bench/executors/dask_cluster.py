"""Run jobs on the workers of a dask cluster. If a worker is lost, dask reruns its jobs on other workers.

Start one dask worker per host, with one thread for each worker process:

    dask scheduler
    dask worker tcp://SCHEDULER:8786 --nthreads 8 --no-nanny       on each host
    carousel run standard --scheduler tcp://SCHEDULER:8786

The driver is the process that runs this code and writes the records. On a single machine, use `local.py`: it avoids the
cost of importing dask and running its event loop.
"""

from __future__ import annotations

import logging
import queue
import secrets
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast

from distributed import Client, Future, KilledWorker
from distributed.comm.addressing import parse_address, parse_host_port
from distributed.comm.registry import get_backend

from bench.errors import UsageError, name_and_message
from bench.executors.dask_worker import (
    ALL_SHARES,
    RESOURCE,
    DaskWorkerInfo,
    Message,
    ResourcePlugin,
    inspect_worker,
    run_on_dask_worker,
    stop_jobs,
)
from bench.executors.events import Events, JobProgress, JobStarted
from bench.executors.jobs import Failure, Job, JobResult
from bench.plugins.loader import Plugin
from results import Environment, Span
from results.comparison import environment_differences

CONNECT_SECONDS = 10.0
POLL_SECONDS = 0.2
NO_WORKER = "none"
"""Worker name in the result of a job if every dask worker that tried the job was lost."""
MAY_DIFFER = ("host", "memory_bytes")
"""Fields of the environment that may differ between the hosts of a timed run."""
LOST = "lost the dask scheduler: finished cases are saved; rerun to resume"


class DaskExecutor:
    """Executor over the workers of a running dask cluster. Leaving its context cancels unfinished jobs."""

    def __init__(
        self,
        address: str,
        *,
        code: str,
        plugins: Sequence[Plugin] = (),
        device: str = "cpu",
        memory_bytes: int | None = None,
        timed: bool = True,
    ) -> None:
        """Connect to a scheduler.

        Raises `UsageError` if the connection fails, if there are no workers, or if a worker cannot take part.

        Args:
            address: the scheduler's address, or the path of its scheduler file (`*.json`).
            code: digest of the driver's source; a dask worker with different source is refused.
            plugins: plugins that every dask worker must be able to install.
            device: torch device of the jobs.
            memory_bytes: resident memory at which a worker process is ended; None for no limit.
            timed: whether the run has timings. If it has, only fields in `MAY_DIFFER` may differ between the hosts.
        """
        self._memory_bytes = memory_bytes
        self._topic = f"carousel-{secrets.token_hex(6)}"
        self._names: dict[str, str] = {}
        self._futures: dict[Future[Any], tuple[int, Job]] = {}
        self._inbox: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        logging.getLogger("tornado.application").addFilter(is_no_late_cancel)
        is_file = address.endswith(".json")
        try:
            _check_address(address)
            where = {"scheduler_file": address} if is_file else {"address": address}
            self._client = cast(Client, _Client(**where, timeout=CONNECT_SECONDS, set_as_default=False))
        except (TimeoutError, OSError, ValueError) as error:
            reason = f"no dask scheduler answers at this address ({name_and_message(error)})"
            raise UsageError(f"--scheduler {address}: {reason}; start one with `dask scheduler`") from None
        try:
            self._client.wait_for_workers(1, timeout=CONNECT_SECONDS)
            self.environment = self._common_environment(code, plugins, device, timed)
            self._client.register_plugin(ResourcePlugin(code))
            self._client.subscribe_topic(self._topic, lambda event: self._inbox.put(("event", event[1])))
        except (TimeoutError, OSError):
            self._client.close()
            command = f"dask worker {'--scheduler-file ' if is_file else ''}{address} --no-nanny"
            raise UsageError(f"--scheduler {address}: it has no workers; start one with `{command}`") from None
        except BaseException:
            self._client.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._futures:
                self._client.cancel(list(self._futures), force=True)
                self._client.run(stop_jobs, self._topic, on_error="ignore")
        finally:
            self._client.close()

    @property
    def workers(self) -> int:
        return sum(self._dask_workers().values())

    @property
    def machines(self) -> int:
        return len({self._name(address).partition("/")[0] for address in self._dask_workers()})

    def run(self, jobs: Iterable[Job], *, timeout: float | None, fresh: bool, events: Events) -> Iterator[JobResult]:
        """Run jobs and yield their results, as `Executor.run` specifies.

        Args:
            jobs: the jobs to run, read lazily.
            timeout: seconds that each try of a job may take after it has started; None for no limit.
            fresh: whether each timing job gets a new process.
            events: receives the events of the jobs.

        Raises `UsageError` if the connection to the scheduler is lost.
        """
        ordered = _OrderedEvents(events)
        numbered = enumerate(jobs)
        following = next(numbered, None)
        while self._futures or following is not None:
            # Submit only jobs that can start: dask would leave a job in the queue of one worker while another is idle.
            while following is not None and len(self._futures) < self._capacity(following[1]):
                self._submit(*following, timeout, fresh)
                following = next(numbered, None)
            try:
                kind, content = self._inbox.get(timeout=POLL_SECONDS)
            except queue.Empty:
                self._check_connection()
                continue
            if kind == "event":
                self._deliver(content, ordered)
            elif content in self._futures:
                number, job = self._futures.pop(content)
                result = self._result(content, job)
                delayed = ordered.finish(result.worker, number, job)
                yield result
                for message in delayed:
                    self._deliver(message, ordered)

    def _deliver(self, message: Message, ordered: _OrderedEvents) -> None:
        _, address, worker_process, number, _ = message
        running = dict(self._futures.values())
        if number in running:
            ordered.receive(f"{self._name(address)}/{worker_process}", running[number], message)

    def _submit(self, number: int, job: Job, timeout: float | None, fresh: bool) -> None:
        shares = ALL_SHARES if job.work == "timing" else 1
        future = self._client.submit(
            run_on_dask_worker,
            number,
            job,
            self._topic,
            timeout,
            fresh,
            self._memory_bytes,
            key=f"{self._topic}-{job.work}-{secrets.token_hex(6)}",
            resources={RESOURCE: shares},
            pure=False,
        )
        self._futures[future] = (number, job)
        future.add_done_callback(lambda done: self._inbox.put(("done", done)))

    def _result(self, future: Future[Any], job: Job) -> JobResult:
        try:
            address: str
            result: JobResult
            address, result = future.result()
        except KilledWorker as error:
            lost = Failure("crashed", f"every dask worker that tried this job was lost: {name_and_message(error)}")
            span = Span(work=job.work, worker=NO_WORKER, began=0.0, ended=0.0)
            return JobResult(worker=NO_WORKER, job=job, result=lost, span=span)
        except CancelledError:
            raise UsageError(LOST) from None
        name = f"{self._name(address)}/{result.worker}"
        return replace(result, worker=name, job=job, span=result.span.model_copy(update={"worker": name}))

    def _capacity(self, job: Job) -> int:
        """Return how many jobs with the same `work` as `job` dask can assign to workers at the same time."""
        dask_workers = self._dask_workers()
        return len(dask_workers) if job.work == "timing" else sum(dask_workers.values())

    def _dask_workers(self) -> dict[str, int]:
        """Return the number of threads of each dask worker that takes part, by address."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        return {address: worker["nthreads"] for address, worker in workers.items() if RESOURCE in worker["resources"]}

    def _name(self, address: str) -> str:
        """Return a numbered name for a dask worker, because an address identifies the user's machine."""
        if address not in self._names:
            host = address.rpartition(":")[0]
            hosts = list(dict.fromkeys([*(known.rpartition(":")[0] for known in self._names), host]))
            self._names[address] = f"host{hosts.index(host)}/worker{len(self._names)}"
        return self._names[address]

    def _check_connection(self) -> None:
        if self._client.status not in ("running", "connecting"):
            raise UsageError(LOST)

    def _common_environment(self, code: str, plugins: Sequence[Plugin], device: str, timed: bool) -> Environment:
        """Check all dask workers, and return the environment of the first worker.

        The field `host` is None if the workers run on several hosts. Raises `UsageError` if a worker cannot take part.

        Args:
            code: digest of the driver's source.
            plugins: plugins that every dask worker must be able to install.
            device: torch device of the jobs.
            timed: whether the run has timings. If it has, the environments may differ only in `MAY_DIFFER`.
        """
        infos: dict[str, DaskWorkerInfo] = {}
        for address, answer in self._client.run(inspect_worker, device, plugins, on_error="return").items():
            if not isinstance(answer, DaskWorkerInfo):
                reason = f"cannot load Carousel ({name_and_message(answer)}); install the same version there"
                raise UsageError(f"dask worker {address} {reason}")
            if answer.code != code:
                reason = f"runs different code ({answer.code}, here {code}); install the same version and restart it"
                raise UsageError(f"dask worker {address} {reason}")
            if not answer.can_start_processes:
                raise UsageError(f"dask worker {address} cannot start child processes; restart it with --no-nanny")
            infos[address] = answer
        first = next(iter(infos.values())).environment
        for address, info in infos.items():
            differences = environment_differences(first, info.environment).all
            different = [difference.field for difference in differences if difference.field not in MAY_DIFFER]
            if different and timed:
                raise UsageError(
                    f"dask worker {address} differs from the others in {', '.join(different)}: timings need identical "
                    "hardware and software; use identical hosts, or pass --measure accuracy"
                )
        hosts = {info.environment.host for info in infos.values()}
        return first if len(hosts) == 1 else first.model_copy(update={"host": None})


class _Client(Client):
    """Client that only its executor closes. Otherwise, a client that never connected is closed when it is deleted.

    That takes 20 s, and then writes a traceback.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]

    def __del__(self) -> None:
        pass


def _check_address(address: str) -> None:
    """Raise `ValueError` or `OSError` for an address that no scheduler can have. Dask itself would wait for it."""
    if address.endswith(".json"):
        Path(address).read_bytes()
        return
    scheme, location = parse_address(address)
    get_backend(scheme)
    if scheme in ("tcp", "tls", "ws", "wss"):
        parse_host_port(location)


class _OrderedEvents:
    """Events of dask workers, delivered for one job at a time per worker process.

    A worker process may start its next job before the result of its previous job arrives. The events of the next job
    are delayed until that result arrives.
    """

    def __init__(self, events: Events) -> None:
        self._events = events
        self._current: dict[str, int] = {}
        self._delayed: dict[str, list[Message]] = {}

    def receive(self, worker: str, job: Job, message: Message) -> None:
        """Deliver an event of the worker process `worker`. If its previous job has no result yet, delay the event."""
        kind, _, _, number, content = message
        if self._current.setdefault(worker, number) != number:
            self._delayed.setdefault(worker, []).append(message)
            return
        match kind:
            case "assigned":
                self._events.job_assigned(worker, job)
            case "started":
                seconds, note = content
                self._events.job_started(JobStarted(worker=worker, compiling_seconds=seconds, kernels_note=note))
            case "progressed":
                step, total_steps, score = content
                self._events.job_progressed(JobProgress(worker=worker, step=step, total_steps=total_steps, score=score))
            case "waiting":
                work, runs = content
                self._events.waiting_for_machine(worker, work, tuple(runs))

    def finish(self, worker: str, number: int, job: Job) -> list[Message]:
        """Note that job `number` has ended, and return the delayed events of the worker process `worker`.

        If no event of the job was delivered for `worker`, deliver the job's assignment now.
        """
        if self._current.pop(worker, None) != number:  # the job's events were lost with another dask worker
            self._events.job_assigned(worker, job)
        return self._delayed.pop(worker, [])


def is_no_late_cancel(record: logging.LogRecord) -> bool:
    """Return whether to keep a log record: False for the error of dask's `sync` after an early Ctrl-C, else True.

    If Ctrl-C arrives before `sync` has begun, `sync` cancels a future that is not assigned yet.
    """
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, NameError) and error.name == "future")
