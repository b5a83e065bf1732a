"""The work of a case in seconds: training, validation and tests, derived from lengths, sequences and FLOPs.

A training step on a batch of T time steps, and an evaluation of N sequences of T steps with R sequences per forward
pass, take about

    training step = T · SECONDS_PER_STEP + FLOPs · SECONDS_PER_FLOP                          (1)
    evaluation    = ⌈N / R⌉ · T · SECONDS_PER_STEP / 3 + FLOPs · SECONDS_PER_FLOP            (2)

because a training step goes through the model three times. A step of guessing is an evaluation of its batch. The
constants are first guesses from one machine. `bench.progress.estimates` corrects them by measured durations.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.training.schedule import total_steps
from results import Case, Protocol

if TYPE_CHECKING:
    import arch

SECONDS_PER_STEP = 45e-6
"""Seconds of a training step per time step of a sequence, whatever the model."""
SECONDS_PER_FLOP = 1e-11
"""Additional seconds per FLOP."""
FLOPS_PER_PARAMETER = 6
"""FLOPs of a training step per parameter and per time step of one sequence, if the architecture states no FLOPs."""
PASSES = 3
"""Passes through the model in a training step: one forward, and two backward that cost as much each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Expected seconds of a case."""

    training: float
    """Training with its validations; 0 for an untrained case."""
    testing: float
    """Tests at all lengths; 0 for an untrained case, and for one that only serves to choose a learning rate."""

    @property
    def total(self) -> float:
        """Expected seconds of training and tests together."""
        return self.training + self.testing


def work_of(case: Case) -> Work:
    """Return the expected work of a case if it does not stop early."""
    protocol = case.protocol.model_copy(update={"learning_rate": None})
    return _work_of(case.model_copy(update={"seed": 0, "protocol": protocol, "tuning": None}))


@functools.cache
def _work_of(case: Case) -> Work:
    protocol = case.protocol
    steps, length = total_steps(protocol), _mean_training_length(case)
    if protocol.optimizer == "guessing":
        step = _evaluation(case, protocol.batch, length)
    else:
        step = length * SECONDS_PER_STEP + _flops(case, protocol.batch, length, trains=True) * SECONDS_PER_FLOP  # (1)
    evaluations = math.ceil(steps / protocol.evaluate_every)
    validation = sum(_evaluation(case, count, case.length) for count in _validated(protocol))
    testing = sum(_evaluation(case, count, tested) for tested, count in planned_tests(case))
    return Work(training=steps * step + evaluations * validation, testing=testing)


def planned_tests(case: Case) -> list[tuple[int, int]]:
    """Return each test length of a case with its number of sequences. A range counts as one length, its middle.

    The list is empty for an untrained case, and for one that only serves to choose a learning rate.
    """
    if not (case.is_reported and case.protocol.trains):
        return []
    protocol = case.protocol
    lengths = [*protocol.evaluated_lengths(case.length), *(sum(ends) // 2 for ends in protocol.evaluated_ranges())]
    return [(length, protocol.test_sequences_at(length)) for length in lengths]


def _validated(protocol: Protocol) -> list[int]:
    """Return the numbers of sequences in the sets that each evaluation during training reads."""
    return [count for count in (protocol.validation_sequences, protocol.fit_sequences) if count]


def _mean_training_length(case: Case) -> int:
    if case.protocol.train_lengths == "fixed":
        return case.length
    first, last = case.protocol.training_range() or (0, case.length)
    return max(1, (first + last) // 2)


def _evaluation(case: Case, sequences: int, length: int) -> float:
    """Return the expected seconds of an evaluation of sequences of `length` time steps, by (2)."""
    from bench.training.evaluation import MAX_FORWARD_STEPS

    passes = math.ceil(sequences / max(1, MAX_FORWARD_STEPS // length))
    flops = _flops(case, sequences, length, trains=False)
    return passes * length * SECONDS_PER_STEP / PASSES + flops * SECONDS_PER_FLOP


def _flops(case: Case, sequences: int, length: int, *, trains: bool) -> float:
    """Return the FLOPs of a training step, or of a forward pass, on sequences of `length` time steps.

    They are estimated from the number of parameters if the architecture states none. They are also estimated if the
    architecture or the task is not installed.
    """
    model = _model_of(case.model_copy(update={"seed": 0, "protocol": Protocol(), "tuning": None, "purpose": "report"}))
    try:
        stated = model and (model.train_step_flops if trains else model.forward_flops)(sequences, length)
    except Exception:  # a plugin may raise any exception, which the run reports where it matters
        stated = None
    if stated:
        return stated
    estimated = FLOPS_PER_PARAMETER * _parameters(case) * sequences * length
    return estimated if trains else estimated / PASSES


@functools.cache
def _model_of(case: Case) -> arch.SequenceModel | None:
    """Return the model of a case without its weights, or None if it cannot be built here."""
    import tasks
    from bench.training.model import model_on_meta

    try:
        return model_on_meta(case, tasks.build(case.task))
    except Exception:  # an earlier record names what is not installed, or a plugin raises any exception
        return None


def _parameters(case: Case) -> int:
    """Return a guess of the number of parameters, from the budget alone. A layer is taken for an LSTM's."""
    if case.step_flops is not None:
        return case.step_flops // 2
    width = case.width or (case.state or 0) // (8 * case.depth)
    return case.params or 8 * case.depth * width**2
