"""How much of the test data a model may have seen: measured on samples, and bounded beforehand."""

from __future__ import annotations

from tasks.core.task import Batch, Split, Task, generator


def overlap(task: Task, length: int, sequences: int, seed: int = 0) -> float:
    """The share of `sequences` test sequences that also occur among as many training ones."""
    train, test = (_rows(_draw(task, length, sequences, seed, split)) for split in ("train", "test"))
    seen = set(train)
    return sum(row in seen for row in test) / sequences


def declared_overlap(task: Task, length: int, sequences: int) -> float:
    """At most what `overlap` is expected to be: the union bound over the training sequences."""
    return min(1.0, sequences * task.collision(length))


def _draw(task: Task, length: int, sequences: int, seed: int, split: Split) -> Batch:
    return task.sample(generator(seed, split), sequences, length, split)


def _rows(batch: Batch) -> list[bytes]:
    return [row.tobytes() for row in batch.inputs.numpy()]
