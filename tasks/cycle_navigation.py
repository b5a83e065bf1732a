"""cycle_navigation: where on the ring does the walk end?

Moves of -1, 0 and +1, drawn evenly, from place 0 on a ring of five. Delétang et al. 2022 train on
lengths 1 to 40 and test on 41 to 500 (preset `deletang`).

A short walk ends near its start more often than elsewhere. With λ_k = (1 + 2·cos(2πk/n)) / 3 the
likeliest place after T moves, place 0, has

    P(0) = (1 + λ_1^T + … + λ_{n-1}^T) / n                                      (1)

which is the chance line; on five places it falls below .201 at 9 steps.

>>> import tasks
>>> task = tasks.build("cycle_navigation")
>>> batch = task.sample(tasks.generator(0, "train"), batch=1, length=6)
>>> " ".join(task.input_names[i] for i in batch.inputs[0]), batch.targets[0, -1].item()
('+1 +1 0 -1 -1 0', 0)
"""

# Shape suffixes: B batch, T time

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from tasks.core.task import Batch, Split, Task, Tokens, asked_at_the_end

VISIBLE = 1e-3
"""A line that lies nearer than this to the chance line says nothing more."""


@dataclass(frozen=True, kw_only=True)
class CycleNavigation(Task):
    """Say where a walk on a ring ends; asked at the last step, one class a place.

    `places`  how many the ring has.
    """

    source: ClassVar[str] = "Delétang et al. 2022"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"deletang": {"places": 5}}

    places: int = 5

    def __post_init__(self) -> None:
        if self.places < 3:
            raise ValueError(f"places must be at least 3, so that all moves differ, not {self.places}")

    @property
    def inputs(self) -> Tokens:
        return Tokens(3)

    @property
    def targets(self) -> Tokens:
        return Tokens(self.places)

    @property
    def input_names(self) -> tuple[str, ...]:
        return ("-1", "0", "+1")

    @property
    def min_length(self) -> int:
        return 1

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        inputs_BT = torch.randint(3, (batch, length), generator=generator)
        mask_BT = asked_at_the_end(batch, length)
        return Batch(inputs=inputs_BT, targets=self._place(inputs_BT) * mask_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        return max(self._likelihood(place, length) for place in range(self.places))

    def memoryless_score(self, length: int) -> float | None:
        """The last move is known, so one move fewer is uncertain."""
        score = self.chance(length - 1)
        return score if score - self.chance(length) > VISIBLE else None

    def collision(self, length: int) -> float:
        return 3.0**-length

    def solve(self, batch: Batch) -> Tensor:
        return self._place(batch.inputs).expand(batch.mask.shape)

    def _place(self, inputs_BT: Tensor) -> Tensor:
        return (inputs_BT - 1).sum(1, keepdim=True) % self.places

    def _likelihood(self, place: int, moves: int) -> float:
        """Equation (1), for any place."""
        angles = [2 * math.pi * k / self.places for k in range(self.places)]
        return sum(((1 + 2 * math.cos(a)) / 3) ** moves * math.cos(a * place) for a in angles) / self.places
