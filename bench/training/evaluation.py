"""Evaluation of a model on validation or test data."""

from __future__ import annotations

from dataclasses import dataclass

import torch

import arch
import tasks

MAX_FORWARD_STEPS = 1 << 15
"""Maximum number of time steps per forward pass, summed over sequences. A single sequence may be longer. The limit
reduces the memory of an evaluation."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model's score on a batch, with the task's metrics."""

    score: float
    metrics: dict[str, float]

    @property
    def loss(self) -> float:
        """The loss, which is the first metric of every task."""
        return next(iter(self.metrics.values()))


def evaluate(model: arch.SequenceModel, task: tasks.Task, batch: tasks.Batch) -> Evaluation:
    """Evaluate `model` on `batch` without gradients or dropout, and restore the training mode of `model`."""
    was_training = model.training
    model.eval()
    rows = max(1, MAX_FORWARD_STEPS // batch.mask.shape[1])
    with torch.inference_mode():
        outputs = torch.cat([model(part) for part in batch.inputs.split(rows)])
        evaluation = Evaluation(task.score(task.answer(outputs), batch), task.metrics(outputs, batch))
    model.train(was_training)
    return evaluation
