"""Expected durations of jobs: measured in earlier runs, or derived from the amount of work."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from bench.executors.jobs import Job, TrainJob
from bench.progress.eta import TIMING, JobKind
from bench.progress.work import work_of
from bench.training.schedule import total_steps
from results import TIMING_PROBES, Case, Probe, Record, Span
from results.specs import Spec

SECONDS_PER_TIMED_CASE = 0.6
SECONDS_PER_START = 3.0
"""Seconds until a new worker process begins its first job, without earlier runs."""
LONGEST_START = 60.0
"""The longest gap between training and timing that is taken for a start; in a longer one, the run waited."""
PRIOR_SECONDS = 3.0
"""Seconds that are added to the measured and to the derived time of a record before their ratio is taken. A short
training spends most of its time on what happens once, and says little about a long one."""
ALL_ARCHS = "*"
"""Key of the corrections of all architectures; no architecture has this name."""


class DurationEstimator:
    """Estimator of job durations: the median over earlier records of the same case with any seed and learning rate.

    If there is no such record, the time of training and tests is derived from the amount of work. The derived time is
    multiplied by a correction: the median ratio of measured to derived time, both with `PRIOR_SECONDS` more. The median
    is over records of the same architecture, or over all records if the architecture has no record.

    The time until a worker process begins its first job is the median gap between training and timing in earlier runs.
    """

    def __init__(self, history: Iterable[Record] = ()) -> None:
        self._training: dict[Case, list[float]] = defaultdict(list)
        self._testing: dict[Case, list[float]] = defaultdict(list)
        self._timing: dict[Case, list[float]] = defaultdict(list)
        self._corrections: dict[str, list[float]] = defaultdict(list)
        spans: list[Span] = []
        for record in history:
            spans += record.spans
            if record.training is not None:
                testing = sum(ran.seconds for probe, ran in record.probes.items() if probe not in TIMING_PROBES)
                seconds = record.training.seconds + testing
                self._training[_shape(record.case)].append(seconds)
                self._testing[_shape(record.case)].append(testing)
                share = record.training.steps / total_steps(record.case.protocol)
                if share > 0:  # if training stopped early, compare it with the work it has done
                    work = work_of(record.case)
                    derived = work.training * share + (work.testing if testing else 0.0)
                    correction = (seconds + PRIOR_SECONDS) / (derived + PRIOR_SECONDS)
                    self._corrections[arch_name(record.case)].append(correction)
                    self._corrections[ALL_ARCHS].append(correction)
            timed = [ran.seconds for probe, ran in record.probes.items() if probe in TIMING_PROBES]
            if timed:
                self._timing[_shape(record.case)].append(sum(timed) / record.repetitions)
        self.start_seconds = statistics.median(_starts(spans) or [SECONDS_PER_START])
        """Expected seconds until a new worker process begins its first job."""

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
        return work_of(case).total * self._correction(case)

    def testing_seconds(self, case: Case) -> float:
        """Return the part of `training_seconds` that is spent on tests."""
        earlier = self._testing.get(_shape(case))
        return statistics.median(earlier) if earlier else work_of(case).testing * self._correction(case)

    def training_share(self, job: Job) -> float:
        """Return the share of the expected seconds of a job before its tests; 1 for a timing job."""
        if not isinstance(job, TrainJob) or not (seconds := self.training_seconds(job.case)):
            return 1.0
        return 1 - self.testing_seconds(job.case) / seconds

    def _correction(self, case: Case) -> float:
        corrections = self._corrections.get(arch_name(case)) or self._corrections.get(ALL_ARCHS) or [1.0]
        return statistics.median(corrections)

    def timing_seconds(self, case: Case, probes: Sequence[Probe]) -> float:
        """Return the expected seconds that one process spends on the timing probes of a case."""
        if not any(probe in TIMING_PROBES for probe in probes):
            return 0.0
        earlier = self._timing.get(_shape(case))
        return statistics.median(earlier) if earlier else SECONDS_PER_TIMED_CASE


def _starts(spans: Iterable[Span]) -> list[float]:
    """Return the seconds between training and the timing that follows it, in which a new worker process starts."""
    seconds, ended = [], 0.0
    previous: Span | None = None
    for span in sorted(spans, key=lambda span: span.began):
        gap = span.began - ended
        if previous is not None and previous.work == "training" and span.work == "timing" and 0 <= gap <= LONGEST_START:
            seconds.append(gap)
        previous, ended = span, max(ended, span.ended)
    return seconds


def job_kind(job: Job) -> JobKind:
    """Return the kind of a job. All jobs of one kind share one slowdown."""
    return training_kind(job.case) if isinstance(job, TrainJob) else TIMING


def training_kind(case: Case) -> JobKind:
    """Return the kind of a case's training job."""
    return "training", arch_name(case)


def arch_name(case: Case) -> str:
    """Return the name of a case's architecture, without its options."""
    return Spec.parse_stored(case.arch).name


def _shape(case: Case) -> Case:
    """Return the case without what hardly changes its duration: its seed and its learning rate."""
    protocol = case.protocol.model_copy(update={"learning_rate": None})
    return case.model_copy(update={"seed": 0, "protocol": protocol, "tuning": None})
