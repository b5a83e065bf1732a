"""memorization: which value belongs to this key? (facts that training must store in the weights)

    input    k7 ? k3 ? k7 ?
    answer      v2   v5   v2

A fixed table gives each key its value, and each value belongs to one key. The table is the same for every sequence,
seed and split, and no sequence shows it. So the values must be learned during training, and only the last key must be
remembered. The task distinguishes models that lack memory for facts from those that lack memory of the sequence. It is
from MAD (Poli et al. 2024), with 127 pairs there. At an odd length the last step is one more key, which is not scored.

>>> import tasks
>>> task = tasks.build("memorization:pairs=4")
>>> batch = task.sample(tasks.generator(0, "train"), batch=1, length=6)
>>> " ".join(task.input_names[i] for i in batch.inputs[0]), [task.target_names[i] for i in batch.targets[0, 1::2]]
('k3 ? k4 ? k1 ?', ['v3', 'v2', 'v1'])
"""

# Shape suffixes: B batch, T time, P pairs

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from tasks.core.task import Batch, Split, Task, Tokens, standard_defaults

TABLE_SEED = 2024
"""Seed of the fixed table."""


@dataclass(frozen=True, kw_only=True)
class Memorization(Task):
    """Name the value that a fixed table gives for a key; scored at the step after each key, one class per value.

    `pairs`  number of keys, which is also the number of values.
    """

    source: ClassVar[str] = "Poli et al. 2024 (MAD)"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"mad": {"pairs": 127}}

    pairs: int = 32

    def __post_init__(self) -> None:
        if self.pairs < 2:
            raise ValueError(f"pairs must be at least 2, not {self.pairs}")

    @property
    def inputs(self) -> Tokens:
        return Tokens(self.pairs + 1)

    @property
    def targets(self) -> Tokens:
        return Tokens(self.pairs)

    @property
    def input_names(self) -> tuple[str, ...]:
        return (*(f"k{i}" for i in range(1, self.pairs + 1)), "?")

    @property
    def target_names(self) -> tuple[str, ...]:
        return tuple(f"v{i}" for i in range(1, self.pairs + 1))

    @property
    def min_length(self) -> int:
        return 2

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        inputs_BT = torch.randint(self.pairs, (batch, length), generator=generator)
        inputs_BT[:, 1::2] = self.pairs
        mask_BT = inputs_BT == self.pairs
        return Batch(inputs=inputs_BT, targets=self._values(inputs_BT), mask=mask_BT)

    def chance(self, length: int) -> float:
        return 1 / self.pairs

    def collision(self, length: int) -> float:
        return float(self.pairs) ** -((length + 1) // 2)

    def solve(self, batch: Batch) -> Tensor:
        return self._values(batch.inputs)

    def _values(self, inputs_BT: Tensor) -> Tensor:
        values_BT = torch.zeros_like(inputs_BT)
        keys_BT = inputs_BT[:, : inputs_BT.shape[1] // 2 * 2 : 2]
        values_BT[:, 1::2] = table_of(self.pairs)[keys_BT]
        return values_BT


@lru_cache
@standard_defaults()
def table_of(pairs: int) -> Tensor:
    """Return the number of the value of each key, (P,)."""
    return torch.randperm(pairs, generator=torch.Generator().manual_seed(TABLE_SEED))
