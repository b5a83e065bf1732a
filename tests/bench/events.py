"""Receivers of an executor's events: one ignores all events, and one records events for assertions."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.executors.events import JobProgress, JobStarted
from bench.executors.jobs import Job
from bench.machine.lock import Work


class NoEvents:
    """Receiver that ignores all events."""

    def job_assigned(self, worker: str, job: Job) -> None:
        pass

    def job_started(self, event: JobStarted) -> None:
        pass

    def job_progressed(self, event: JobProgress) -> None:
        pass

    def waiting_for_machine(self, worker: str, work: Work, runs: tuple[str, ...] = ()) -> None:
        pass


@dataclass
class RecordedEvents(NoEvents):
    """Receiver that records assignments, starts and progress for assertions."""

    assigned: list[Job] = field(default_factory=list)
    started: list[JobStarted] = field(default_factory=list)
    progress: list[JobProgress] = field(default_factory=list)

    def job_assigned(self, worker: str, job: Job) -> None:
        self.assigned.append(job)

    def job_started(self, event: JobStarted) -> None:
        self.started.append(event)

    def job_progressed(self, event: JobProgress) -> None:
        self.progress.append(event)
