"""adding: add the two marked numbers.

Channel 0 holds values sampled from U[0, 1]. Channel 1 is 1 at the two marked steps and 0 at all others. An
answer is a real number. It is correct if its error is at most 0.04. The task is from Hochreiter &
Schmidhuber 1997, section 5.4. The presets are two later variants:

    urnn   one mark in each half      Arjovsky, Shah & Bengio 2016, lengths 100 to 750
    tcn    two marks anywhere         Bai, Kolter & Koltun 2018, lengths 200 to 600

The best constant answer, 1, is correct with probability 2·0.04 - 0.04². The mean squared error of this answer
is 1/6. Reports show both numbers, because a model that knows one of the addends has a lower error, but few
correct answers.

>>> import torch, tasks
>>> batch = tasks.build("adding").sample(tasks.generator(0, "train"), batch=1, length=4)
>>> values, marks = batch.inputs[0].T
>>> bool(torch.isclose((values * marks).sum(), batch.targets[0, -1, 0]))
True
"""

# Shape suffixes: B batch, T time, D channels

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from tasks.core.task import REAL_TOLERANCE, Batch, Reals, Split, Task, last_step_mask


@dataclass(frozen=True, kw_only=True)
class Adding(Task):
    """Add the two marked numbers; scored at the last step, one real number. The mean squared error is recorded too.

    `marks`  one mark in each of the two `halves`, or two marks `anywhere`.
    """

    source: ClassVar[str] = "Hochreiter & Schmidhuber 1997; Arjovsky, Shah & Bengio 2016"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"urnn": {"marks": "halves"}, "tcn": {"marks": "anywhere"}}

    marks: Literal["halves", "anywhere"] = "halves"

    @property
    def inputs(self) -> Reals:
        return Reals(2)

    @property
    def targets(self) -> Reals:
        return Reals(1)

    @property
    def min_length(self) -> int:
        return 2

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        half = length // 2
        values_BT = torch.rand(batch, length, generator=generator)
        if self.marks == "halves":
            first_B1 = torch.randint(half, (batch, 1), generator=generator)
            second_B1 = torch.randint(half, length, (batch, 1), generator=generator)
        else:
            first_B1 = torch.randint(length, (batch, 1), generator=generator)
            distance_B1 = torch.randint(1, length, (batch, 1), generator=generator)
            second_B1 = (first_B1 + distance_B1) % length
        marks_BT = torch.zeros(batch, length).scatter_(1, first_B1, 1).scatter_(1, second_B1, 1)
        inputs_BTD = torch.stack([values_BT, marks_BT], -1)
        mask_BT = last_step_mask(batch, length)
        targets_BTD = (self._sum(inputs_BTD)[:, None] * mask_BT)[..., None]
        return Batch(inputs=inputs_BTD, targets=targets_BTD, mask=mask_BT)

    def chance(self, length: int) -> float:
        return 2 * REAL_TOLERANCE - REAL_TOLERANCE**2

    def constant_loss(self, length: int) -> float:
        """Return 1/6, the variance of the sum of two values from U[0, 1]."""
        return 1 / 6

    def memoryless_loss(self, length: int) -> float:
        """Return the mean squared error of the best answer from the last input alone.

        If the last step is marked, this answer knows one of the two values, and only the variance of the other, 1/12,
        remains.
        """
        marked = 1 / (length - length // 2) if self.marks == "halves" else 2 / length
        return (2 - marked) / 12

    def collision(self, length: int) -> float:
        return 0.0

    def solve(self, batch: Batch) -> Tensor:
        return self._sum(batch.inputs)[:, None, None].expand(*batch.mask.shape, 1)

    def _sum(self, inputs_BTD: Tensor) -> Tensor:
        return inputs_BTD.prod(-1).sum(1)
