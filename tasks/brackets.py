"""brackets: is the string of brackets balanced?

There is one type of bracket (Dyck-1). A string is balanced if every bracket is closed, and no bracket is
closed before it is opened. Half of the strings are sampled uniformly from all balanced strings of their
length. The other strings start as balanced strings, and each of their brackets is then resampled with
probability `resampled`. Labels are computed afterwards, so a string that is still balanced is labelled as
balanced. A balanced string has an even number of brackets. At an odd length the last step is an end mark, so
the task supports odd lengths too.

The height h is the number of brackets that are still open. If m brackets remain in a uniformly sampled
balanced string, the next bracket is an opening bracket with probability

    u(h, m) = (h + 2)(m - h) / (2 m (h + 1))                                    (1)

The joint distribution of the heights before and after resampling gives the exact share of balanced
strings. The last bracket alone carries some information: no balanced string ends with an opening bracket.

>>> import tasks
>>> task = tasks.build("brackets")
>>> batch = task.sample(tasks.generator(0, "train"), batch=1, length=12)
>>> "".join(task.input_names[i] for i in batch.inputs[0]), task.target_names[batch.targets[0, -1]]
('(()()())))()', 'unbalanced')
"""

# Shape suffixes: B batch, T time, L brackets, H heights before and G heights after resampling

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from tasks.core.task import Batch, Split, Strategy, Task, Tokens, last_step_mask

OPENING, CLOSING, END = range(3)
SORTED_BITS = 62
MIN_ADVANTAGE = 1e-9
"""A strategy is left out if its score differs from 1 by less than this number, a multiple of rounding errors."""
MAX_HEIGHT = 4.5
"""Maximum height in units of √L. A random balanced string of length L rises higher with probability below 1e-15."""


