"""even_pairs: do ab and ba occur an even number of times in total?

Every change of letter is an ab or a ba. The number of changes is even if and only if the first and last
letters are equal. The task looks like counting but needs only one bit of memory. Delétang et al. 2022 train on
lengths 1 to 40 and test on 41 to 500. The preset `deletang` sets no parameter.

>>> import tasks
>>> task = tasks.build("even_pairs")
>>> batch = task.sample(tasks.generator(0, "train"), batch=1, length=7)
>>> "".join(task.input_names[i] for i in batch.inputs[0]), task.target_names[batch.targets[0, -1]]
('aabaaaa', 'even')
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
class EvenPairs(Task):
    """Say whether ab and ba occur an even number of times in total; scored at the last step, two classes."""

    source: ClassVar[str] = "Delétang et al. 2022"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"deletang": {}}

    @property
    def inputs(self) -> Tokens:
        return Tokens(2)

    @property
    def targets(self) -> Tokens:
        return Tokens(2)

    @property
    def input_names(self) -> tuple[str, ...]:
        return ("a", "b")

    @property
    def target_names(self) -> tuple[str, ...]:
        return ("odd", "even")

    @property
    def min_length(self) -> int:
        return 2

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        inputs_BT = torch.randint(2, (batch, length), generator=generator)
        mask_BT = last_step_mask(batch, length)
        is_even_B1 = (inputs_BT[:, :1] == inputs_BT[:, -1:]).long()
        return Batch(inputs=inputs_BT, targets=is_even_B1 * mask_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        return 0.5

    def collision(self, length: int) -> float:
        return 2.0**-length

    def solve(self, batch: Batch) -> Tensor:
        changes_B1 = (batch.inputs[:, 1:] != batch.inputs[:, :-1]).sum(1, keepdim=True)
        return (1 - changes_B1 % 2).expand(batch.mask.shape)
