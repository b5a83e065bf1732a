"""How much of its lanes' time a run spent on what it is for: training and measuring, inside the probes."""

from __future__ import annotations

from dataclasses import dataclass

from bench.executors.jobs import JobResult, TrainingResult, TrainJob


@dataclass(slots=True)
class Utilization:
    """Seconds of trainings and of timings, and the wall time from the first job's beginning to the last one's end.

    Installation and the first import come before. A timing has its machine alone, so it uses all lanes.
    """

    training: float = 0.0
    timing: float = 0.0
    began: float | None = None
    ended: float = 0.0

    def add(self, ended: JobResult) -> None:
        """Count a job. One that was lost with its worker left nothing to count."""
        if ended.span.ended == 0:
            return
        self.began = ended.span.began if self.began is None else min(self.began, ended.span.began)
        self.ended = max(self.ended, ended.span.ended)
        result = ended.result
        if isinstance(result, TrainingResult):
            training = result.record.training
            probes = sum(ran.seconds for ran in result.record.probes.values())
            self.training += probes + (training.seconds if training is not None else 0.0)
        elif isinstance(ended.job, TrainJob) or not isinstance(result, dict):
            seconds = ended.span.ended - ended.span.began  # it failed: what it used is all that is known
            if isinstance(ended.job, TrainJob):
                self.training += seconds
            else:
                self.timing += seconds
        else:
            self.timing += sum(ran.seconds for timed in result.values() for ran in timed.probes.values())

    def share(self, workers: int, machines: int = 1) -> float | None:
        """Of lanes times wall time; None where nothing was done."""
        if self.began is None or self.ended <= self.began:
            return None
        return (self.training + self.timing * workers / machines) / (workers * (self.ended - self.began))
