"""What of a run is still to be done, and how long that will take."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass

import safetensors.torch
from safetensors import SafetensorError

from bench.probes.table import TIMING_PROBES
from bench.progress.estimates import DurationEstimator, family
from bench.progress.eta import Sort
from results import Case, Probe, Record, Run, RunFile

WEIGHTS = "weights.safetensors"
FAILED_STATUSES = ("crashed", "timeout", "out_of_memory")
"""What a run that is taken up again tries once more."""
TIMINGS: Sort = ("timing", "")


@dataclass(frozen=True, slots=True)
class Group:
    """Cases that are timed in turns by one fresh process: one task, length and seed."""

    repetition: int
    """How many processes have timed these cases before."""
    cases: tuple[Case, ...]


def timing_probes(file: RunFile) -> tuple[Probe, ...]:
    """The probes of a run that need a quiet machine."""
    return tuple(probe for probe in file.probes if probe in TIMING_PROBES)


def untrained(file: RunFile, records: dict[str, Record]) -> list[Case]:
    """The cases that have no record yet, or one that says that they failed."""
    return [case for case in file.cases if case.key not in records or records[case.key].status in FAILED_STATUSES]


def untimed(file: RunFile, records: dict[str, Record]) -> list[Group]:
    """The timings that trained cases lack, round by round: every group once, then every group again.

    Rounds lie apart in time, so that a machine that is slow for a while is slow for one round of many groups and
    not for all rounds of one.
    """
    timing = timing_probes(file)
    left = [
        (repetition, case)
        for case in file.cases
        if (record := records.get(case.key)) is not None and record.status == "ok" and not _has_failed(record, timing)
        for repetition in range(times_timed(record, timing), file.repeat if timing else 0)
    ]

    def group_of(one: tuple[int, Case]) -> tuple[int, str, int, int]:
        repetition, case = one
        return repetition, case.task, case.length, case.seed

    return [
        Group(repetition=key[0], cases=tuple(case for _, case in group))
        for key, group in itertools.groupby(sorted(left, key=group_of), key=group_of)
    ]


def times_timed(record: Record, timing: tuple[Probe, ...]) -> int:
    """Fresh processes that have timed this case."""
    return record.repetitions if all(probe in record.probes for probe in timing) else 0


def expected_seconds(file: RunFile, records: dict[str, Record], expectation: DurationEstimator) -> dict[Sort, float]:
    """Expected seconds of the trainings and of the timings that are left, each as if done one after the other."""
    training = untrained(file, records)
    timing = [case for group in untimed(file, records) for case in group.cases] + training * file.repeat
    left: dict[Sort, float] = defaultdict(float)
    for case in training:
        left["training", family(case)] += expectation.training_seconds(case)
    for case in timing:
        left[TIMINGS] += expectation.timing_seconds(case, file.probes)
    return left


def has_weights(run: Run, case: Case) -> bool:
    """Whether the trained weights of a case can be read."""
    try:
        return bool(safetensors.torch.load((run.artifacts(case.key) / WEIGHTS).read_bytes()))
    except (OSError, SafetensorError):
        return False


def _has_failed(record: Record, timing: tuple[Probe, ...]) -> bool:
    return any(record.probes[probe].status != "ok" for probe in timing if probe in record.probes)
