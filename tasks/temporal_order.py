"""temporal_order: in which order did the two (or three) signals occur?

A sequence consists of a start symbol, distractors a to d, and an end symbol. Two or three of the distractors
are replaced by signals. A signal is X or Y, at a random step of its own window. In shares of the length, the
windows are:

    symbols=2   .10 to .20   .50 to .60                  4 classes    experiment 6a
    symbols=3   .10 to .20   .33 to .43   .66 to .76     8 classes    experiment 6b

Hochreiter & Schmidhuber 1997, section 5.6, use lengths 100 to 110 (presets `6a` and `6b`).

>>> import tasks
>>> task = tasks.build("temporal_order")
>>> batch = task.sample(tasks.generator(0, "train"), batch=1, length=12)
>>> "".join(task.input_names[i] for i in batch.inputs[0]), task.target_names[batch.targets[0, -1]]
('<YdaaccYada>', 'YY')
"""

# Shape suffixes: B batch, T time, S signals

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from tasks.core.task import Batch, Split, Strategy, Task, Tokens, last_step_mask

DISTRACTORS = 4
SIGNAL, START, END = 4, 6, 7
WINDOW_PERCENT = {2: ((10, 20), (50, 60)), 3: ((10, 20), (33, 43), (66, 76))}


@dataclass(frozen=True, kw_only=True)
class TemporalOrder(Task):
    """Say in which order the signals X and Y occur; scored at the last step, 4 classes (8 with three signals).

    `symbols`  number of signals, 2 or 3.
    """

    source: ClassVar[str] = "Hochreiter & Schmidhuber 1997, experiments 6a and 6b"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"6a": {"symbols": 2}, "6b": {"symbols": 3}}

    symbols: int = 2

    def __post_init__(self) -> None:
        if self.symbols not in WINDOW_PERCENT:
            raise ValueError(f"symbols must be 2 or 3, not {self.symbols}")

    @property
    def inputs(self) -> Tokens:
        return Tokens(8)

    @property
    def targets(self) -> Tokens:
        return Tokens(2**self.symbols)

    @property
    def input_names(self) -> tuple[str, ...]:
        return ("a", "b", "c", "d", "X", "Y", "<", ">")

    @property
    def target_names(self) -> tuple[str, ...]:
        return tuple("".join(order) for order in itertools.product("XY", repeat=self.symbols))

    @property
    def min_length(self) -> int:
        return 10

    def windows(self, length: int) -> list[tuple[int, int]]:
        """Return the first and last step, counted from 0, of each signal's window."""
        return [(length * low // 100, length * high // 100) for low, high in WINDOW_PERCENT[self.symbols]]

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        inputs_BT = torch.randint(DISTRACTORS, (batch, length), generator=generator)
        inputs_BT[:, 0], inputs_BT[:, -1] = START, END
        classes_B = torch.randint(2**self.symbols, (batch,), generator=generator)
        for i, (low, high) in enumerate(self.windows(length)):
            position_B1 = torch.randint(low, high + 1, (batch, 1), generator=generator)
            bit_B = classes_B >> (self.symbols - 1 - i) & 1
            inputs_BT.scatter_(1, position_B1, SIGNAL + bit_B[:, None])
        mask_BT = last_step_mask(batch, length)
        return Batch(inputs=inputs_BT, targets=classes_B[:, None] * mask_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        return 0.5**self.symbols

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        S = self.symbols
        orders = [math.comb(S, count) for count in range(S + 1)]
        counts = Strategy(
            name="counts without order",
            description="Count how often each signal occurred, and guess their order.",
            score=(S + 1) / 2**S,
            loss=sum(number * math.log(number) for number in orders) / 2**S,
        )
        last = Strategy(
            name="the last signal",
            description="Remember the last signal only, and guess the others.",
            score=2 / 2**S,
            loss=(S - 1) * math.log(2),
        )
        return (last, counts)

    def collision(self, length: int) -> float:
        probability = 0.5**self.symbols * float(DISTRACTORS) ** (self.symbols + 2 - length)
        for low, high in self.windows(length):
            probability /= high + 1 - low
        return probability

    def solve(self, batch: Batch) -> Tensor:
        is_signal_BT = (batch.inputs == SIGNAL) | (batch.inputs == SIGNAL + 1)
        bits_BS = batch.inputs[is_signal_BT].view(-1, self.symbols) - SIGNAL
        weights_S = 2 ** torch.arange(self.symbols - 1, -1, -1)
        return (bits_BS * weights_S).sum(1, keepdim=True).expand(batch.mask.shape)
