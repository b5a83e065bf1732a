"""Overlap of training and test data: the share measured on samples, and an upper bound."""

from __future__ import annotations

from tasks.core.task import Batch, Split, Task, generator


def overlap(task: Task, length: int, sequences: int, seed: int = 0) -> float:
    """Return the share of sampled test inputs that also occur among the sampled training inputs.

    Args:
        task: The task to sample.
        length: Steps per sequence.
        sequences: Number of sequences sampled from each of the two splits.
        seed: Seed of both generators.

    Raises:
        ImpossibleLength: If the task does not support this length.
    """
    train, test = (_rows(_sample(task, length, sequences, seed, split)) for split in ("train", "test"))
    seen = set(train)
    return sum(row in seen for row in test) / sequences


def declared_overlap(task: Task, length: int, sequences: int) -> float:
    """Return an upper bound on the expected `overlap`.

    The bound is the number of training sequences, `sequences`, times the task's `collision` probability, but at most 1.
    """
    return min(1.0, sequences * task.collision(length))


def _sample(task: Task, length: int, sequences: int, seed: int, split: Split) -> Batch:
    return task.sample(generator(seed, split), sequences, length, split)


def _rows(batch: Batch) -> list[bytes]:
    return [row.tobytes() for row in batch.inputs.numpy()]
