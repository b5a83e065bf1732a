"""What answers that do not look score: measured, so that a task's lines can be held against it."""

# Shape suffixes: A asked positions, C classes

from __future__ import annotations

import math

import torch
from torch import Tensor

import tasks

REAL_ANSWERS = [i / 20 for i in range(41)]
"""Constants that are tried where the answer is a real number."""
REAL_LEVELS = 16
"""Real inputs are told apart in steps of one sixteenth, and within one of zero."""


def memoryless_score(task: tasks.Task, length: int, *, sees_the_present: bool, sequences: int) -> tuple[float, float]:
    """The score of the best answer to each step (and present input), chosen on one sample and scored on another.

    The standard deviation is that over sequences: binomial where each is asked once.
    """
    known, fresh = (task.sample(tasks.generator(seed, "test"), sequences, length, "test") for seed in (0, 1))
    hits_known, hits_fresh = _hits(task, known), _hits(task, fresh)
    results = []
    for tells_steps_apart in (True, False) if sees_the_present else (True,):
        seen, met = (_situation(task, batch, sees_the_present, tells_steps_apart) for batch in (known, fresh))
        count = int(max(seen.max(), met.max())) + 1
        table_CS = torch.stack([torch.bincount(seen[hit], minlength=count) for hit in hits_known])
        right_A = hits_fresh.gather(0, table_CS.argmax(0)[met][None])[0].double()
        results.append(_mean_over_sequences(right_A, fresh.mask))
    return max(results)


def _mean_over_sequences(right_A: Tensor, mask_BT: Tensor) -> tuple[float, float]:
    """The share of right answers, and its deviation; a sequence counts by how much it is asked."""
    asked_B = mask_BT.sum(1).double()
    sequence_A = torch.arange(len(mask_BT)).repeat_interleave(mask_BT.sum(1))
    right_B = torch.zeros(len(mask_BT), dtype=torch.float64).index_add_(0, sequence_A, right_A)
    share = (right_B.sum() / asked_B.sum()).item()
    residual_B = (right_B - share * asked_B) / asked_B.mean()
    return share, residual_B.std().item() / math.sqrt(len(mask_BT))


def _hits(task: tasks.Task, batch: tasks.Batch) -> Tensor:
    """Whether each possible answer would be right at each of A asked positions: (C, A)."""
    answers = range(task.targets.size) if isinstance(task.targets, tasks.Tokens) else REAL_ANSWERS
    everywhere = (torch.full_like(batch.targets, answer) for answer in answers)
    return torch.stack([task.right(answer, batch)[batch.mask] for answer in everywhere])


def _situation(task: tasks.Task, batch: tasks.Batch, sees_the_present: bool, tells_steps_apart: bool) -> Tensor:
    """A number for all that a short-sighted answer may go by at each asked position: (A,)."""
    steps = torch.arange(batch.mask.shape[1]).expand(batch.mask.shape) * int(tells_steps_apart)
    if not sees_the_present:
        return steps[batch.mask]
    if isinstance(task.inputs, tasks.Reals):
        levels = (batch.inputs[..., 0] * REAL_LEVELS).round().clamp(-REAL_LEVELS, REAL_LEVELS).long() + REAL_LEVELS
        return (steps * (2 * REAL_LEVELS + 1) + levels)[batch.mask]
    return (steps * task.inputs.size + batch.inputs)[batch.mask]
