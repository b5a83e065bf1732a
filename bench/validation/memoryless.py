"""Measure the chance level and the memoryless baseline of a task on samples, to check the stated values."""

# Shape suffixes: B batch, T time, A scored positions, C classes

from __future__ import annotations

import math

import torch
from torch import Tensor

import tasks

REAL_ANSWERS = [i / 40 for i in range(81)]
"""Constant answers to try if answers are real numbers."""
REAL_LEVELS, REAL_LEVELS_OF_DATA = 64, 16
"""Number of levels per unit, for tasks that draw new numbers and for those with a data set. The first channel of real
inputs is rounded to multiples of 1 / levels and clamped to [-1, 1]. Other channels are ignored. Few examples allow few
levels: with fine ones, the best answer to a value would be that of the only example with this value."""


def measure_reference_score(task: tasks.Task, length: int, *, sees_input: bool, sequences: int) -> tuple[float, float]:
    """Measure the best score of answers without memory, and return the score and its standard error.

    The best answer is chosen on one sample and scored on another.

    Args:
        task: The task to sample.
        length: Steps per sequence.
        sees_input: Whether the answer may depend on the present input (the memoryless baseline) or only on the
            step number (chance).
        sequences: Number of sequences per sample.
    """
    train, test = (task.sample(tasks.generator(seed, "test"), sequences, length, "test") for seed in (0, 1))
    train_hits, test_hits = _hits(task, train), _hits(task, test)
    results = []
    for sees_step in (True, False) if sees_input else (True,):
        train_context, test_context = (_context(task, batch, sees_input, sees_step) for batch in (train, test))
        count = int(max(train_context.max(), test_context.max())) + 1
        hits_by_context = torch.stack([torch.bincount(train_context[hits], minlength=count) for hits in train_hits])
        correct_A = test_hits.gather(0, hits_by_context.argmax(0)[test_context][None])[0].double()
        results.append(_mean_over_sequences(correct_A, test.mask))
    return max(results)


def _mean_over_sequences(correct_A: Tensor, mask_BT: Tensor) -> tuple[float, float]:
    """Return the share of correct answers and its standard error.

    The weight of a sequence is its number of scored positions.
    """
    scored_B = mask_BT.sum(1).double()
    sequence_A = torch.arange(len(mask_BT)).repeat_interleave(mask_BT.sum(1))
    correct_B = torch.zeros(len(mask_BT), dtype=torch.float64).index_add_(0, sequence_A, correct_A)
    share = (correct_B.sum() / scored_B.sum()).item()
    residual_B = (correct_B - share * scored_B) / scored_B.mean()
    return share, residual_B.std().item() / math.sqrt(len(mask_BT))


def _hits(task: tasks.Task, batch: tasks.Batch) -> Tensor:
    """Return whether each of C constant answers is correct at each of A scored positions, (C, A)."""
    answers = range(task.targets.size) if isinstance(task.targets, tasks.Tokens) else REAL_ANSWERS
    constants = (torch.full_like(batch.targets, answer) for answer in answers)
    return torch.stack([task.correct(constant, batch)[batch.mask] for constant in constants])


def _context(task: tasks.Task, batch: tasks.Batch, sees_input: bool, sees_step: bool) -> Tensor:
    """Return one integer per scored position, (A,), that encodes what an answer may depend on.

    Args:
        task: The task, which determines the kind of inputs.
        batch: The sequences, with inputs (B, T) or (B, T, D).
        sees_input: Whether the answer may depend on the present input.
        sees_step: Whether the answer may depend on the step number.
    """
    steps = torch.arange(batch.mask.shape[1]).expand(batch.mask.shape) * int(sees_step)
    if not sees_input:
        return steps[batch.mask]
    if isinstance(task.inputs, tasks.Reals):
        levels = REAL_LEVELS if task.data_digest is None else REAL_LEVELS_OF_DATA
        level_BT = (batch.inputs[..., 0] * levels).round().clamp(-levels, levels).long() + levels
        return (steps * (2 * levels + 1) + level_BT)[batch.mask]
    return (steps * task.inputs.size + batch.inputs)[batch.mask]
