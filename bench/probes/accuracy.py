"""accuracy: the share of scored positions that the trained model answers correctly on held-out sequences.

The probe measures the share once, after training, at every test length of the protocol. A length is omitted if the
task cannot sample sequences of that length, or if the model cannot read them.

A range of lengths is tested at `RANGE_LENGTHS` random lengths, or at all of its lengths if there are fewer. Only
lengths that the task supports are drawn. The range is omitted if the model cannot read its longest length. Each length
has an equal share of the test sequences, rounded up; `test_steps` may reduce it. The score of the range, its losses and
its reference scores are means over the same lengths. The seed of the case decides lengths and sequences.
"""

# Shape suffixes: B batch, T time, D channels

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

import torch

import tasks
from bench.probes.subject import ProbeResult, Subject
from bench.training.data import lengths_of_range, to_device
from bench.training.evaluation import Evaluation, evaluate
from results import LengthRange, Measurement, ReferenceScores, StrategyScore, location_of_range

RANGE_LENGTHS = 16
"""Number of lengths at which a range is tested. A mean over 16 lengths varies by a quarter of what one length does."""


def measure(subject: Subject) -> ProbeResult:
    """Measure scores and task metrics at every possible test length, and add the reference scores of each length.

    Metrics that are not finite are omitted. If the subject has `best_weights`, the score of these weights at the
    trained length is measured too.
    """
    case = subject.case
    measurements, reference_scores = [], []
    for length in case.protocol.evaluated_lengths(case.length):
        if not _is_possible(subject, length):
            continue
        batch = _test_batch(subject, length)
        measurements += _measurements({"length": length}, [evaluate(subject.model, subject.task, batch)])
        reference_scores.append(_reference_scores(subject.task, length, batch))
    for lengths in case.protocol.evaluated_ranges():
        if subject.model.max_length is not None and lengths[1] > subject.model.max_length:
            continue
        batches = _range_batches(subject, lengths)
        evaluations = [evaluate(subject.model, subject.task, batch) for batch in batches.values()]
        measurements += _measurements(location_of_range(lengths), evaluations)
        references = [_reference_scores(subject.task, length, batch) for length, batch in batches.items()]
        reference_scores.append(_mean_over_range(lengths, references))
    if subject.best_weights:
        measurements.append(_measure_early_stopped(subject))
    return ProbeResult(measurements=measurements, reference_scores=reference_scores)


def drawn_lengths(task: tasks.Task, lengths: LengthRange, generator: torch.Generator) -> list[int]:
    """Return the test lengths that stand for a range: different supported lengths, in ascending order.

    Args:
        task: The task, which supports at least one length of the range.
        lengths: The first and the last length of the range.
        generator: The source of randomness.
    """
    supported = lengths_of_range(task, lengths)
    drawn = torch.randperm(len(supported), generator=generator)[:RANGE_LENGTHS]
    return sorted(supported[index] for index in drawn.tolist())


def _range_batches(subject: Subject, lengths: LengthRange) -> dict[int, tasks.Batch]:
    """Return the test sequences of a range, by length."""
    case, task = subject.case, subject.task
    generator = tasks.generator(case.seed, "test")
    drawn = drawn_lengths(task, lengths, generator)
    batches = {
        length: task.sample(generator, -(-case.protocol.test_sequences_at(length) // len(drawn)), length, "test")
        for length in drawn
    }
    return {length: to_device(batch, subject.device) for length, batch in batches.items()}


def _measurements(at: dict[str, int], evaluations: Sequence[Evaluation]) -> list[Measurement]:
    """Return the score and the metrics at a location, each a mean over evaluations.

    Metrics that are not finite are left out.
    """
    score = fmean(evaluation.score for evaluation in evaluations)
    means = {name: fmean(evaluation.metrics[name] for evaluation in evaluations) for name in evaluations[0].metrics}
    return [
        Measurement(metric="accuracy", at=at, samples=(score,)),
        *(Measurement(metric=name, at=at, samples=(mean,)) for name, mean in means.items() if abs(mean) < math.inf),
    ]


def _reference_scores(task: tasks.Task, length: int, batch: tasks.Batch) -> ReferenceScores:
    """Return the reference scores and losses at one length, with test sequences for losses that are not known."""
    is_real = isinstance(task.targets, tasks.Reals)
    constant = task.constant_loss(length) if is_real else None
    return ReferenceScores(
        length=length,
        chance=task.chance(length),
        memoryless_score=task.memoryless_score(length),
        constant_loss=_measured_constant_loss(task, batch) if is_real and constant is None else constant,
        memoryless_loss=task.memoryless_loss(length),
        memory_floor=task.memory_floor(length),
        strategies=tuple(
            StrategyScore(name=each.name, score=each.score, loss=each.loss) for each in task.strategies(length)
        ),
    )


def _measured_constant_loss(task: tasks.Task, batch: tasks.Batch) -> float | None:
    """Return the loss of the mean target of each step, or None if the loss is not finite.

    On these sequences no other answer without the input has a lower squared error. Only scored positions count.
    """
    mask_BT1 = batch.mask[..., None]
    counts_T1 = mask_BT1.sum(0).clamp(min=1)
    means_TD = (batch.targets * mask_BT1).sum(0) / counts_T1
    loss = task.loss(means_TD.expand_as(batch.targets), batch).item()
    return loss if math.isfinite(loss) else None


def _mean_over_range(lengths: LengthRange, references: Sequence[ReferenceScores]) -> ReferenceScores:
    """Return the mean reference scores over the tested lengths of a range.

    At a length without a memoryless baseline, the chance level is the best score without memory. A loss that is unknown
    at one length is unknown over the range.
    """
    has_baseline = any(each.memoryless_score is not None for each in references)
    best = fmean(max(each.chance, each.memoryless_score or 0.0) for each in references)
    return ReferenceScores(
        length=lengths[0],
        last_length=lengths[1],
        chance=fmean(each.chance for each in references),
        memoryless_score=best if has_baseline else None,
        constant_loss=_mean_of_known([each.constant_loss for each in references]),
        memoryless_loss=_mean_of_known([each.memoryless_loss for each in references]),
        memory_floor=_mean_of_known([each.memory_floor for each in references]),
    )


def _mean_of_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


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
    generator, count = tasks.generator(case.seed, "test"), case.protocol.test_sequences_at(length)
    return to_device(subject.task.sample(generator, count, length, "test"), subject.device)


def _is_possible(subject: Subject, length: int) -> bool:
    if subject.model.max_length is not None and length > subject.model.max_length:
        return False
    return subject.task.supports_length(length)
