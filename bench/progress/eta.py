"""Estimate the remaining time of a run from the expected and the measured durations of its jobs.

Jobs are grouped by kind: training jobs by architecture, and all timing jobs together. The slowdown of a kind is the
ratio of measured to expected time. It covers finished jobs and the finished parts of running jobs. The slowdown of each
kind is shrunk towards a common slowdown, and the common slowdown is shrunk towards 1:

    slowdown = (spent + PRIOR · common) / (done + PRIOR)                          (1)
    weight   = done / (done + PRIOR)                                              (2)
    common   = exp(Σ weight · ln(spent / done) / (1 + Σ weight))                  (3)  over kinds

`done` and `spent` are expected and measured seconds of finished work, and PRIOR is `PRIOR_SECONDS`. The common slowdown
of training jobs is independent of that of timing jobs.

A new worker process imports its libraries before it begins its first job. This time belongs to no job. It is added for
each process that is still to start.

Suppose that only one architecture has finished work, and that it is misjudged by a factor. Its own estimate is soon
corrected by that factor. The estimates of the other architectures are soon corrected by the square root of the factor.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.machine.lock import Work

PRIOR_SECONDS = 20.0
"""Expected seconds of finished work after which a kind's measured slowdown weighs as much as the common one."""
JobKind = tuple[Work, str]
"""Kind of jobs that share one slowdown: the work, and the name of the architecture (empty for timing jobs)."""
TIMING: JobKind = ("timing", "")


@dataclass(slots=True)
class _RunningJob:
    kind: JobKind
    expected: float
    started: float | None = None
    """Start time in seconds; None until the worker has started up and holds the machine lock."""
    fraction: float = 0.0


@dataclass(slots=True)
class _KindTotals:
    remaining: float = 0.0
    """Expected seconds of unfinished jobs."""
    done: float = 0.0
    """Expected seconds of finished jobs."""
    spent: float = 0.0
    """Measured seconds of finished jobs."""


class EtaEstimator:
    """Estimator of a run's remaining time.

    Training jobs run in parallel on all workers, timing jobs one at a time per machine.
    """

    def __init__(
        self,
        expected: Mapping[JobKind, float],
        workers: int,
        *,
        machines: int = 1,
        starts: Mapping[Work, int] | None = None,
        start_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create an estimator for a run that is about to start.

        Args:
            expected: expected total seconds of the jobs of each kind, run one after the other.
            workers: number of training jobs that run in parallel.
            machines: number of timing jobs that run in parallel.
            starts: number of worker processes that will start, by their work; None for none.
            start_seconds: expected seconds until a new process begins its first job.
            clock: returns the current time in seconds.
        """
        self._totals = {kind: _KindTotals(seconds) for kind, seconds in expected.items()}
        self._parallel: dict[Work, int] = {"training": max(1, workers), "timing": max(1, machines)}
        self._starts = dict(starts or {})
        self._start_seconds = start_seconds
        self._running: dict[str, _RunningJob] = {}
        self._clock = clock

    def set_remaining(self, kind: JobKind, seconds: float) -> None:
        """Replace the expected seconds of the unfinished jobs of a kind."""
        self._totals.setdefault(kind, _KindTotals()).remaining = seconds

    def assign(self, worker: str, kind: JobKind, expected_seconds: float) -> None:
        """Note that `worker` has been assigned a job of `kind` that is expected to take `expected_seconds`."""
        self._running[worker] = _RunningJob(kind, expected_seconds)
        self._totals.setdefault(kind, _KindTotals(expected_seconds))

    def start(self, worker: str) -> None:
        """Note that a worker has begun to run its job."""
        job = self._running[worker]
        job.started = self._clock()
        work, _ = job.kind
        self._starts[work] = max(0, self._starts.get(work, 0) - 1)

    def advance(self, worker: str, fraction: float) -> None:
        """Note the finished fraction of a worker's job."""
        self._running[worker].fraction = fraction

    def discard(self, worker: str) -> None:
        """Forget the job of a lost worker. Another worker will rerun the job from the beginning."""
        del self._running[worker]

    def finish(self, worker: str) -> None:
        """Note that a worker's job has ended."""
        job = self._running.pop(worker)
        totals = self._totals[job.kind]
        totals.remaining = max(0.0, totals.remaining - job.expected)
        if job.started is not None:
            totals.done += job.expected
            totals.spent += self._clock() - job.started

    @property
    def remaining_seconds(self) -> float:
        """Estimated seconds until all jobs have ended."""
        return self._remaining("training") + self._remaining("timing")

    def _remaining(self, work: Work) -> float:
        now = self._clock()
        kinds = [kind for kind in self._totals if kind[0] == work]
        slowdowns = self._slowdowns(kinds, now)
        queued, running = 0.0, []
        for kind in kinds:
            jobs = [job for job in self._running.values() if job.kind == kind]
            queued += max(0.0, self._totals[kind].remaining - sum(job.expected for job in jobs)) * slowdowns[kind]
            running += [_remaining_of(job, slowdowns[kind], now) for job in jobs]
        starting = self._starts.get(work, 0) * self._start_seconds / self._parallel[work]
        return starting + max([(queued + sum(running)) / self._parallel[work], *running])

    def _slowdowns(self, kinds: list[JobKind], now: float) -> dict[JobKind, float]:
        measured = {kind: self._measured(kind, now) for kind in kinds}
        weights = {kind: done / (done + PRIOR_SECONDS) for kind, (done, _) in measured.items()}  # (2)
        logs = sum(weights[kind] * math.log(spent / done) for kind, (done, spent) in measured.items() if done and spent)
        common = math.exp(logs / (1 + sum(weights.values())))  # (3)
        return {
            kind: (spent + PRIOR_SECONDS * common) / (done + PRIOR_SECONDS)  # (1)
            for kind, (done, spent) in measured.items()
        }

    def _measured(self, kind: JobKind, now: float) -> tuple[float, float]:
        """Return the expected and the measured seconds of all finished work of `kind`.

        The finished parts of running jobs are included. `now` is the current time in seconds.
        """
        done, spent = self._totals[kind].done, self._totals[kind].spent
        for job in self._running.values():
            if job.kind == kind and job.started is not None and job.fraction:
                done, spent = done + job.expected * job.fraction, spent + now - job.started
        return done, spent


def _remaining_of(job: _RunningJob, slowdown: float, now: float) -> float:
    total_by_kind = job.expected * slowdown
    if job.started is None:
        return total_by_kind
    elapsed = now - job.started
    if not job.fraction:
        return max(total_by_kind - elapsed, 0.0)
    total_by_itself = elapsed / job.fraction
    # The further a job has come, the more its own speed says about its remaining time.
    return (job.fraction * total_by_itself + (1 - job.fraction) * total_by_kind) * (1 - job.fraction)
