"""How long a run will take: from what earlier runs in the store took, else from the amount of work."""

from __future__ import annotations

import functools
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from bench.probes.table import TIMING_PROBES
from bench.training.schedule import total_steps
from results import Case, Probe, Record

ShapeKey = tuple[str, str, int, int | None, int | None, int]

SECONDS_PER_STEP = 45e-6
SECONDS_PER_FLOP = 1e-11
"""What a training step costs: for each step of the sequence, and for its products. Two numbers from one machine;
only a first guess, until the store knows better."""
FLOPS_PER_NUMBER = 6
"""Of a training step, for each parameter and step of a sequence, where the architecture does not say."""
SECONDS_PER_TIMED_CASE = 0.6
EVERY = "*"
"""Stands for all architectures; none is called so."""


class DurationEstimator:
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
                tested = sum(ran.seconds for probe, ran in record.probes.items() if probe not in TIMING_PROBES)
                self._training[_shape(record.case)].append(record.training.seconds + tested)
                share = record.training.steps / total_steps(record.case.protocol)
                if share > 0:  # training that stopped early says what its steps took, too
                    off = (record.training.seconds + tested) / (_guess(record.case) * share)
                    self._off_by[family(record.case)].append(off)
                    self._off_by[EVERY].append(off)
            timed = [ran.seconds for probe, ran in record.probes.items() if probe in TIMING_PROBES]
            if timed:
                self._timing[_shape(record.case)].append(sum(timed) / record.repetitions)

    def training_seconds(self, case: Case) -> float:
        """Expected seconds of training and testing."""
        seen = self._training.get(_shape(case))
        if seen:
            return statistics.median(seen)
        off_by = self._off_by.get(family(case)) or self._off_by.get(EVERY) or [1.0]
        return _guess(case) * statistics.median(off_by)

    def timing_seconds(self, case: Case, probes: Sequence[Probe]) -> float:
        """Expected seconds of all timing probes in one process."""
        if not any(probe in TIMING_PROBES for probe in probes):
            return 0.0
        seen = self._timing.get(_shape(case))
        return statistics.median(seen) if seen else SECONDS_PER_TIMED_CASE


def family(case: Case) -> str:
    """The architecture's name, without its options."""
    return case.arch.partition(":")[0]


def _guess(case: Case) -> float:
    length = max(1, case.length // 2) if case.protocol.train_lengths == "up_to" else case.length
    step = length * SECONDS_PER_STEP + _flops(_without_seed(case), length) * SECONDS_PER_FLOP
    return total_steps(case.protocol) * step


def _without_seed(case: Case) -> Case:
    return case.model_copy(update={"seed": 0})


@functools.cache
def _flops(case: Case, length: int) -> float:
    """FLOPs of a training step: by the architecture's closed form, else by the number of parameters."""
    import tasks
    from bench.training.model import train_step_flops

    try:
        stated = train_step_flops(case, tasks.build(case.task), length)
    except ValueError:  # a record of an architecture or a task that is not here
        stated = None
    numbers = case.params or 8 * case.depth * (case.width or 0) ** 2
    return stated or FLOPS_PER_NUMBER * numbers * case.protocol.batch * length


def _shape(case: Case) -> ShapeKey:
    return case.arch, case.task, case.length, case.params, case.width, total_steps(case.protocol)
