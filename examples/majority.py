"""majority: were there more ones than zeros?

Fair bits at an odd length, so that there is no tie. To answer is to count: every step matters equally,
and none of them for itself. The last bit alone is right a little more often than chance, since it is one
of the bits that are counted:

    P(last = majority) = 1/2 + C(T-1, (T-1)/2) / 2^T                  (1)

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
    """Say whether there were more ones than zeros; asked at the last step, two classes."""

    source: ClassVar[str] = "an example of Carousel's"

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
            raise ImpossibleLength(f"{self} needs an odd length, so that there is no tie, not {length}")

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        inputs_BT = torch.randint(2, (batch, length), generator=generator)
        mask_BT = torch.zeros(batch, length, dtype=torch.bool)
        mask_BT[:, -1] = True
        return Batch(inputs=inputs_BT, targets=self._answers(inputs_BT) * mask_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        return 0.5

    def memoryless_score(self, length: int) -> float:
        return 0.5 + math.comb(length - 1, (length - 1) // 2) / math.ldexp(1, length)  # (1)

    def collision(self, length: int) -> float:
        return 2.0**-length

    def solve(self, batch: Batch) -> Tensor:
        return self._answers(batch.inputs).expand(batch.mask.shape)

    def _answers(self, inputs_BT: Tensor) -> Tensor:
        """One answer a sequence, (B, 1)."""
        return (2 * inputs_BT.sum(1, keepdim=True) > inputs_BT.shape[1]).long()
