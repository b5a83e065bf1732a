"""The work of a run that is not done yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from bench.machine.lock import Work
from bench.progress.estimates import DurationEstimator, training_kind
from bench.progress.eta import TIMING, JobKind
from results import TIMING_PROBES, Case, Probe, Record, RunFile, chosen_rate

FAILED_STATUSES = ("crashed", "timeout", "out_of_memory")
"""Statuses of records whose cases are trained again when a run is resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingGroup:
    """Cases of one task, length and seed, which one process times in alternation."""

    repetition: int
    """Number of processes that have timed these cases before."""
    cases: tuple[Case, ...]


class Pending:
    """The cases of a run that are untrained or untimed, kept up to date as records arrive."""

    def __init__(self, file: RunFile, records: Mapping[str, Record], estimator: DurationEstimator) -> None:
        """Find the pending work of a run.

        Args:
            file: the run's `run.json`, which lists its cases.
            records: the records that the run has so far, by case key.
            estimator: estimates the duration of jobs.
        """
        self.file, self.estimator = file, estimator
        self.timing_probes: tuple[Probe, ...] = tuple(probe for probe in file.probes if probe in TIMING_PROBES)
        """Probes of the run that need a quiet machine."""
        self.records = dict(records)
        """Current record of each case, by its key."""
        self._untrained: set[str] = set()
        self._missing_repetitions: dict[str, range] = {}
        for case in file.cases:
            self._update(case)

    def add(self, record: Record) -> None:
        """Add or replace the record of a case."""
        self.records[record.key] = record
        self._update(record.case)

    def discard_record(self, case: Case) -> None:
        """Drop the record of a case, so that the case becomes untrained."""
        del self.records[case.key]
        self._update(case)

    def _update(self, case: Case) -> None:
        record = self.records.get(case.key)
        self._untrained.discard(case.key)
        self._missing_repetitions.pop(case.key, None)
        if record is None or record.status in FAILED_STATUSES:
            self._untrained.add(case.key)
        elif missing := self._missing_repetitions_of(record):
            self._missing_repetitions[case.key] = missing

    def _missing_repetitions_of(self, record: Record) -> range:
        """Return the numbers of the missing timing repetitions of a case that has a record.

        The range is empty if the run has no timing probes, or if the case only serves to choose a learning rate. It is
        also empty if the status of the record or of a timing probe is not `ok`.
        """
        if not record.case.is_reported:
            return range(0)
        ran = [record.probes[probe] for probe in self.timing_probes if probe in record.probes]
        if record.status != "ok" or not self.timing_probes or any(probe.status != "ok" for probe in ran):
            return range(0)
        times_timed = record.repetitions if len(ran) == len(self.timing_probes) else 0
        return range(times_timed, self.file.repeat)

    @property
    def untrained(self) -> list[Case]:
        """Cases without a record or with a status in `FAILED_STATUSES`, in the order of the plan."""
        return [case for case in self.file.cases if case.key in self._untrained]

    @property
    def untuned(self) -> list[Case]:
        """Those of `untrained` that only serve to choose learning rates."""
        return [case for case in self.untrained if not case.is_reported]

    def chosen_rate(self, case: Case) -> float | None:
        """Return the learning rate that tuning chooses for a tuned case; None if no rate has a usable record."""
        return chosen_rate(case, self.records)

    @property
    def unchosen(self) -> list[Case]:
        """Untrained cases to report, for which tuning cannot choose a learning rate."""
        return [
            case
            for case in self.untrained
            if case.is_reported and case.tuning is not None and self.chosen_rate(case) is None
        ]

    @property
    def trainable(self) -> list[Case]:
        """Untrained cases to report that have a learning rate."""
        unchosen = {case.key for case in self.unchosen}
        return [case for case in self.untrained if case.is_reported and case.key not in unchosen]

    @property
    def outdated(self) -> list[Case]:
        """Trained cases whose learning rate is not the chosen one.

        This happens only if a tuning case that had failed, or whose record was damaged, has now another result.
        """
        trained = [
            (case, record.training.learning_rate)
            for case in self.file.reported_cases
            if case.tuning is not None and case.key not in self._untrained
            if (record := self.records[case.key]).training is not None
        ]
        rates = {setting: self.chosen_rate(setting) for setting in {case.setting for case, _ in trained}}
        return [case for case, rate in trained if rates[case.setting] not in (None, rate)]

    @property
    def untimed(self) -> list[Case]:
        """Trained cases with missing timing repetitions, in the order of the plan."""
        return [case for case in self.file.cases if case.key in self._missing_repetitions]

    @property
    def count(self) -> int:
        """Number of cases that are untrained or untimed."""
        return len(self._untrained) + len(self._missing_repetitions)

    @property
    def timing_groups(self) -> list[TimingGroup]:
        """Groups of cases to time, in rounds: every group once, then every group again.

        The rounds of a group are spread over time. A slow phase of the machine therefore does not affect all of them.
        """
        groups: defaultdict[tuple[int, str, int, int], list[Case]] = defaultdict(list)
        for case in self.untimed:
            for repetition in self._missing_repetitions[case.key]:
                groups[_group_key(repetition, case)].append(case)
        return [TimingGroup(repetition=key[0], cases=tuple(cases)) for key, cases in sorted(groups.items())]

    @property
    def timing_seconds(self) -> float:
        """Expected seconds of the missing timings of trained cases, run one after the other."""
        return sum(
            len(self._missing_repetitions[case.key]) * self.estimator.timing_seconds(case, self.timing_probes)
            for case in self.untimed
        )

    @property
    def tuning_seconds(self) -> float:
        """Expected seconds of the training that only serves to choose learning rates, run one after the other."""
        return sum(self.estimator.training_seconds(case) for case in self.untuned)

    @property
    def testing_seconds(self) -> float:
        """Expected seconds of all tests of untrained cases, run one after the other. They are part of `job_seconds`."""
        return sum(self.estimator.testing_seconds(case) for case in self.untrained)

    @property
    def job_seconds(self) -> float:
        """Expected seconds of the training jobs of untrained cases, with their tests, run one after the other."""
        return sum(self.estimator.training_seconds(case) for case in self.untrained)

    def starts(self, workers: int, machines: int = 1) -> dict[Work, int]:
        """Return the number of worker processes that will start, by their work.

        Each worker trains in one process. With several repetitions, each timing job gets a new process; otherwise one
        process per machine runs them all.
        """
        untrained = self.untrained
        groups = {
            _group_key(repetition, case)
            for case in [*untrained, *self.untimed]
            if case.is_reported and self.timing_probes
            for repetition in self._missing_repetitions.get(case.key, range(self.file.repeat))
        }
        timing = len(groups) if self.file.repeat > 1 else min(machines, len(groups))
        return {"training": min(workers, len(untrained)), "timing": timing}

    @property
    def expected_seconds(self) -> dict[JobKind, float]:
        """Expected seconds of all pending jobs of each kind, run one after the other."""
        expected: dict[JobKind, float] = defaultdict(float)
        expected[TIMING] = self.timing_seconds
        for case in self.untrained:
            expected[training_kind(case)] += self.estimator.training_seconds(case)
            if case.is_reported:
                expected[TIMING] += self.file.repeat * self.estimator.timing_seconds(case, self.timing_probes)
        return dict(expected)


def _group_key(repetition: int, case: Case) -> tuple[int, str, int, int]:
    """Return what the cases of a timing group share."""
    return repetition, case.task, case.length, case.seed
