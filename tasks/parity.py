"""parity: is the number of ones odd?

Flipping any single bit changes the answer, so every step matters and no approximation helps. Delétang et
al. 2022 train on lengths 1 to 40 and test on 41 to 500 (preset `deletang`).

>>> import tasks
>>> batch = tasks.build("parity:every_step=True").sample(tasks.generator(0, "train"), batch=1, length=6)
>>> batch.inputs[0].tolist(), batch.targets[0].tolist()
([0, 0, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1])
"""

# Shape suffixes: B batch, T time

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from tasks.core.task import Batch, Split, Task, Tokens, last_step_mask


@dataclass(frozen=True, kw_only=True)
class Parity(Task):
    """Say whether the number of ones is odd; scored at the last step, two classes.

    `every_step`  whether every prefix is scored, not only the whole sequence.
    """

    source: ClassVar[str] = "Delétang et al. 2022; after Minsky & Papert 1969"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"deletang": {"every_step": False}}

    every_step: bool = False

    @property
    def inputs(self) -> Tokens:
        return Tokens(2)

    @property
    def targets(self) -> Tokens:
        return Tokens(2)

    @property
    def target_names(self) -> tuple[str, ...]:
        return ("even", "odd")

    @property
    def min_length(self) -> int:
        return 1

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        inputs_BT = torch.randint(2, (batch, length), generator=generator)
        if self.every_step:
            mask_BT = torch.ones(batch, length, dtype=torch.bool)
            return Batch(inputs=inputs_BT, targets=inputs_BT.cumsum(1) % 2, mask=mask_BT)
        mask_BT = last_step_mask(batch, length)
        return Batch(inputs=inputs_BT, targets=inputs_BT.sum(1, keepdim=True) % 2 * mask_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        return 0.5

    def memoryless_score(self, length: int) -> float | None:
        """Return the best score of an answer that depends only on the current bit and the step number.

        The result is None if this score equals chance. The first bit is its own parity. Longer prefixes can only be
        guessed.
        """
        if length == 1:
            return 1.0
        return 0.5 + 0.5 / length if self.every_step else None

    def collision(self, length: int) -> float:
        return 2.0**-length

    def solve(self, batch: Batch) -> Tensor:
        return batch.inputs.cumsum(1) % 2
