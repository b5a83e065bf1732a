"""Expected durations of jobs: measured in earlier runs, or derived from the amount of work."""

from __future__ import annotations

import functools
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from bench.executors.jobs import Job, TrainJob
from bench.progress.eta import TIMING, JobKind
from bench.training.schedule import total_steps
from results import TIMING_PROBES, Budget, Case, Probe, Record
from results.specs import Spec

CaseShape = tuple[str, str, int, Budget | None, int]
"""Properties that decide how long a case takes: arch, task, length, budget of the model and training steps."""

SECONDS_PER_STEP = 45e-6
"""Seconds of a training step per time step of a sequence, whatever the model. A first guess from one machine."""
SECONDS_PER_FLOP = 1e-11
"""Additional seconds of a training step per FLOP. A first guess from the machine of `SECONDS_PER_STEP`."""
FLOPS_PER_PARAMETER = 6
"""FLOPs of a training step per parameter and per time step of one sequence, if the architecture states no FLOPs."""
SECONDS_PER_TIMED_CASE = 0.6
ALL_ARCHS = "*"
"""Key of the corrections of all architectures; no architecture has this name."""


class DurationEstimator:
    """Estimator of job durations: the median over earlier records with the same `CaseShape`.

    If there is no such record, training time is derived from the amount of work. The derived time is multiplied by a
    correction: the median ratio of measured to derived time. The median is over records of the same architecture, or
    over all records if the architecture has no record.
    """

    def __init__(self, history: Iterable[Record] = ()) -> None:
        self._training: dict[CaseShape, list[float]] = defaultdict(list)
        self._timing: dict[CaseShape, list[float]] = defaultdict(list)
        self._corrections: dict[str, list[float]] = defaultdict(list)
        for record in history:
            if record.training is not None:
                testing = sum(ran.seconds for probe, ran in record.probes.items() if probe not in TIMING_PROBES)
                seconds = record.training.seconds + testing
                self._training[_shape(record.case)].append(seconds)
                share = record.training.steps / total_steps(record.case.protocol)
                if share > 0:  # if training stopped early, compare it with the work it has done
                    correction = seconds / (_seconds_by_work(record.case) * share)
                    self._corrections[arch_name(record.case)].append(correction)
                    self._corrections[ALL_ARCHS].append(correction)
            timed = [ran.seconds for probe, ran in record.probes.items() if probe in TIMING_PROBES]
            if timed:
                self._timing[_shape(record.case)].append(sum(timed) / record.repetitions)

    def job_seconds(self, job: Job) -> float:
        """Return the expected seconds of a job."""
        if isinstance(job, TrainJob):
            return self.training_seconds(job.case)
        return sum(self.timing_seconds(case, job.probes) for case in job.cases)

    def training_seconds(self, case: Case) -> float:
        """Return the expected seconds of training and testing a case."""
        earlier = self._training.get(_shape(case))
        if earlier:
            return statistics.median(earlier)
        corrections = self._corrections.get(arch_name(case)) or self._corrections.get(ALL_ARCHS) or [1.0]
        return _seconds_by_work(case) * statistics.median(corrections)

    def timing_seconds(self, case: Case, probes: Sequence[Probe]) -> float:
        """Return the expected seconds that one process spends on the timing probes of a case."""
        if not any(probe in TIMING_PROBES for probe in probes):
            return 0.0
        earlier = self._timing.get(_shape(case))
        return statistics.median(earlier) if earlier else SECONDS_PER_TIMED_CASE


def job_kind(job: Job) -> JobKind:
    """Return the kind of a job. All jobs of one kind share one slowdown."""
    return training_kind(job.case) if isinstance(job, TrainJob) else TIMING


def training_kind(case: Case) -> JobKind:
    """Return the kind of a case's training job."""
    return "training", arch_name(case)


def arch_name(case: Case) -> str:
    """Return the name of a case's architecture, without its options."""
    return Spec.parse_stored(case.arch).name


def _seconds_by_work(case: Case) -> float:
    length = max(1, case.length // 2) if case.protocol.train_lengths == "up_to" else case.length
    step = length * SECONDS_PER_STEP + _flops(_model_and_data(case), length) * SECONDS_PER_FLOP
    return total_steps(case.protocol) * step


def _model_and_data(case: Case) -> Case:
    """Return the case without what does not change its FLOPs: its seed, its learning rate and its purpose."""
    protocol = case.protocol.model_copy(update={"learning_rate": None})
    return case.model_copy(update={"seed": 0, "protocol": protocol, "tuning": None, "purpose": "report"})


@functools.cache
def _flops(case: Case, length: int) -> float:
    """Return the FLOPs of a training step on sequences of `length` steps.

    The FLOPs are estimated from the number of parameters if the architecture states none. They are also estimated if
    the architecture or the task is not installed.
    """
    import tasks
    from bench.training.model import train_step_flops

    try:
        stated = train_step_flops(case, tasks.build(case.task), length)
    except ValueError:  # an earlier record names an architecture or a task that is not installed
        stated = None
    return stated or FLOPS_PER_PARAMETER * _parameters(case) * case.protocol.batch * length


def _parameters(case: Case) -> int:
    """Return a guess of the number of parameters, from the budget alone. A layer is taken for an LSTM's."""
    if case.step_flops is not None:
        return case.step_flops // 2
    width = case.width or (case.state or 0) // (8 * case.depth)
    return case.params or 8 * case.depth * width**2


def _shape(case: Case) -> CaseShape:
    return case.arch, case.task, case.length, case.budget, total_steps(case.protocol)
