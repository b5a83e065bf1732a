"""Lanes without processes: jobs are done one after the other where they stand, and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import pytest

from bench._lane import Advance, _do
from bench._work import Job, TimeJob, TrainJob


class Inline:
    """Takes the place of `Lanes`; `failing` says what comes of a job instead of doing it, or None."""

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.timed: list[str] = []
        self.failing: Callable[[Job], Any] = lambda job: None

    def __call__(self, count: int) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def work(
        self,
        jobs: Sequence[Job],
        *,
        timeout: float | None,
        on_start: Callable[[int, Job], None],
        on_advance: Callable[[Advance], None],
        alone: bool = False,
    ) -> Iterator[tuple[int, Job, Any]]:
        class Connection:
            def send(self, message: Any) -> None:
                on_advance(Advance(0, *message[1]))

        for job in jobs:
            on_start(0, job)
            done = self.trained if isinstance(job, TrainJob) else self.timed
            done += [case.key for case in job.cases]
            assert alone is isinstance(job, TimeJob)
            failure = self.failing(job)
            yield 0, job, _do(job, Connection()) if failure is None else failure  # type: ignore[arg-type]


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> Inline:
    lanes = Inline()
    monkeypatch.setattr("bench._run.Lanes", lanes)
    return lanes
