"""Training batches: fixed sets or fresh samples, sequence lengths, shuffled targets."""

from __future__ import annotations

from collections.abc import Iterator

import torch

import tasks
from results import Case


def batches(task: tasks.Task, case: Case) -> Iterator[tasks.Batch]:
    """The training batches of a case: fresh ones, or shuffled passes over a fixed set."""
    protocol, generator = case.protocol, tasks.generator(case.seed, "train")
    if protocol.steps is not None:
        lengths = trained_lengths(task, case)
        for _ in range(protocol.steps):
            length = (
                lengths[int(torch.randint(len(lengths), (), generator=generator))] if len(lengths) > 1 else lengths[0]
            )
            batch = task.sample(generator, protocol.batch, length)
            yield _shuffled(batch) if protocol.control == "shuffled_targets" else batch
        return
    assert protocol.train_sequences is not None and protocol.epochs is not None
    whole = _fixed_set(task, case, generator)
    for _ in range(protocol.epochs):
        for rows in torch.randperm(protocol.train_sequences, generator=generator).split(protocol.batch):
            yield tasks.Batch(inputs=whole.inputs[rows], targets=whole.targets[rows], mask=whole.mask[rows])


def fit_batch(task: tasks.Task, case: Case) -> tasks.Batch:
    """The first `fit_sequences` of the fixed training set, on which the fit is measured."""
    whole, rows = _fixed_set(task, case, tasks.generator(case.seed, "train")), slice(case.protocol.fit_sequences)
    return tasks.Batch(inputs=whole.inputs[rows], targets=whole.targets[rows], mask=whole.mask[rows])


def _fixed_set(task: tasks.Task, case: Case, generator: torch.Generator) -> tasks.Batch:
    assert case.protocol.train_sequences is not None
    whole = task.sample(generator, case.protocol.train_sequences, case.length)
    return _shuffled(whole) if case.protocol.control == "shuffled_targets" else whole


def trained_lengths(task: tasks.Task, case: Case) -> list[int]:
    """The lengths that training draws from: the case's own, or all up to it that the task can be asked at."""
    if case.protocol.train_lengths == "fixed":
        return [case.length]
    return [length for length in range(task.min_length, case.length + 1) if can_be_asked(task, length)]


def can_be_asked(task: tasks.Task, length: int) -> bool:
    """Whether the task has sequences of that length."""
    try:
        task.check_length(length)
    except tasks.ImpossibleLength:
        return False
    return True


def _shuffled(batch: tasks.Batch) -> tasks.Batch:
    """The batch with all its answers passed half a batch on, so that no sequence keeps any of its own.

    Among shuffled answers a few would stay in their sequence, and a model learns even from those.
    """
    targets, answers = batch.targets.clone(), batch.targets[batch.mask]
    targets[batch.mask] = answers.roll(len(answers) // 2, 0)
    return tasks.Batch(inputs=batch.inputs, targets=targets, mask=batch.mask)


def to_device(batch: tasks.Batch, device: torch.device) -> tasks.Batch:
    """The batch on `device`; itself where it is there already."""
    return tasks.Batch(inputs=batch.inputs.to(device), targets=batch.targets.to(device), mask=batch.mask.to(device))
