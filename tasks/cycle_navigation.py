"""cycle_navigation: where on the ring does the walk end?

A walk starts at position 0 of a ring of five positions. Each move is -1, 0 or +1 with equal
probability. Delétang et al. 2022 train on lengths 1 to 40 and test on 41 to 500 (preset `deletang`).

A walk is at least as likely to end at its start as at any other position. With λ_k = (1 + 2·cos(2πk/n)) / 3,
the probability of position 0 after T moves on a ring of n positions is

    P(0) = (1 + λ_1^T + … + λ_{n-1}^T) / n                                      (1)

P(0) is the chance level. On a ring of five, the chance level falls below .201 at 10 steps.

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

from tasks.core.task import Batch, Split, Strategy, Task, Tokens, last_step_mask

MIN_ADVANTAGE = 1e-3
"""A memoryless baseline is reported only if it exceeds chance by more than this number."""


@dataclass(frozen=True, kw_only=True)
class CycleNavigation(Task):
    """Say where a walk on a ring ends; scored at the last step, one class per position.

    `places`  number of positions on the ring.
    """

    source: ClassVar[str] = "Delétang et al. 2022"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"deletang": {"places": 5}}

    places: int = 5

    def __post_init__(self) -> None:
        if self.places < 3:
            raise ValueError(f"places must be at least 3, not {self.places}: on a smaller ring some moves are equal")

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
        mask_BT = last_step_mask(batch, length)
        return Batch(inputs=inputs_BT, targets=self._end(inputs_BT) * mask_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        return max(self._probability(position, length) for position in range(self.places))

    def memoryless_score(self, length: int) -> float | None:
        """Return the best score of an answer that depends only on the last move.

        The result is None if this score exceeds chance by at most `MIN_ADVANTAGE`. The last move is known, so the
        score is the chance level of a walk that is one move shorter.
        """
        score = self.chance(length - 1)
        return score if score - self.chance(length) > MIN_ADVANTAGE else None

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        if length < 3:
            return ()
        late = Strategy(
            name="the second half",
            description="Add up the moves of the second half only, and guess the position before them.",
            score=self.chance(length // 2),
        )
        floor = max(self.chance(length), self.memoryless_score(length) or 0.0)
        return (late,) if late.score is not None and late.score > floor + MIN_ADVANTAGE else ()

    def collision(self, length: int) -> float:
        return 3.0**-length

    def solve(self, batch: Batch) -> Tensor:
        return self._end(batch.inputs).expand(batch.mask.shape)

    def _end(self, inputs_BT: Tensor) -> Tensor:
        return (inputs_BT - 1).sum(1, keepdim=True) % self.places

    def _probability(self, position: int, moves: int) -> float:
        """Return the probability that a walk of `moves` moves ends at `position`.

        The formula is equation (1), in which each term is multiplied by cos(2πk·position/n).
        """
        angles = [2 * math.pi * k / self.places for k in range(self.places)]
        return sum(((1 + 2 * math.cos(a)) / 3) ** moves * math.cos(a * position) for a in angles) / self.places
