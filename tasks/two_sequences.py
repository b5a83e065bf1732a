"""two_sequences: did the sequence begin with high or with low numbers? (the noisy two-sequence problem)

The first `informative` numbers are 1 for the one class and -1 for the other. All later numbers are noise from a
normal distribution with mean 0 and variance 0.2. The variants are experiments 3a, 3b and 3c of Hochreiter &
Schmidhuber 1997, section 5.3, with 3 or 1 informative numbers and lengths 100 or 1000:

    3a   as above, the problem of Bengio, Simard & Frasconi 1994         two classes
    3b   the same noise is added to the informative numbers              two classes
    3c   as 3b; the targets are 0.2 and 0.8, and in training there is    one real number
         normal noise with mean 0 and variance 0.1 on the target

In 3c, validation and test targets are free of noise, and answers are correct if their error is at most 0.04. So the
model must learn the mean of noisy targets. In 3b and 3c the informative numbers of few sequences mislead: with three
numbers, the sign of their sum is wrong with probability 5e-5, with one number .013. The original varies the length of
its sequences by 10%, and ends training in 3c if the mean error is below 0.015.

>>> import tasks
>>> task = tasks.build("two_sequences")
>>> batch = task.sample(tasks.generator(0, "train"), batch=1, length=8)
>>> batch.inputs[0, :3, 0].tolist(), task.target_names[batch.targets[0, -1]]
([-1.0, -1.0, -1.0], 'low')
"""

# Shape suffixes: B batch, T time, D channels

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from tasks.core.task import Batch, Reals, Split, Strategy, Task, Tokens, last_step_mask

VARIANCE = 0.2
TARGET_VARIANCE = 0.1
LOW, HIGH = 0.2, 0.8
"""Targets of the two classes under `variant=3c`."""
MAX_LOG_ODDS = 20.0
"""An answer counts as solvable if the odds of the more likely class exceed the exponential of this number."""


@dataclass(frozen=True, kw_only=True)
class TwoSequences(Task):
    """Say whether the first numbers were high or low; scored at the last step, two classes (3c: a real number).

    `variant`      the experiment: `3a`, `3b` or `3c`.
    `informative`  number of informative numbers, at the start.
    """

    source: ClassVar[str] = "Hochreiter & Schmidhuber 1997, experiment 3; Bengio, Simard & Frasconi 1994"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {"variant": name, "informative": 3} for name in ("3a", "3b", "3c")
    }

    variant: Literal["3a", "3b", "3c"] = "3a"
    informative: int = 3

    def __post_init__(self) -> None:
        if self.informative < 1:
            raise ValueError(f"informative must be at least 1, not {self.informative}")

    @property
    def inputs(self) -> Reals:
        return Reals(1)

    @property
    def targets(self) -> Tokens | Reals:
        return Reals(1) if self.variant == "3c" else Tokens(2)

    @property
    def target_names(self) -> tuple[str, ...]:
        return ("target",) if self.variant == "3c" else ("low", "high")

    @property
    def min_length(self) -> int:
        return self.informative + 1

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        is_high_B = torch.randint(2, (batch,), generator=generator)
        inputs_BT = math.sqrt(VARIANCE) * torch.randn(batch, length, generator=generator)
        start_BN = inputs_BT[:, : self.informative]
        signs_B1 = 2.0 * is_high_B[:, None] - 1
        start_BN.copy_((start_BN if self.variant != "3a" else 0 * start_BN) + signs_B1)
        mask_BT = last_step_mask(batch, length)
        if self.variant != "3c":
            return Batch(inputs=inputs_BT[..., None], targets=is_high_B[:, None] * mask_BT, mask=mask_BT)
        targets_B = LOW + (HIGH - LOW) * is_high_B
        if split == "train":
            targets_B = targets_B + math.sqrt(TARGET_VARIANCE) * torch.randn(batch, generator=generator)
        return Batch(inputs=inputs_BT[..., None], targets=(targets_B[:, None] * mask_BT)[..., None], mask=mask_BT)

    def chance(self, length: int) -> float:
        return 0.5

    def constant_loss(self, length: int) -> float | None:
        """Return the squared error of 0.5 on test targets under `variant=3c`, otherwise None."""
        return (HIGH - LOW) ** 2 / 4 if self.variant == "3c" else None

    def memoryless_loss(self, length: int) -> float | None:
        return self.constant_loss(length) if self.variant == "3c" else super().memoryless_loss(length)

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        """Return the strategy that reads one informative number, if there are more and if they are noisy."""
        if self.variant == "3a" or self.informative == 1:
            return ()
        one = Strategy(
            name="one number",
            description="Judge by the sign of a single informative number.",
            score=0.5 * math.erfc(-1 / math.sqrt(2 * VARIANCE)),
        )
        return (one,)

    def collision(self, length: int) -> float:
        return 0.0

    def solve(self, batch: Batch) -> Tensor:
        is_high_B = self._sums(batch) > 0
        if self.variant == "3c":
            answers_B = LOW + (HIGH - LOW) * is_high_B.float()
            return answers_B[:, None, None].expand(*batch.mask.shape, 1)
        return is_high_B.long()[:, None].expand(batch.mask.shape)

    def solvable(self, batch: Batch) -> Tensor:
        """Return a mask, bool (B, T), of the scored positions at which the more likely answer is nearly certain.

        Given the sum s of the informative numbers, the log odds of the classes are 2·s / variance. Noisy targets of
        `3c` do not follow from the inputs, so that no position of a training sequence is solvable.
        """
        if self.variant == "3a":
            return batch.mask
        is_certain_B = 2 * self._sums(batch).abs() / VARIANCE > MAX_LOG_ODDS
        if self.variant == "3c":
            target_B = batch.targets[:, -1, 0]
            is_certain_B &= torch.minimum((target_B - LOW).abs(), (target_B - HIGH).abs()) < 1e-6
        return batch.mask & is_certain_B[:, None]

    def _sums(self, batch: Batch) -> Tensor:
        return batch.inputs[:, : self.informative, 0].sum(1)
