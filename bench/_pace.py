"""How fast a run goes: what is left of it, by what its jobs were expected to take and what they took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from bench._holding import Work

TRUST_SECONDS = 5.0
"""Seconds of work that must have been done before the measured pace counts as much as the expected one."""


@dataclass(slots=True)
class _Job:
    work: Work
    expected: float
    began: float
    share: float | None = None


@dataclass(slots=True)
class _Kind:
    left: float
    """Expected seconds of jobs that have not ended."""
    expected: float = 0.0
    """Of the jobs that have ended."""
    spent: float = 0.0


class Pace:
    """The pace of trainings, which share the lanes, and of timings, which go one at a time in each place."""

    def __init__(
        self,
        training_seconds: float,
        timing_seconds: float,
        lanes: int,
        *,
        timing_places: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kinds: dict[Work, _Kind] = {"training": _Kind(training_seconds), "timing": _Kind(timing_seconds)}
        self._at_once: dict[Work, int] = {"training": max(1, lanes), "timing": max(1, timing_places)}
        self._running: dict[str, _Job] = {}
        self._clock = clock

    def start(self, lane: str, work: Work, expected_seconds: float) -> None:
        self._running[lane] = _Job(work, expected_seconds, self._clock())

    def advance(self, lane: str, share: float) -> None:
        self._running[lane].share = share

    def drop(self, lane: str) -> None:
        """A job was lost, and begins anew elsewhere."""
        del self._running[lane]

    def finish(self, lane: str) -> None:
        job = self._running.pop(lane)
        kind = self._kinds[job.work]
        kind.left = max(0.0, kind.left - job.expected)
        kind.expected += job.expected
        kind.spent += self._clock() - job.began

    @property
    def left_seconds(self) -> float:
        """Expected seconds to the end, corrected by the pace so far, running jobs included."""
        return self._left("training") + self._left("timing")

    def _left(self, work: Work) -> float:
        kind, now = self._kinds[work], self._clock()
        running = [job for job in self._running.values() if job.work == work]
        told = [job for job in running if job.share]
        done = kind.expected + sum(job.expected * (job.share or 0.0) for job in told)
        spent = kind.spent + sum(now - job.began for job in told)
        # The pace is 1 where nothing has been seen yet, and what was seen later on.
        pace = (spent + TRUST_SECONDS) / (done + TRUST_SECONDS)
        behind = [self._job_left(job, pace, now) for job in running]
        waiting = max(0.0, kind.left - sum(job.expected for job in running)) * pace
        return max([(waiting + sum(behind)) / self._at_once[work], *behind])

    def _job_left(self, job: _Job, pace: float, now: float) -> float:
        elapsed = now - job.began
        if job.share:  # the further a job has come, the better it knows its own pace
            own, others = elapsed / job.share, job.expected * pace
            return (job.share * own + (1 - job.share) * others) * (1 - job.share)
        return max(job.expected * pace - elapsed, 0.0)
