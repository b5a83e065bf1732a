"""first_last: what did the first step and the last step say together?

Sequences of independent draws, of which only the first and the last matter; the first must be kept
across everything between. Rules, with x_1 the first element and x_T the last:

    sum       x_t ~ N(0, 1), one channel; is x_1 + x_T > 0?
    product   the same draws; is x_1 · x_T > 0?
    equal     fair bits as tokens; is x_1 = x_T?

The last element alone gives 3/4 under `sum`, and nothing under the other rules.

>>> import torch, tasks
>>> task = tasks.build("first_last:rule=equal")
>>> batch = task.sample(tasks.generator(1, "train"), batch=1, length=6)
>>> batch.inputs[0].tolist(), batch.targets[0, -1].item()
([0, 1, 1, 0, 0, 1], 0)
"""

# Shape suffixes: B batch, T time, D channels

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tasks.core.task import Batch, Reals, Split, Task, Tokens, asked_at_the_end

LAST_ELEMENT_ALONE = 0.75
"""P(sign(x_1 + x_T) = sign(x_T)) for independent N(0, 1): the signs agree, or |x_T| is the larger."""


@dataclass(frozen=True, kw_only=True)
class FirstLast(Task):
    """Compare the first element with the last; asked at the last step, two classes."""

    source: ClassVar[str] = "the study “LSTMs from scratch” (length 30, 5,000 training sequences)"

    rule: Literal["sum", "product", "equal"] = "sum"

    @property
    def inputs(self) -> Tokens | Reals:
        return Tokens(2) if self.rule == "equal" else Reals(1)

    @property
    def targets(self) -> Tokens:
        return Tokens(2)

    @property
    def target_names(self) -> tuple[str, ...]:
        return ("no", "yes")

    @property
    def min_length(self) -> int:
        return 2

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        if self.rule == "equal":
            inputs = torch.randint(2, (batch, length), generator=generator)
        else:
            inputs = torch.randn(batch, length, 1, generator=generator)
        mask_BT = asked_at_the_end(batch, length)
        targets_BT = self._classes(inputs)[:, None] * mask_BT
        return Batch(inputs=inputs, targets=targets_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        return 0.5

    def memoryless_score(self, length: int) -> float | None:
        return LAST_ELEMENT_ALONE if self.rule == "sum" else None

    def collision(self, length: int) -> float:
        return 2.0**-length if self.rule == "equal" else 0.0

    def solve(self, batch: Batch) -> Tensor:
        return self._classes(batch.inputs)[:, None].expand(batch.mask.shape)

    def _classes(self, inputs: Tensor) -> Tensor:
        first, last = inputs[:, 0], inputs[:, -1]
        if self.rule == "equal":
            return (first == last).long()
        together_BD = first + last if self.rule == "sum" else first * last
        return (together_BD[:, 0] > 0).long()
