"""first_last: how does the first element compare with the last?

The elements are independent. Only the first, x_1, and the last, x_T, matter, so the first must be
remembered across the whole sequence. The rules are:

    sum       x_t ~ N(0, 1), one channel; is x_1 + x_T > 0?
    product   x_t ~ N(0, 1), one channel; is x_1 · x_T > 0?
    equal     fair bits as tokens; is x_1 = x_T?

The last element alone scores 3/4 under `sum` and gives no advantage under the other rules.

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

from tasks.core.task import Batch, Reals, Split, Strategy, Task, Tokens, last_step_mask

LAST_ELEMENT_SCORE = 0.75
"""P(sign(x_1 + x_T) = sign(x_T)) for independent N(0, 1): either the signs agree or |x_T| > |x_1|."""


@dataclass(frozen=True, kw_only=True)
class FirstLast(Task):
    """Say whether first + last > 0 (or first · last > 0, or first = last); scored at the last step, two classes.

    `rule`  what decides: the `sum` or the `product` of the two elements, or whether they are `equal`.
    """

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
        mask_BT = last_step_mask(batch, length)
        targets_BT = self._classes(inputs)[:, None] * mask_BT
        return Batch(inputs=inputs, targets=targets_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        return 0.5

    def memoryless_score(self, length: int) -> float | None:
        return LAST_ELEMENT_SCORE if self.rule == "sum" else None

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        """Return the strategy that knows the sign of x_1. Under the other rules than `sum`, it solves the task.

        The signs agree in half of the sequences. In the others, the answer is the sign of the larger number, and
        P(|x_1| < |x_T|) given x_T is uniform on [0, 1]. The better guess has a probability of 3/4, its entropy is 1/2.
        """
        if self.rule != "sum":
            return ()
        sign = Strategy(
            name="the first sign",
            description="Remember only the sign of the first element.",
            score=0.5 + 0.5 * 0.75,
            loss=0.5 * 0.5,
        )
        return (sign,)

    def collision(self, length: int) -> float:
        return 2.0**-length if self.rule == "equal" else 0.0

    def solve(self, batch: Batch) -> Tensor:
        return self._classes(batch.inputs)[:, None].expand(batch.mask.shape)

    def _classes(self, inputs: Tensor) -> Tensor:
        first, last = inputs[:, 0], inputs[:, -1]
        if self.rule == "equal":
            return (first == last).long()
        value_BD = first + last if self.rule == "sum" else first * last
        return (value_BD[:, 0] > 0).long()
