"""The subject of a probe, and the result of a probe that runs right after training."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

import arch
import tasks
from results import Case, Measurement, ReferenceScores

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A trained model with its case and task."""

    case: Case
    task: tasks.Task
    model: arch.SequenceModel
    best_weights: Weights = field(default_factory=dict, repr=False)
    """Weights with the best validation score during training. Empty if the protocol does not keep them, and in timing
    jobs."""

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def test_inputs(self, batch: int, length: int) -> torch.Tensor:
        """Return inputs of held-out sequences on the model's device, (B, T) or (B, T, D)."""
        generator = tasks.generator(self.case.seed, "test")
        return self.task.sample(generator, batch, length, "test").inputs.to(self.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """The measurements, reference scores and artifacts that a probe adds to the record of one case."""

    measurements: list[Measurement]
    reference_scores: list[ReferenceScores] = field(default_factory=list)
    artifacts: dict[str, bytes] = field(default_factory=dict, repr=False)
    """Contents of files to store with the record, by artifact name."""
