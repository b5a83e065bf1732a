"""Lanes without processes: jobs are done one after the other where they stand, and counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import pytest

from bench.executors.base import EPOCH
from bench.executors.jobs import Job, JobProgress, JobResult, JobStarted, work_of
from bench.executors.worker_process import run_job
from bench.machine.lock import Work
from results import Span


class Inline:
    """Takes the place of `Lanes`; `failing` says what comes of a job instead of doing it, or None."""

    workers = machines = 1

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.timed: list[str] = []
        self.fresh: list[bool] = []
        self.failing: Callable[[Job], Any] = lambda job: None

    def __call__(self, count: int, **_: object) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

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
        class Connection:
            def send(self, message: Any) -> None:
                on_advance(JobProgress("0", *message[1]))

        for job in jobs:
            on_start("0", job)
            on_begin(JobStarted("0"))
            work = work_of(job)
            (self.trained if work == "training" else self.timed).extend(case.key for case in job.cases)
            self.fresh += [fresh] if work == "timing" else []
            failure = self.failing(job)
            began = EPOCH + time.monotonic()
            result = run_job(job, Connection()) if failure is None else failure  # type: ignore[arg-type]
            yield JobResult("0", job, result, Span(work=work, worker="0", began=began, ended=EPOCH + time.monotonic()))


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> Inline:
    workers = Inline()
    monkeypatch.setattr("bench.runner.run.LocalExecutor", workers)
    return workers
