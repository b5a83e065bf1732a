"""induction: which token followed the first trigger?

    input    4 0 * 7 2 2 9 *        * is the trigger
    answer                 7

The first trigger is at a random step before the last two steps. The second trigger is the last token. All
other tokens are sampled uniformly from the vocabulary. An induction head (Olsson et al. 2022) solves the task at any
length. This attention head finds the earlier trigger and copies its successor. Presets:

    h3      vocabulary 20, length 30                                Fu et al. 2023
    mamba   vocabulary 16, trained at length 256, tested to 2^20    Gu & Dao 2023

>>> import tasks
>>> batch = tasks.build("induction").sample(tasks.generator(0, "train"), batch=1, length=8)
>>> batch.inputs[0].tolist(), batch.targets[0, -1].item()
([18, 0, 7, 8, 20, 14, 18, 20], 14)
"""

# Shape suffixes: B batch, T time

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from tasks.core.task import Batch, Split, Strategy, Task, Tokens, last_step_mask


@dataclass(frozen=True, kw_only=True)
class Induction(Task):
    """Name the token that followed the first trigger; scored at the last step, which repeats the trigger.

    `vocabulary`  number of tokens, not counting the trigger.
    """

    source: ClassVar[str] = "Olsson et al. 2022; Fu et al. 2023"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"h3": {"vocabulary": 20}, "mamba": {"vocabulary": 16}}

    vocabulary: int = 20

    def __post_init__(self) -> None:
        if self.vocabulary < 2:
            raise ValueError(f"vocabulary must be at least 2, not {self.vocabulary}")

    @property
    def inputs(self) -> Tokens:
        return Tokens(self.vocabulary + 1)

    @property
    def targets(self) -> Tokens:
        return Tokens(self.vocabulary)

    @property
    def input_names(self) -> tuple[str, ...]:
        return (*self.target_names, "*")

    @property
    def min_length(self) -> int:
        return 3

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        inputs_BT = torch.randint(self.vocabulary, (batch, length), generator=generator)
        first_B1 = torch.randint(length - 2, (batch, 1), generator=generator)
        inputs_BT.scatter_(1, first_B1, self.vocabulary)
        inputs_BT[:, -1] = self.vocabulary
        mask_BT = last_step_mask(batch, length)
        return Batch(inputs=inputs_BT, targets=inputs_BT.gather(1, first_B1 + 1) * mask_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        return 1 / self.vocabulary

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        shown = length - 2
        if shown == 1:
            return ()
        any_token = Strategy(
            name="any token shown",
            description="Name any of the tokens shown, wherever the first trigger was.",
            score=1 / shown + (1 - 1 / shown) / self.vocabulary,
        )
        return (any_token,)

    def collision(self, length: int) -> float:
        return float(self.vocabulary) ** (2 - length) / (length - 2)

    def solve(self, batch: Batch) -> Tensor:
        first_B1 = (batch.inputs == self.vocabulary).int().argmax(1, keepdim=True)
        return batch.inputs.gather(1, first_B1 + 1).expand(batch.mask.shape)
