"""adding: add the two marked numbers.

Channel 0 holds values sampled from U[0, 1]. Channel 1 is 1 at the two marked steps and 0 at all others. An
answer is a real number. It is correct if its error is at most `tolerance`. Presets:

    urnn     one mark in each half      Arjovsky, Shah & Bengio 2016, lengths 100 to 750
    tcn      two marks anywhere         Bai, Kolter & Koltun 2018, lengths 200 to 600
    hs1997   marks in the first half    Hochreiter & Schmidhuber 1997, experiment 4, lengths 100 to 1100

With `marks=early`, sequences are those of the original, section 5.4. Values are sampled from U[-1, 1], and channel 1
is -1 at the first and the last step. The first mark is at one of the first ten steps, the second at another of the
first T/2 - 1 steps. If the first mark falls on the first step, that step keeps its -1 and its value counts as 0.

The original's target for values X1 and X2 is 0.5 + (X1 + X2) / 4, in [0, 1], with a tolerance of 0.04. The target
here is twice as large, 1 + (X1 + X2) / 2. So targets lie in [0, 2] under all options, and the tolerance of the
preset `hs1997` is 0.08. The original varies the length of its sequences by 10%.

With tolerance d, the best constant answer, 1, is correct with probability 2·d - d². The mean squared error of this
answer is 1/6. An answer that knows one of the addends is correct with probability 2·d and has an error of 1/12.
Reports show both numbers, because such an answer has a lower error, but few more correct answers. Under
`marks=early`, one sequence in ten has a single addend, at 22 steps or more.

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

from tasks.core.task import REAL_TOLERANCE, Batch, Reals, Split, Strategy, Task, last_step_mask

EARLY_STEPS = 10
"""Number of steps that may bear the first mark under `marks=early`."""


@dataclass(frozen=True, kw_only=True)
class Adding(Task):
    """Add the two marked numbers; scored at the last step, one real number. The mean squared error is recorded too.

    `marks`      one mark in each of the two `halves`, two marks `anywhere`, or two `early` marks as in the original.
    `tolerance`  largest absolute error of a correct answer.
    """

    source: ClassVar[str] = "Hochreiter & Schmidhuber 1997; Arjovsky, Shah & Bengio 2016"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "urnn": {"marks": "halves"},
        "tcn": {"marks": "anywhere"},
        "hs1997": {"marks": "early", "tolerance": 0.08},
    }

    marks: Literal["halves", "anywhere", "early"] = "halves"
    tolerance: float = REAL_TOLERANCE

    def __post_init__(self) -> None:
        if not 0 < self.tolerance <= 0.5:
            raise ValueError(f"tolerance must be above 0 and at most 0.5, not {self.tolerance}")

    @property
    def inputs(self) -> Reals:
        return Reals(2)

    @property
    def targets(self) -> Reals:
        return Reals(1)

    @property
    def min_length(self) -> int:
        return 8 if self.marks == "early" else 2

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        half = length // 2
        values_BT = torch.rand(batch, length, generator=generator)
        if self.marks == "halves":
            first_B1 = torch.randint(half, (batch, 1), generator=generator)
            second_B1 = torch.randint(half, length, (batch, 1), generator=generator)
        elif self.marks == "anywhere":
            first_B1 = torch.randint(length, (batch, 1), generator=generator)
            distance_B1 = torch.randint(1, length, (batch, 1), generator=generator)
            second_B1 = (first_B1 + distance_B1) % length
        else:
            values_BT = 2 * values_BT - 1
            first_B1 = torch.randint(self._first_steps(length), (batch, 1), generator=generator)
            rank_B1 = (torch.rand(batch, 1, generator=generator) * (half - 2 - (first_B1 > 0).long())).long()
            second_B1 = 1 + rank_B1 + ((first_B1 > 0) & (rank_B1 + 1 >= first_B1)).long()
        marks_BT = torch.zeros(batch, length).scatter_(1, first_B1, 1).scatter_(1, second_B1, 1)
        if self.marks == "early":
            marks_BT[:, 0] = marks_BT[:, -1] = -1
        inputs_BTD = torch.stack([values_BT, marks_BT], -1)
        mask_BT = last_step_mask(batch, length)
        targets_BTD = (self._sum(inputs_BTD)[:, None] * mask_BT)[..., None]
        return Batch(inputs=inputs_BTD, targets=targets_BTD, mask=mask_BT)

    def chance(self, length: int) -> float:
        single = self._single_share(length)
        return (1 - single) * (2 * self.tolerance - self.tolerance**2) + single * 2 * self.tolerance

    def constant_loss(self, length: int) -> float:
        """Return 1/6, the variance of the sum of two values from U[0, 1].

        Under `marks=early`, the sum of some sequences has one addend, with a variance of 1/12.
        """
        return 1 / 6 - self._single_share(length) / 12

    def memoryless_loss(self, length: int) -> float:
        """Return the mean squared error of the best answer from the last input alone.

        If the last step is marked, this answer knows one of the two values, and only the variance of the other, 1/12,
        remains.
        """
        if self.marks == "early":
            return self.constant_loss(length)
        marked = 1 / (length - length // 2) if self.marks == "halves" else 2 / length
        return (2 - marked) / 12

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        single = self._single_share(length)
        return (
            Strategy(
                name="the mean",
                description="Answer 1, the mean of the sum.",
                score=self.chance(length),
                loss=self.constant_loss(length),
            ),
            Strategy(
                name="one addend",
                description="Remember the value at the last mark, and replace the other by its mean.",
                score=single + (1 - single) * 2 * self.tolerance,
                loss=(1 - single) / 12,
            ),
        )

    def collision(self, length: int) -> float:
        return 0.0

    def solve(self, batch: Batch) -> Tensor:
        return self._sum(batch.inputs)[:, None, None].expand(*batch.mask.shape, 1)

    def _sum(self, inputs_BTD: Tensor) -> Tensor:
        values_BT, marks_BT = inputs_BTD.unbind(-1)
        sum_B = (values_BT * (marks_BT > 0)).sum(1)
        return 1 + sum_B / 2 if self.marks == "early" else sum_B

    def _first_steps(self, length: int) -> int:
        """Return the number of steps that may bear the first mark under `marks=early`."""
        return min(EARLY_STEPS, length // 2 - 1)

    def _single_share(self, length: int) -> float:
        """Return the share of sequences with a single addend, because the first step has a mark."""
        return 1 / self._first_steps(length) if self.marks == "early" else 0.0
