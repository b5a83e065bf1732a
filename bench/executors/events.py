"""Events of running jobs, and the protocol of their receiver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bench.executors.jobs import Job
from bench.machine.lock import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted:
    """Start of a job. Its worker process has started up, and the machine lock is held for the job."""

    worker: str
    compiling_seconds: float = 0.0
    """Seconds that the worker process spent on compiling kernels before its first job; 0 for its later jobs."""
    kernels_note: str | None = None
    """What is unusual about the worker's kernels, such as a missing compiler; None if nothing is."""
    kernels_are_kept: bool = True
    """Whether later runs find the compiled kernels. Those of a git revision are removed with its temporary folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """Progress of a training job."""

    worker: str
    step: int
    """Training steps done so far."""
    total_steps: int
    score: float
    """Latest validation score."""


class Events(Protocol):
    """Receiver of the events of an executor's jobs."""

    def job_assigned(self, worker: str, job: Job) -> None:
        """Handle the assignment of a job to `worker`. The job starts later, when the worker is ready."""

    def job_started(self, event: JobStarted) -> None:
        """Handle the start of a job."""

    def job_progressed(self, event: JobProgress) -> None:
        """Handle the progress of a training job."""

    def waiting_for_machine(self, worker: str, work: Work, runs: tuple[str, ...] = ()) -> None:
        """Handle a wait: `worker` waits for the machine lock, which it needs for `work`.

        `runs` are the ids of the runs for which it waits; empty if they are unknown.
        """
