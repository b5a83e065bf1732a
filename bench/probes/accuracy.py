"""accuracy: the share of scored positions that the trained model answers correctly on held-out sequences.

The probe measures the share once, after training, at every test length of the protocol. A length is omitted if the
task cannot sample sequences of that length, or if the model cannot read them.
"""

from __future__ import annotations

import math

import tasks
from bench.probes.subject import ProbeResult, Subject
from bench.training.data import to_device
from bench.training.evaluation import evaluate
from results import Measurement, ReferenceScores


def measure(subject: Subject) -> ProbeResult:
    """Measure scores and task metrics at every possible test length, and add the reference scores of each length.

    Metrics that are not finite are omitted. If the subject has `best_weights`, the score of these weights at the
    trained length is measured too.
    """
    case, task = subject.case, subject.task
    measurements, reference_scores = [], []
    for length in case.protocol.evaluated_lengths(case.length):
        if not _is_possible(subject, length):
            continue
        batch = _test_batch(subject, length)
        evaluation = evaluate(subject.model, task, batch)
        at = {"length": length}
        measurements.append(Measurement(metric="accuracy", at=at, samples=(evaluation.score,)))
        measurements += [
            Measurement(metric=metric, at=at, samples=(value,))
            for metric, value in evaluation.metrics.items()
            if abs(value) < math.inf
        ]
        reference_scores.append(
            ReferenceScores(length=length, chance=task.chance(length), memoryless_score=task.memoryless_score(length))
        )
    if subject.best_weights:
        measurements.append(_measure_early_stopped(subject))
    return ProbeResult(measurements=measurements, reference_scores=reference_scores)


def _measure_early_stopped(subject: Subject) -> Measurement:
    """Measure the test score of the weights with the best validation score, at the trained length."""
    model, length = subject.model, subject.case.length
    trained = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(subject.best_weights)
    score = evaluate(model, subject.task, _test_batch(subject, length)).score
    model.load_state_dict(trained)
    return Measurement(metric="early_stopped_accuracy", at={"length": length}, samples=(score,))


def _test_batch(subject: Subject, length: int) -> tasks.Batch:
    case = subject.case
    generator = tasks.generator(case.seed, "test")
    return to_device(subject.task.sample(generator, case.protocol.test_sequences, length, "test"), subject.device)


def _is_possible(subject: Subject, length: int) -> bool:
    if subject.model.max_length is not None and length > subject.model.max_length:
        return False
    return subject.task.supports_length(length)
