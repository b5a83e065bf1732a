"""accuracy: what share of the asked positions the trained model answers rightly, on data it has never met.

Measured once, after training, at the trained length and at others. A multiple of the trained length
that the task cannot be asked at, or that the model cannot read, is left out.
"""

from __future__ import annotations

import copy

import torch

import tasks
from bench.probes.subject import Subject
from bench.training.data import to_device
from bench.training.evaluation import evaluate
from results import Measurement, ReferenceScores

Weights = dict[str, torch.Tensor]


def measure(subject: Subject) -> tuple[list[Measurement], list[ReferenceScores]]:
    """Scores and losses at every evaluated length that the model can read, and what to compare them with."""
    case, task = subject.case, subject.task
    measurements, lines = [], []
    for length in case.protocol.evaluated_lengths(case.length):
        if not _is_possible(subject, length):
            continue
        batch = task.sample(tasks.generator(case.seed, "test"), case.protocol.test_sequences, length, "test")
        seen = evaluate(subject.model, task, to_device(batch, subject.device))
        at = {"length": length}
        measurements.append(Measurement(metric="accuracy", at=at, samples=(seen.score,)))
        measurements += [
            Measurement(metric=metric, at=at, samples=(value,))
            for metric, value in seen.metrics.items()
            if abs(value) < float("inf")
        ]
        lines.append(
            ReferenceScores(length=length, chance=task.chance(length), memoryless_score=task.memoryless_score(length))
        )
    return measurements, lines


def measure_early_stopped(subject: Subject, weights: Weights) -> list[Measurement]:
    """The score at the trained length of the weights that validation liked best, on the same test data."""
    case = subject.case
    model = copy.deepcopy(subject.model)
    model.load_state_dict(weights)
    batch = subject.task.sample(tasks.generator(case.seed, "test"), case.protocol.test_sequences, case.length, "test")
    seen = evaluate(model, subject.task, to_device(batch, subject.device))
    return [Measurement(metric="early_stopped_accuracy", at={"length": case.length}, samples=(seen.score,))]


def _is_possible(subject: Subject, length: int) -> bool:
    if subject.model.max_length is not None and length > subject.model.max_length:
        return False
    return subject.task.supports_length(length)
