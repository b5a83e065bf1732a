"""What a probe measures: a trained model with its case and task."""

from __future__ import annotations

from dataclasses import dataclass

import torch

import arch
import tasks
from results import Case


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
