"""copy_memory: repeat ten symbols after a long silence.

    step       1 … 10     then blanks          then the delimiter, and 9 more blanks
    input      s1 … s10   0 0 … 0              9 0 0 … 0
    asked                                      s1 … s10

With S symbols to copy and length T the silence is T - 2S: the delimiter stands at the first asked
step, and the delay between a symbol and its copy is T - S for all of them. A model without memory
can do no better than guess each symbol: ln 8 nats each, or 10·ln 8 / T averaged over all steps, the
loss of the memoryless answer in Arjovsky, Shah & Bengio 2016, section 5.1.

>>> import tasks
>>> batch = tasks.build("copy_memory:symbols=2").sample(tasks.generator(3, "train"), batch=1, length=8)
>>> batch.inputs[0].tolist(), batch.targets[0, -2:].tolist()
([6, 3, 0, 0, 0, 0, 9, 0], [6, 3])
"""

# Shape suffixes: B batch, T time, S symbols to copy, C classes

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from tasks._contract import Batch, Task, Tokens

BLANK = 0


@dataclass(frozen=True, kw_only=True)
class CopyMemory(Task):
    """Copy `symbols` symbols of an `alphabet` after a delay; asked at the last steps.

    `supervised`  whether training lowers the loss at the `asked` steps only or at `all` of them,
                  blanks included, as published.
    """

    source: ClassVar[str] = "Arjovsky, Shah & Bengio 2016; after Hochreiter & Schmidhuber 1997"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"urnn": {"symbols": 10, "alphabet": 8, "supervised": "all"}}

    symbols: int = 10
    alphabet: int = 8
    supervised: Literal["asked", "all"] = "asked"

    def __post_init__(self) -> None:
        if self.symbols < 1 or self.alphabet < 2:
            raise ValueError(
                f"symbols must be at least 1 and alphabet at least 2, not {self.symbols} and {self.alphabet}"
            )

    @property
    def inputs(self) -> Tokens:
        return Tokens(self.alphabet + 2)

    @property
    def targets(self) -> Tokens:
        return Tokens(self.alphabet + 1)

    @property
    def min_length(self) -> int:
        return 2 * self.symbols

    def draw(self, generator: torch.Generator, batch: int, length: int) -> Batch:
        S = self.symbols
        symbols_BS = torch.randint(1, self.alphabet + 1, (batch, S), generator=generator)
        inputs_BT = torch.full((batch, length), BLANK)
        inputs_BT[:, :S] = symbols_BS
        inputs_BT[:, length - S] = self.alphabet + 1
        targets_BT = torch.full((batch, length), BLANK)
        targets_BT[:, length - S :] = symbols_BS
        mask_BT = torch.zeros(batch, length, dtype=torch.bool)
        mask_BT[:, length - S :] = True
        return Batch(inputs=inputs_BT, targets=targets_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        return 1 / self.alphabet

    def memoryless_loss(self, length: int) -> float:
        """The loss, in nats, of the best answer that remembers nothing but the place in the sequence."""
        share_asked = self.symbols / length if self.supervised == "all" else 1.0
        return share_asked * math.log(self.alphabet)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        if self.supervised == "asked":
            return super().loss(outputs, batch)
        return functional.cross_entropy(outputs.flatten(0, 1), batch.targets.flatten())

    def solve(self, batch: Batch) -> Tensor:
        answers_BT = torch.zeros_like(batch.inputs)
        answers_BT[:, -self.symbols :] = batch.inputs[:, : self.symbols]
        return answers_BT
