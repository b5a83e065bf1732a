"""brackets: is every bracket closed, and none before it is opened?

One type of bracket (Dyck-1). Half of the strings are valid, drawn evenly from all valid ones of their
length; the others begin as such a string, and then each place is drawn anew with probability
`resampled`. The label is worked out afterwards, so a string that is still valid counts as valid.
A valid string has an even number of brackets. At an odd length the last step is an end mark, so that
every length can be asked.

A valid string at height h with m brackets to come goes up with probability

    u(h, m) = (h + 2)(m - h) / (2 m (h + 1))                                    (1)

and following the heights before and after the resampling together gives the share of valid strings
exactly. The last bracket alone is worth something: no valid string ends with an opening one.

>>> import tasks
>>> task = tasks.build("brackets")
>>> batch = task.sample(tasks.generator(0, "train"), batch=1, length=12)
>>> "".join(task.input_names[i] for i in batch.inputs[0]), task.target_names[batch.targets[0, -1]]
('(()()())))()', 'spoilt')
"""

# Shape suffixes: B batch, T time, L brackets, H heights before and G heights after the resampling

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from tasks.core.task import Batch, Split, Task, Tokens, asked_at_the_end

OPENING, CLOSING, END = range(3)
SORTED_BITS = 62
HIGHEST = 4.5
"""A random valid string of length L rises above 4.5·√L with probability below 1e-16."""


@dataclass(frozen=True, kw_only=True)
class Brackets(Task):
    """Say whether a string of brackets is balanced; asked at the last step, two classes.

    `resampled`  the probability that a place of a spoilt string is drawn anew.
    """

    source: ClassVar[str] = "the Dyck-1 language, Chomsky & Schützenberger 1963; Gers & Schmidhuber 2001"

    resampled: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.resampled <= 1:
            raise ValueError(f"resampled must lie above 0 and at most at 1, not {self.resampled}")

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
        return ("spoilt", "balanced")

    @property
    def min_length(self) -> int:
        return 2

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        L = length - length % 2
        brackets_BL = _balanced_strings(generator, batch, L)
        spoil_BL = torch.rand(batch, L, generator=generator) < self.resampled
        spoil_BL &= torch.rand(batch, 1, generator=generator) < 0.5
        brackets_BL = torch.where(spoil_BL, torch.randint(2, (batch, L), generator=generator), brackets_BL)
        inputs_BT = torch.full((batch, length), END)
        inputs_BT[:, :L] = brackets_BL
        mask_BT = asked_at_the_end(batch, length)
        return Batch(inputs=inputs_BT, targets=_is_balanced(inputs_BT) * mask_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        balanced = self._balanced_share(length)
        return max(balanced, 1 - balanced)

    def memoryless_score(self, length: int) -> float | None:
        """An opening bracket in the last place says that the string is spoilt; the end mark says nothing."""
        if length % 2:
            return None
        opening_at_the_end = 0.5 * self.resampled / 2
        balanced = self._balanced_share(length)
        return opening_at_the_end + max(balanced, 1 - opening_at_the_end - balanced)

    def collision(self, length: int) -> float:
        """A bound: no string is likelier than one of the valid ones, evenly drawn."""
        pairs = length // 2
        return (pairs + 1) / math.comb(2 * pairs, pairs)

    def solve(self, batch: Batch) -> Tensor:
        return _is_balanced(batch.inputs).expand(batch.mask.shape)

    def _balanced_share(self, length: int) -> float:
        return 0.5 + 0.5 * _still_balanced(length - length % 2, self.resampled / 2)


def _balanced_strings(generator: torch.Generator, batch: int, length: int) -> Tensor:
    """Valid strings, each as likely as any: (B, L).

    Cycle lemma: of the rotations of a string with one closing bracket too many, exactly one is a valid
    string followed by a closing bracket: the one that starts after the first lowest point.
    Sorting random numbers whose last bit is the bracket shuffles the brackets.
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


@lru_cache(maxsize=4096)
def _still_balanced(length: int, flipped: float) -> float:
    """The probability that a random valid string is valid after each bracket was turned with `flipped`."""
    top = min(length // 2, math.ceil(HIGHEST * math.sqrt(length))) + 1
    heights_H1 = np.arange(top)[:, None]
    weight_HG = np.zeros((top, top))
    weight_HG[0, 0] = 1.0
    for to_come in range(length, 0, -1):
        rises_H1 = np.maximum((heights_H1 + 2) * (to_come - heights_H1) / (2 * to_come * (heights_H1 + 1)), 0)
        rising_HG, falling_HG = (weight_HG * rises_H1)[:-1], (weight_HG * (1 - rises_H1))[1:]
        weight_HG = np.zeros((top, top))
        weight_HG[1:, 1:] += (1 - flipped) * rising_HG[:, :-1]
        weight_HG[1:, :-1] += flipped * rising_HG[:, 1:]
        weight_HG[:-1, :-1] += (1 - flipped) * falling_HG[:, 1:]
        weight_HG[:-1, 1:] += flipped * falling_HG[:, :-1]
    return float(weight_HG[0, 0])
