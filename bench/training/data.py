"""Training batches: fresh samples or a fixed set, sequence lengths, and shuffled targets."""

from __future__ import annotations

from collections.abc import Iterator

import torch

import tasks
from results import Case, LengthRange


def batches(task: tasks.Task, case: Case) -> Iterator[tasks.Batch]:
    """Yield the training batches of a case: fresh samples, or shuffled epochs over a fixed set."""
    protocol, generator = case.protocol, tasks.generator(case.seed, "train")
    if protocol.steps is not None:
        lengths = training_lengths(task, case)
        for _ in range(protocol.steps):
            length = (
                lengths[int(torch.randint(len(lengths), (), generator=generator))] if len(lengths) > 1 else lengths[0]
            )
            batch = task.sample(generator, protocol.batch, length)
            yield _with_shuffled_targets(batch) if protocol.control == "shuffled_targets" else batch
        return
    assert protocol.train_sequences is not None and protocol.epochs is not None
    fixed_set = _fixed_set(task, case, generator)
    for _ in range(protocol.epochs):
        for rows in torch.randperm(protocol.train_sequences, generator=generator).split(protocol.batch):
            yield _select(fixed_set, rows)


def fit_batch(task: tasks.Task, case: Case) -> tasks.Batch:
    """Return the training sequences on which the fit is measured.

    They are the first `fit_sequences` sequences of the fixed training set.
    """
    fixed_set = _fixed_set(task, case, tasks.generator(case.seed, "train"))
    return _select(fixed_set, slice(case.protocol.fit_sequences))


def training_lengths(task: tasks.Task, case: Case) -> list[int]:
    """Return the training lengths in steps: that of the case or, if a batch may be shorter, all supported ones."""
    if case.protocol.train_lengths == "fixed":
        return [case.length]
    return lengths_of_range(task, case.protocol.training_range() or (task.min_length, case.length))


def lengths_of_range(task: tasks.Task, lengths: LengthRange) -> list[int]:
    """Return all lengths of a range that the task supports, in ascending order."""
    return [length for length in range(lengths[0], lengths[1] + 1) if task.supports_length(length)]


def to_device(batch: tasks.Batch, device: torch.device) -> tasks.Batch:
    """Return the batch on `device`; tensors that are already on this device are not copied."""
    return tasks.Batch(inputs=batch.inputs.to(device), targets=batch.targets.to(device), mask=batch.mask.to(device))


def _fixed_set(task: tasks.Task, case: Case, generator: torch.Generator) -> tasks.Batch:
    assert case.protocol.train_sequences is not None
    batch = task.sample(generator, case.protocol.train_sequences, case.length)
    return _with_shuffled_targets(batch) if case.protocol.control == "shuffled_targets" else batch


def _select(batch: tasks.Batch, rows: torch.Tensor | slice) -> tasks.Batch:
    return tasks.Batch(inputs=batch.inputs[rows], targets=batch.targets[rows], mask=batch.mask[rows])


def _with_shuffled_targets(batch: tasks.Batch) -> tasks.Batch:
    """Return the batch with the targets rotated among the scored positions, by half of these positions.

    Unless one sequence has more than half of the scored positions, every target moves to another sequence. A random
    permutation would leave some targets in place. A model learns even from a few correct targets.
    """
    targets, scored = batch.targets.clone(), batch.targets[batch.mask]
    targets[batch.mask] = scored.roll(len(scored) // 2, 0)
    return tasks.Batch(inputs=batch.inputs, targets=targets, mask=batch.mask)
