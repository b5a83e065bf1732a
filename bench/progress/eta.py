"""How fast a run goes: what is left of it, by what its jobs were expected to take and what they took.

The pace of an architecture is seconds spent over seconds expected, of jobs that have ended and of parts of those that
run. Until much has been seen it leans on what all architectures have in common, and that on 1:

    pace  = (spent + TRUST · common) / (done + TRUST)                       (1)
    trust = done / (done + TRUST)                                           (2)
    common = exp(Σ trust · ln(spent / done) / (1 + Σ trust))                (3)  over architectures

So one architecture that was misjudged moves its own estimate fully, and that of the others by half.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.machine.lock import Work

TRUST_SECONDS = 20.0
"""Seconds of work that must have been done before the measured pace counts as much as the expected one."""
Sort = tuple[Work, str]
"""A kind of work, and what of it goes at one pace: the name of an architecture, or nothing for timings."""


@dataclass(slots=True)
class _Job:
    sort: Sort
    expected: float
    began: float | None = None
    """When a lane took it up: what comes before, its start or a wait for the machine, says nothing of the pace."""
    share: float = 0.0


@dataclass(slots=True)
class _Sort:
    left: float = 0.0
    """Expected seconds of jobs that have not ended."""
    done: float = 0.0
    """Expected seconds of jobs that have ended."""
    spent: float = 0.0
    """Seconds that these took."""


class EtaEstimator:
    """The pace of trainings, which share the lanes, and of timings, which go one at a time in each place."""

    def __init__(
        self,
        expected: Mapping[Sort, float],
        workers: int,
        *,
        timing_places: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sorts = {sort: _Sort(seconds) for sort, seconds in expected.items()}
        self._at_once: dict[Work, int] = {"training": max(1, workers), "timing": max(1, timing_places)}
        self._running: dict[str, _Job] = {}
        self._clock = clock

    def expect(self, sort: Sort, seconds: float) -> None:
        """So much is left of a sort, whatever was expected before."""
        self._sorts.setdefault(sort, _Sort()).left = seconds

    def start(self, worker: str, sort: Sort, expected_seconds: float) -> None:
        """A lane gets a job."""
        self._running[worker] = _Job(sort, expected_seconds)
        self._sorts.setdefault(sort, _Sort(expected_seconds))

    def begin(self, worker: str) -> None:
        """The lane takes it up."""
        self._running[worker].began = self._clock()

    def advance(self, worker: str, share: float) -> None:
        """So much of it is done."""
        self._running[worker].share = share

    def drop(self, worker: str) -> None:
        """A job was lost, and begins anew elsewhere."""
        del self._running[worker]

    def finish(self, worker: str) -> None:
        """A job has ended."""
        job = self._running.pop(worker)
        sort = self._sorts[job.sort]
        sort.left = max(0.0, sort.left - job.expected)
        if job.began is not None:
            sort.done += job.expected
            sort.spent += self._clock() - job.began

    @property
    def left_seconds(self) -> float:
        """Expected seconds to the end, corrected by the pace so far, running jobs included."""
        return self._left("training") + self._left("timing")

    def _left(self, work: Work) -> float:
        now = self._clock()
        sorts = [sort for sort in self._sorts if sort[0] == work]
        paces = self._paces(sorts, now)
        waiting, behind = 0.0, []
        for sort in sorts:
            running = [job for job in self._running.values() if job.sort == sort]
            waiting += max(0.0, self._sorts[sort].left - sum(job.expected for job in running)) * paces[sort]
            behind += [_job_left(job, paces[sort], now) for job in running]
        return max([(waiting + sum(behind)) / self._at_once[work], *behind])

    def _paces(self, sorts: list[Sort], now: float) -> dict[Sort, float]:
        seen = {sort: self._seen(sort, now) for sort in sorts}
        trusts = {sort: done / (done + TRUST_SECONDS) for sort, (done, _) in seen.items()}  # (2)
        logs = sum(trusts[sort] * math.log(spent / done) for sort, (done, spent) in seen.items() if done and spent)
        common = math.exp(logs / (1 + sum(trusts.values())))  # (3)
        return {
            sort: (spent + TRUST_SECONDS * common) / (done + TRUST_SECONDS)  # (1)
            for sort, (done, spent) in seen.items()
        }

    def _seen(self, sort: Sort, now: float) -> tuple[float, float]:
        """Of the jobs of a sort: expected seconds of what is done, and seconds spent on it."""
        done, spent = self._sorts[sort].done, self._sorts[sort].spent
        for job in self._running.values():
            if job.sort == sort and job.began is not None and job.share:
                done, spent = done + job.expected * job.share, spent + now - job.began
        return done, spent


def _job_left(job: _Job, pace: float, now: float) -> float:
    by_others = job.expected * pace
    if job.began is None:
        return by_others
    elapsed = now - job.began
    if not job.share:
        return max(by_others - elapsed, 0.0)
    by_itself = elapsed / job.share  # the further a job has come, the better it knows its own pace
    return (job.share * by_itself + (1 - job.share) * by_others) * (1 - job.share)
