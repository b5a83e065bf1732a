"""The lines beside every score: the best answer that does not look lands on `chance`, and no higher."""

import math

import pytest
import torch
from torch import Tensor

import tasks
from tasks import Batch, Reals, Task, Tokens
from tests.tasks.specs import lengths_of, of_every_task

SEQUENCES = 20_000
DEVIATIONS = 4.5
"""Normal deviations; wide enough that the hundred or so comparisons of this file all hold when nothing is wrong."""
ANSWERS_LOST = 0.004
"""What choosing the best answers from a finite sample may cost: thousands of cells for the text's pairs of letters."""
REAL_ANSWERS = [i / 20 for i in range(41)]


@of_every_task()
def test_the_best_answers_that_do_not_look_score_chance(task: Task) -> None:
    for length in two_lengths(task):
        score, deviation = blind_score(task, length, sees_the_present=False)
        assert score == pytest.approx(task.chance(length), abs=DEVIATIONS * deviation + 1 / SEQUENCES)


@of_every_task()
def test_the_best_answers_from_the_present_score_what_is_declared(task: Task) -> None:
    for length in two_lengths(task):
        score, deviation = blind_score(task, length, sees_the_present=True)
        declared = task.blind_to_the_past(length)
        margin = DEVIATIONS * deviation + 1 / SEQUENCES
        assert score <= (task.chance(length) if declared is None else declared) + margin
        if declared is not None:
            assert score >= declared - margin - ANSWERS_LOST


def two_lengths(task: Task) -> list[int]:
    """The smallest length, where edges show, and one of the other parity where there is one."""
    return lengths_of(task)[:2]


def blind_score(task: Task, length: int, *, sees_the_present: bool) -> tuple[float, float]:
    """The score of the best answer to each step (and present input), chosen on one sample and scored on another.

    The standard deviation is that over sequences: binomial where each is asked once.
    """
    known, fresh = (task.sample(tasks.generator(seed, "test"), SEQUENCES, length, "test") for seed in (0, 1))
    hits_known, hits_fresh = hits(task, known), hits(task, fresh)
    results = []
    for tells_steps_apart in (True, False) if sees_the_present else (True,):
        seen, met = (situation(task, batch, sees_the_present, tells_steps_apart) for batch in (known, fresh))
        count = int(max(seen.max(), met.max())) + 1
        table = torch.stack([torch.bincount(seen[hit], minlength=count) for hit in hits_known])
        right = hits_fresh.gather(0, table.argmax(0)[met][None]).double()
        shares = right.view(SEQUENCES, -1).mean(1)
        results.append((shares.mean().item(), shares.std().item() / math.sqrt(SEQUENCES)))
    return max(results)


def hits(task: Task, batch: Batch) -> Tensor:
    """Whether each possible answer would be right at each of A asked positions: (C, A)."""
    answers = range(task.targets.size) if isinstance(task.targets, Tokens) else REAL_ANSWERS
    everywhere = (torch.full_like(batch.targets, answer) for answer in answers)
    return torch.stack([task.right(answer, batch)[batch.mask] for answer in everywhere])


def situation(task: Task, batch: Batch, sees_the_present: bool, tells_steps_apart: bool) -> Tensor:
    """A number for all that a short-sighted answer may go by at each asked position: (A,)."""
    steps = torch.arange(batch.mask.shape[1]).expand(batch.mask.shape) * int(tells_steps_apart)
    if not sees_the_present:
        return steps[batch.mask]
    if isinstance(task.inputs, Reals):
        present = (batch.inputs[..., 0] * 16).round().clamp(-16, 16).long() + 16
        return (steps * 33 + present)[batch.mask]
    return (steps * task.inputs.size + batch.inputs)[batch.mask]
