"""majority: were there more ones than zeros?

The input is a sequence of fair bits. Its length is odd, so there is no tie. The answer requires counting. Every
step matters equally. The last bit is one of the counted bits. Therefore the last bit alone predicts the answer
better than chance:

    P(last = majority) = 1/2 + C(T-1, (T-1)/2) / 2^T    for length T      (1)

As a plugin, this file adds the task `majority`:

    carousel show-task majority --plugin examples/majority.py
    carousel run quick --plugin examples/majority.py -t majority -L 33,129

>>> import tasks
>>> from examples.majority import Majority
>>> batch = Majority().sample(tasks.generator(0, "train"), batch=1, length=5)
>>> batch.inputs[0].tolist(), batch.targets[0, -1].item()
([0, 0, 1, 0, 0], 0)
"""

# Shape suffixes: B batch, T time

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tasks import Batch, ImpossibleLength, Split, Task, Tokens


@dataclass(frozen=True, kw_only=True)
class Majority(Task):
    """Say at the last step whether there were more ones than zeros: two classes."""

    source: ClassVar[str] = "an example in Carousel"

    @property
    def inputs(self) -> Tokens:
        return Tokens(2)

    @property
    def targets(self) -> Tokens:
        return Tokens(2)

    @property
    def target_names(self) -> tuple[str, ...]:
        return ("no", "yes")

    @property
    def min_length(self) -> int:
        return 3

    def check_length(self, length: int) -> None:
        super().check_length(length)
        if length % 2 == 0:
            raise ImpossibleLength(f"{self} needs an odd length, so that there is no tie; {length} is even")

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        inputs_BT = torch.randint(2, (batch, length), generator=generator)
        mask_BT = torch.zeros(batch, length, dtype=torch.bool)
        mask_BT[:, -1] = True
        return Batch(inputs=inputs_BT, targets=self._majority(inputs_BT) * mask_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        return 0.5

    def memoryless_score(self, length: int) -> float:
        return 0.5 + math.comb(length - 1, (length - 1) // 2) / math.ldexp(1, length)  # (1)

    def collision(self, length: int) -> float:
        return 2.0**-length

    def solve(self, batch: Batch) -> Tensor:
        return self._majority(batch.inputs).expand(batch.mask.shape)

    def _majority(self, inputs_BT: Tensor) -> Tensor:
        """Return the more frequent bit of each sequence, with shape (B, 1)."""
        return (2 * inputs_BT.sum(1, keepdim=True) > inputs_BT.shape[1]).long()
