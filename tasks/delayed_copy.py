"""delayed_copy: repeat each symbol some steps after it was shown.

    input    3 1 4 1 5 2 0        a delay of 3 steps
    answer         3 1 4 1

Symbols arrive and are repeated at the same time. So the memory is a queue of `delay` symbols that moves by one place
per step, while `copy_memory` writes first and reads later. With `delay=0` the delay is half of the length, rounded
down. Voelker, Kajić & Eliasmith 2019 measure memory by delays of a continuous signal; here the signal is symbols.

>>> import tasks
>>> batch = tasks.build("delayed_copy:delay=2").sample(tasks.generator(0, "train"), batch=1, length=6)
>>> batch.inputs[0].tolist(), batch.targets[0, 2:].tolist()
([2, 0, 3, 4, 0, 6], [2, 0, 3, 4])
"""

# Shape suffixes: B batch, T time

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tasks.core.counting import entropy_of_counts, most_frequent_share
from tasks.core.task import Batch, Split, Strategy, Task, Tokens


@dataclass(frozen=True, kw_only=True)
class DelayedCopy(Task):
    """Repeat each symbol `delay` steps after it was shown; scored at every later step, one class per symbol.

    `delay`     number of steps between a symbol and its repetition; 0 for half of the length.
    `alphabet`  number of different symbols.
    """

    source: ClassVar[str] = "Voelker, Kajić & Eliasmith 2019, with symbols"

    delay: int = 0
    alphabet: int = 8

    def __post_init__(self) -> None:
        if self.delay < 0 or self.alphabet < 2:
            given = f"{self.delay} and {self.alphabet}"
            raise ValueError(f"delay must be at least 0 and alphabet at least 2, not {given}")

    @property
    def inputs(self) -> Tokens:
        return Tokens(self.alphabet)

    @property
    def targets(self) -> Tokens:
        return Tokens(self.alphabet)

    @property
    def min_length(self) -> int:
        return self.delay + 1 if self.delay else 2

    def delay_at(self, length: int) -> int:
        """Return the delay, in steps, at this length."""
        return self.delay or length // 2

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        inputs_BT = torch.randint(self.alphabet, (batch, length), generator=generator)
        mask_BT = torch.zeros(batch, length, dtype=torch.bool)
        mask_BT[:, self.delay_at(length) :] = True
        return Batch(inputs=inputs_BT, targets=self._delayed(inputs_BT), mask=mask_BT)

    def chance(self, length: int) -> float:
        return 1 / self.alphabet

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        """Return the strategy that counts the symbols from the one to repeat up to the present one."""
        symbols = self.delay_at(length) + 1
        counts = Strategy(
            name="counts without order",
            description="Count the symbols of the last steps, as many as the delay, and name the most frequent one.",
            score=most_frequent_share(symbols, self.alphabet),
            loss=entropy_of_counts(symbols, self.alphabet),
        )
        return (counts,)

    def collision(self, length: int) -> float:
        return float(self.alphabet) ** -length

    def solve(self, batch: Batch) -> Tensor:
        return self._delayed(batch.inputs)

    def _delayed(self, inputs_BT: Tensor) -> Tensor:
        delay = self.delay_at(inputs_BT.shape[1])
        delayed_BT = torch.zeros_like(inputs_BT)
        delayed_BT[:, delay:] = inputs_BT[:, :-delay]
        return delayed_BT
