"""The lanes of many machines: dask.distributed chooses which worker does a job, and does it elsewhere if one is lost.

One worker a host, with as many threads as it is to have lanes:

    dask scheduler
    dask worker tcp://SCHEDULER:8786 --nthreads 8 --no-nanny       on each host
    carousel run standard --scheduler tcp://SCHEDULER:8786

Records are written here, where the store is. On one machine `local.py` does the same without dask, whose event loop
and import cost more there than they give.
"""

from __future__ import annotations

import logging
import queue
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from distributed import Client, Future, KilledWorker

from bench.errors import UsageError
from bench.executors.dask_worker import RESOURCE, WHOLE, Identity, Member, do, identify, stop
from bench.executors.jobs import Failure, JobProgress, JobResult, JobStarted, work_of
from bench.machine.lock import Work
from bench.plugins.loader import Plugin
from results import Environment, Span

if TYPE_CHECKING:
    from bench.executors.jobs import Job

CONNECT_SECONDS = 10.0
POLL_SECONDS = 0.2
NO_LANE = "none"
"""Of a job that was lost with every worker that tried it."""
OF_ONE_MACHINE = ("host", "memory_bytes")
"""What may differ between hosts whose timings stand in one run."""


class DaskExecutor:
    """An executor over the workers of a running dask cluster; a context that leaves no job behind."""

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
        """Raises `UsageError` where the cluster cannot be reached, or a worker does not fit."""
        self._memory_bytes = memory_bytes
        self._topic = f"carousel-{secrets.token_hex(6)}"
        self._places: dict[str, str] = {}
        self._futures: dict[Future[Any], tuple[int, Job]] = {}
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        logging.getLogger("tornado.application").addFilter(is_no_late_cancel)
        try:
            where = {"scheduler_file": address} if address.endswith(".json") else {"address": address}
            self._client = Client(**where, timeout=CONNECT_SECONDS, set_as_default=False)
        except (TimeoutError, OSError, ValueError) as error:
            raise UsageError(f"--scheduler {address}: no dask scheduler answers there ({_line(error)})") from None
        try:
            self._client.wait_for_workers(1, timeout=CONNECT_SECONDS)
            self.environment = self._agreed(code, plugins, device, timed)
            self._client.register_plugin(Member(code))
            self._client.subscribe_topic(self._topic, lambda event: self._events.put(("told", event[1])))
        except (TimeoutError, OSError):
            self._client.close()
            raise UsageError(f"--scheduler {address}: it has no workers; start `dask worker {address}`") from None
        except BaseException:
            self._client.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._futures:
                self._client.cancel(list(self._futures), force=True)
                self._client.run(stop, self._topic, on_error="ignore")
        finally:
            self._client.close()

    @property
    def workers(self) -> int:
        return sum(self._workers().values())

    @property
    def machines(self) -> int:
        return len({self._place(address).partition("/")[0] for address in self._workers()})

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
        """As `Executor.work` says."""
        all_jobs: dict[int, Job] = {}
        shown: dict[str, int] = {}
        later: dict[str, list[Any]] = {}  # a worker may begin its next job before the end of its last is known here

        def hear(told: Any) -> None:
            what, address, lane, number, content = told
            name = f"{self._place(address)}/{lane}"
            if number not in {n for n, _ in self._futures.values()}:
                return
            if shown.setdefault(name, number) != number:
                later.setdefault(name, []).append(told)
            elif what == "start":
                on_start(name, all_jobs[number])
            elif what == "begin":
                on_begin(JobStarted(name, content))
            elif what == "wait":
                on_wait(name, content)
            else:
                on_advance(JobProgress(name, *content))

        waiting = enumerate(jobs)
        following = next(waiting, None)
        while self._futures or following is not None:
            # No more at a time than can run: what waits in a worker's queue stays there when another falls idle.
            while following is not None and len(self._futures) < self._room(following[1]):
                number, job = following
                all_jobs[number] = job
                self._submit(number, job, timeout, fresh)
                following = next(waiting, None)
            try:
                kind, content = self._events.get(timeout=POLL_SECONDS)
            except queue.Empty:
                self._check_connection()
                continue
            if kind == "told":
                hear(content)
            elif content in self._futures:
                number, job = self._futures.pop(content)
                ended = self._ended(content, job)
                if shown.pop(ended.worker, None) != number:
                    on_start(ended.worker, job)
                yield ended
                for told in later.pop(ended.worker, []):
                    hear(told)

    def _submit(self, number: int, job: Job, timeout: float | None, fresh: bool) -> None:
        shares = WHOLE if work_of(job) == "timing" else 1
        future = self._client.submit(
            do,
            number,
            job,
            self._topic,
            timeout,
            fresh,
            self._memory_bytes,
            key=f"{self._topic}-{work_of(job)}-{secrets.token_hex(6)}",
            resources={RESOURCE: shares},
            pure=False,
        )
        self._futures[future] = (number, job)
        future.add_done_callback(lambda done: self._events.put(("done", done)))

    def _ended(self, future: Future[Any], job: Job) -> JobResult:
        try:
            address: str
            ended: JobResult
            address, ended = future.result()
        except KilledWorker as error:
            lost = Failure("crashed", f"the workers that tried were lost: {_line(error)}")
            return JobResult(NO_LANE, job, lost, Span(work=work_of(job), worker=NO_LANE, began=0.0, ended=0.0))
        except CancelledError:
            raise UsageError(LOST) from None
        name = f"{self._place(address)}/{ended.worker}"
        return replace(ended, worker=name, job=job, span=ended.span.model_copy(update={"worker": name}))

    def _room(self, job: Job) -> int:
        workers = self._workers()
        return len(workers) if work_of(job) == "timing" else sum(workers.values())

    def _workers(self) -> dict[str, int]:
        """The threads of each worker that takes part, by its address."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        return {address: worker["nthreads"] for address, worker in workers.items() if RESOURCE in worker["resources"]}

    def _place(self, address: str) -> str:
        """A worker and its host by numbers: an address would name a machine of the user's."""
        if address not in self._places:
            host = address.rpartition(":")[0]
            hosts = list(dict.fromkeys([*(known.rpartition(":")[0] for known in self._places), host]))
            self._places[address] = f"host{hosts.index(host)}/worker{len(self._places)}"
        return self._places[address]

    def _check_connection(self) -> None:
        if self._client.status not in ("running", "connecting"):
            raise UsageError(LOST)

    def _agreed(self, code: str, plugins: Sequence[Plugin], device: str, timed: bool) -> Environment:
        """The environment of all workers. Raises `UsageError` for one that does not fit."""
        found: dict[str, Identity] = {}
        for address, answer in self._client.run(identify, device, plugins, on_error="return").items():
            if not isinstance(answer, Identity):
                reason = f"cannot run this Carousel ({_line(answer)}); install the same version there"
                raise UsageError(f"the worker {address} {reason}")
            if answer.code != code:
                reason = f"has other code ({answer.code}) than this ({code}); install the same and start it again"
                raise UsageError(f"the worker {address} {reason}")
            if not answer.can_have_lanes:
                raise UsageError(f"the worker {address} may not start lanes; start it with --no-nanny")
            found[address] = answer
        first = next(iter(found.values())).environment
        same = first.model_dump(exclude=set(OF_ONE_MACHINE))
        for address, answer in found.items():
            other = answer.environment.model_dump(exclude=set(OF_ONE_MACHINE))
            different = [field for field in same if same[field] != other[field]]
            if different and timed:
                raise UsageError(
                    f"the worker {address} differs from the others in {', '.join(different)}: timings of unlike "
                    "machines do not belong into one run; use like workers, or --measure accuracy"
                )
        hosts = {answer.environment.host for answer in found.values()}
        return first if len(hosts) == 1 else first.model_copy(update={"host": None})


LOST = "the dask scheduler is gone; what had ended is kept, and the same command goes on once it is back"


def is_no_late_cancel(record: logging.LogRecord) -> bool:
    """False for what dask's `sync` logs where Ctrl-C comes before it has begun: it cancels a name without value."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, NameError) and error.name == "future")


def _line(error: object) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
