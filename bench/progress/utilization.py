"""Share of a run's worker time that is spent on training and measuring."""

from __future__ import annotations

from dataclasses import dataclass

from bench.executors.jobs import JobResult, TrainingResult, TrainJob


@dataclass(slots=True)
class Utilization:
    """Seconds of useful work, and the wall time from the first job's start to the last job's end.

    The wall time excludes the start of the command and its first imports. A timing job counts for all workers of its
    machine, because the other workers must be idle meanwhile.
    """

    training: float = 0.0
    timing: float = 0.0
    began: float | None = None
    ended: float = 0.0

    def add(self, result: JobResult) -> None:
        """Add the times of a job.

        A job that was lost with its dask worker is ignored, because its times are unknown.
        """
        if result.span.ended == 0:
            return
        self.began = result.span.began if self.began is None else min(self.began, result.span.began)
        self.ended = max(self.ended, result.span.ended)
        content = result.result
        if isinstance(content, TrainingResult):
            training = content.record.training
            probes = sum(ran.seconds for ran in content.record.probes.values())
            self.training += probes + (training.seconds if training is not None else 0.0)
        elif isinstance(content, dict):
            self.timing += sum(ran.seconds for timed in content.values() for ran in timed.probes.values())
        elif isinstance(result.job, TrainJob):  # a failed job: only its whole duration is known
            self.training += result.span.ended - result.span.began
        else:
            self.timing += result.span.ended - result.span.began

    def share(self, workers: int, machines: int = 1) -> float | None:
        """Return (training + timing · workers / machines) / (workers · wall time), or None if no job was counted.

        `workers` and `machines` are the numbers in the whole run.
        """
        if self.began is None or self.ended <= self.began:
            return None
        return (self.training + self.timing * workers / machines) / (workers * (self.ended - self.began))
