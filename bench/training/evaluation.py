"""Score a model on validation or test data, and decide when a case counts as solved."""

from __future__ import annotations

from dataclasses import dataclass

import torch

import arch
import tasks

SOLVED_SHARE = 0.99
"""A task counts as solved at this share of the span from chance to 1."""

EVALUATION_STEPS = 1 << 15
"""Sequence steps that one evaluation forward handles at once, to bound its memory."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model's score on some sequences, and the metrics that the task records beside it."""

    score: float
    metrics: dict[str, float]


def evaluate(model: arch.SequenceModel, task: tasks.Task, batch: tasks.Batch) -> Evaluation:
    """Score and metrics of `model` on `batch`, without gradients or dropout."""
    was_training = model.training
    model.eval()
    rows = max(1, EVALUATION_STEPS // batch.mask.shape[1])
    with torch.inference_mode():
        outputs = torch.cat([model(part) for part in batch.inputs.split(rows)])
        evaluation = Evaluation(task.score(task.answer(outputs), batch), task.metrics(outputs, batch))
    model.train(was_training)
    return evaluation


def solved_bar(task: tasks.Task, length: int) -> float:
    """The score from which a task counts as solved."""
    chance = task.chance(length)
    return chance + SOLVED_SHARE * (1 - chance)
