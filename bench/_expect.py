"""How long a run will take: from what earlier runs in the store took, else from the amount of work."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from bench._plan import TIMED
from bench._train import total_steps
from results import Case, Probe, Record

ShapeKey = tuple[str, str, int, int | None, int | None, int]

SECONDS_PER_STEP = 45e-6
SECONDS_PER_NUMBER = 3e-11
"""What a training step costs for each step of the sequence: once, and again for each parameter of each sequence of
the batch. Two numbers from one machine; only a first guess, until the store knows better."""
SECONDS_PER_TIMED_CASE = 1.2
EVERY = "*"
"""Stands for all architectures; none is called so."""


class Expectation:
    """Expected seconds of cases, learned from records of the same architecture, task, length and size.

    What no record is like is guessed by the amount of its work, times what such guesses were off by: for that
    architecture, or else for all.
    """

    def __init__(self, history: Iterable[Record] = ()) -> None:
        self._training: dict[ShapeKey, list[float]] = defaultdict(list)
        self._timing: dict[ShapeKey, list[float]] = defaultdict(list)
        self._off_by: dict[str, list[float]] = defaultdict(list)
        for record in history:
            if record.training is not None:
                tested = sum(ran.seconds for probe, ran in record.probes.items() if probe not in TIMED)
                self._training[_shape(record.case)].append(record.training.seconds + tested)
                share = record.training.steps / total_steps(record.case.protocol)
                if share > 0:  # training that stopped early says what its steps took, too
                    off = (record.training.seconds + tested) / (_guess(record.case) * share)
                    self._off_by[_family(record.case)].append(off)
                    self._off_by[EVERY].append(off)
            timed = [ran.seconds for probe, ran in record.probes.items() if probe in TIMED]
            if timed:
                self._timing[_shape(record.case)].append(sum(timed) / record.repetitions)

    def training_seconds(self, case: Case) -> float:
        """Expected seconds of training and testing."""
        seen = self._training.get(_shape(case))
        if seen:
            return statistics.median(seen)
        off_by = self._off_by.get(_family(case)) or self._off_by.get(EVERY) or [1.0]
        return _guess(case) * statistics.median(off_by)

    def timing_seconds(self, case: Case, probes: Sequence[Probe]) -> float:
        """Expected seconds of all timing probes in one process."""
        if not any(probe in TIMED for probe in probes):
            return 0.0
        seen = self._timing.get(_shape(case))
        return statistics.median(seen) if seen else SECONDS_PER_TIMED_CASE


def _family(case: Case) -> str:
    return case.arch.partition(":")[0]


def _guess(case: Case) -> float:
    numbers = (case.params or 8 * case.depth * (case.width or 0) ** 2) * case.protocol.batch
    length = case.length / 2 if case.protocol.train_lengths == "up_to" else case.length
    return total_steps(case.protocol) * length * (SECONDS_PER_STEP + SECONDS_PER_NUMBER * numbers)


def _shape(case: Case) -> ShapeKey:
    return case.arch, case.task, case.length, case.params, case.width, total_steps(case.protocol)