@dataclass(frozen=True, kw_only=True)
class Brackets(Task):
    """Say whether a string of brackets is balanced; scored at the last step, two classes.

    `resampled`  probability that a bracket is resampled, in the half of the strings that may become unbalanced.
    """

    source: ClassVar[str] = "the Dyck-1 language, Chomsky & Schützenberger 1963; Gers & Schmidhuber 2001"

    resampled: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.resampled <= 1:
            raise ValueError(f"resampled must be above 0 and at most 1, not {self.resampled}")

    @property
    def inputs(self) -> Tokens:
        return Tokens(3)

    @property
    def targets(self) -> Tokens:
        return Tokens(2)

    @property
    def input_names(self) -> tuple[str, ...]:
        return ("(", ")", ".")

    @property
    def target_names(self) -> tuple[str, ...]:
        return ("unbalanced", "balanced")

    @property
    def min_length(self) -> int:
        return 2

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        L = length - length % 2
        brackets_BL = _balanced_strings(generator, batch, L)
        is_resampled_BL = torch.rand(batch, L, generator=generator) < self.resampled
        is_resampled_BL &= torch.rand(batch, 1, generator=generator) < 0.5
        brackets_BL = torch.where(is_resampled_BL, torch.randint(2, (batch, L), generator=generator), brackets_BL)
        inputs_BT = torch.full((batch, length), END)
        inputs_BT[:, :L] = brackets_BL
        mask_BT = last_step_mask(batch, length)
        return Batch(inputs=inputs_BT, targets=_is_balanced(inputs_BT) * mask_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        balanced = self._balanced_share(length)
        return max(balanced, 1 - balanced)

    def memoryless_score(self, length: int) -> float | None:
        """Return the best score of an answer that depends only on the last bracket.

        A final opening bracket proves that the string is unbalanced. At an odd length the result is None, because the
        last step is the end mark, which carries no information.
        """
        if length % 2:
            return None
        opening_at_the_end = 0.5 * self.resampled / 2
        balanced = self._balanced_share(length)
        return opening_at_the_end + max(balanced, 1 - opening_at_the_end - balanced)

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        """Return the two strategies that look at the ends, or at the numbers of the two brackets.

        Both accept every balanced string. They are wrong for the unbalanced strings that they accept.
        """
        L, flipped = length - length % 2, self.resampled / 2
        balanced = self._balanced_share(length)
        accepted = {
            "ends": 0.5 + 0.5 * (1 - flipped) ** 2,
            "counts": 0.5 + 0.5 * _same_number_is_flipped(L // 2, flipped),
        }
        lines = (
            Strategy(
                name="the two ends",
                description="Accept every string that starts with an opening and ends with a closing bracket.",
                score=1 - (accepted["ends"] - balanced),
            ),
            Strategy(
                name="counts without order",
                description="Accept every string with as many opening as closing brackets, whatever their order.",
                score=1 - (accepted["counts"] - balanced),
            ),
        )
        floor = max(self.chance(length), self.memoryless_score(length) or 0.0)
        better = [line for line in lines if line.score is not None and floor < line.score < 1 - MIN_ADVANTAGE]
        return tuple(sorted(better, key=lambda line: line.score or 0.0))

    def collision(self, length: int) -> float:
        """Return an upper bound on the probability that two sequences are identical.

        The bound is 1 / n, where n is the number of balanced strings. No sequence is more probable than 1 / n.
        """
        pairs = length // 2
        return (pairs + 1) / math.comb(2 * pairs, pairs)

    def solve(self, batch: Batch) -> Tensor:
        return _is_balanced(batch.inputs).expand(batch.mask.shape)

    def _balanced_share(self, length: int) -> float:
        return 0.5 + 0.5 * _stays_balanced(length - length % 2, self.resampled / 2)


def _balanced_strings(generator: torch.Generator, batch: int, length: int) -> Tensor:
    """Sample balanced strings (B, L) uniformly, by the cycle lemma (Dvoretzky & Motzkin 1947).

    A string with one surplus closing bracket has exactly one suitable rotation: a balanced string, then a closing
    bracket. This rotation starts after the step at which the height first reaches its minimum. Sorting
    random numbers shuffles the brackets: each number carries a bracket in its last bit.
    """
    random = torch.randint(2**SORTED_BITS, (batch, length + 1), generator=generator)
    labels = torch.arange(length + 1) % 2 == 0
    shuffled = np.sort((random >> 1 << 1 | labels).numpy(), axis=1)
    brackets_BL = torch.from_numpy(shuffled) & 1
    lowest_B1 = (1 - 2 * brackets_BL).cumsum(1).argmin(1, keepdim=True)
    return brackets_BL.gather(1, (lowest_B1 + 1 + torch.arange(length)) % (length + 1))


def _is_balanced(inputs_BT: Tensor) -> Tensor:
    heights_BT = ((inputs_BT == OPENING).int() - (inputs_BT == CLOSING).int()).cumsum(1)
    return ((heights_BT.min(1).values >= 0) & (heights_BT[:, -1] == 0)).long()[:, None]


def _same_number_is_flipped(pairs: int, flipped: float) -> float:
    """Return the probability that as many of `pairs` opening as of `pairs` closing brackets are flipped."""
    log_odds = math.log(flipped) - math.log1p(-flipped)
    return sum(
        math.exp(2 * (math.log(math.comb(pairs, k)) + k * log_odds + pairs * math.log1p(-flipped)))
        for k in range(pairs + 1)
    )


@lru_cache(maxsize=4096)
def _stays_balanced(length: int, flipped: float) -> float:
    """Return the probability that a random balanced string stays balanced if its brackets are flipped at random.

    `length` is the number of brackets, an even number. `flipped` is the probability that a bracket is flipped.
    """
    top = min(length // 2, math.ceil(MAX_HEIGHT * math.sqrt(length))) + 1
    heights_H1 = np.arange(top)[:, None]
    weight_HG = np.zeros((top, top))
    weight_HG[0, 0] = 1.0
    for remaining in range(length, 0, -1):
        rises_H1 = np.maximum((heights_H1 + 2) * (remaining - heights_H1) / (2 * remaining * (heights_H1 + 1)), 0)
        rising_HG, falling_HG = (weight_HG * rises_H1)[:-1], (weight_HG * (1 - rises_H1))[1:]
        weight_HG = np.zeros((top, top))
        weight_HG[1:, 1:] += (1 - flipped) * rising_HG[:, :-1]
        weight_HG[1:, :-1] += flipped * rising_HG[:, 1:]
        weight_HG[:-1, :-1] += (1 - flipped) * falling_HG[:, 1:]
        weight_HG[:-1, 1:] += flipped * falling_HG[:, :-1]
    return float(weight_HG[0, 0])
