"""An executor without worker processes, which runs jobs in this process and records their cases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import pytest

from bench.executors.base import WALL_CLOCK_OFFSET
from bench.executors.events import Events, JobProgress, JobStarted
from bench.executors.jobs import Job, JobResult
from bench.executors.worker_process import run_job
from results import Span


class Inline:
    """Replacement for `LocalExecutor` that runs jobs one after the other.

    `trained` and `timed` list the keys of the cases trained and timed so far. `fresh` lists whether each timing job
    asked for a fresh process. `failing` takes a job and returns its result, or None to run the job.
    """

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

    def run(self, jobs: Iterable[Job], *, timeout: float | None, fresh: bool, events: Events) -> Iterator[JobResult]:
        class Connection:
            def send(self, message: Any) -> None:
                step, total_steps, score = message[1]
                events.job_progressed(JobProgress(worker="0", step=step, total_steps=total_steps, score=score))

        for job in jobs:
            events.job_assigned("0", job)
            events.job_started(JobStarted(worker="0"))
            (self.trained if job.work == "training" else self.timed).extend(case.key for case in job.cases)
            self.fresh += [fresh] if job.work == "timing" else []
            failure = self.failing(job)
            began = WALL_CLOCK_OFFSET + time.monotonic()
            result = run_job(job, Connection()) if failure is None else failure  # type: ignore[arg-type]
            span = Span(work=job.work, worker="0", began=began, ended=WALL_CLOCK_OFFSET + time.monotonic())
            yield JobResult(worker="0", job=job, result=result, span=span)


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> Inline:
    executor = Inline()
    monkeypatch.setattr("bench.runner.run.LocalExecutor", executor)
    return executor
