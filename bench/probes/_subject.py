"""What a probe measures: a trained model with its case and task; and the machine's pulse beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

import arch
import tasks
from results import Case

PULSE_SIZE = 512
"""One product of matrices this wide takes about 1 to 5 ms on a core."""

Clock = Callable[[], int]
"""Nanoseconds on a monotonic clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A trained model under measurement."""

    case: Case
    task: tasks.Task
    model: arch.SequenceModel

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def test_inputs(self, batch: int, length: int) -> torch.Tensor:
        """Held-out inputs, (B, T) or (B, T, D)."""
        generator = tasks.generator(self.case.seed, "test")
        return self.task.sample(generator, batch, length, "test").inputs.to(self.device)


def pulse(clock: Clock = time.perf_counter_ns) -> float:
    """Seconds that a fixed matrix product takes now: stored beside samples, so that drift can be seen."""
    matrix = torch.full((PULSE_SIZE, PULSE_SIZE), 0.5)
    started = clock()
    matrix @ matrix
    return (clock() - started) / 1e9
