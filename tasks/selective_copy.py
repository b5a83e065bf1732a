"""selective_copy: repeat the symbols scattered among blanks, in order.

    input    0 3 0 0 1 0 0 9 9      two symbols at random positions, then two markers
    answer                 3 1

Unlike in `copy_memory`, the positions vary, so counting steps does not help: the memory must select by
content. Gu & Dao 2023, section 4.1.1, use 16 symbols from an alphabet of 14 (preset `mamba`). Their
4,096 steps before the markers give length 4,112. With the blank and the marker, the vocabulary has 16 tokens.

>>> import tasks
>>> batch = tasks.build("selective_copy:symbols=2").sample(tasks.generator(0, "train"), batch=1, length=9)
>>> batch.inputs[0].tolist(), batch.targets[0, -2:].tolist()
([0, 11, 5, 0, 0, 0, 0, 15, 15], [11, 5])
"""

# Shape suffixes: B batch, T time, S symbols to copy, L steps before the markers

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from tasks.core.counting import entropy_of_counts, most_frequent_share
from tasks.core.task import Batch, Split, Strategy, Task, Tokens

BLANK = 0


@dataclass(frozen=True, kw_only=True)
class SelectiveCopy(Task):
    """Repeat the symbols scattered among blanks, in order; scored at the markers.

    `symbols`   number of symbols to repeat.
    `alphabet`  number of different symbols.
    """

    source: ClassVar[str] = "Gu & Dao 2023; after Jing et al. 2019"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"mamba": {"symbols": 16, "alphabet": 14}}

    symbols: int = 16
    alphabet: int = 14

    def __post_init__(self) -> None:
        if self.symbols < 1 or self.alphabet < 2:
            given = f"{self.symbols} and {self.alphabet}"
            raise ValueError(f"symbols must be at least 1 and alphabet at least 2, not {given}")

    @property
    def inputs(self) -> Tokens:
        return Tokens(self.alphabet + 2)

    @property
    def targets(self) -> Tokens:
        return Tokens(self.alphabet + 1)

    @property
    def input_names(self) -> tuple[str, ...]:
        return ("_", *(str(symbol) for symbol in range(1, self.alphabet + 1)), "?")

    @property
    def min_length(self) -> int:
        return 2 * self.symbols

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        S, L = self.symbols, length - self.symbols
        symbols_BS = torch.randint(1, self.alphabet + 1, (batch, S), generator=generator)
        positions_BS = torch.rand(batch, L, generator=generator).topk(S, sorted=False).indices.sort().values
        inputs_BT = torch.full((batch, length), BLANK)
        inputs_BT.scatter_(1, positions_BS, symbols_BS)
        inputs_BT[:, L:] = self.alphabet + 1
        targets_BT = torch.full((batch, length), BLANK)
        targets_BT[:, L:] = symbols_BS
        mask_BT = torch.zeros(batch, length, dtype=torch.bool)
        mask_BT[:, L:] = True
        return Batch(inputs=inputs_BT, targets=targets_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        return 1 / self.alphabet

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        if self.symbols == 1:
            return ()
        counts = Strategy(
            name="counts without order",
            description="Count how often each symbol was shown, and name the most frequent one.",
            score=most_frequent_share(self.symbols, self.alphabet),
            loss=entropy_of_counts(self.symbols, self.alphabet),
        )
        return (counts,)

    def collision(self, length: int) -> float:
        return float(self.alphabet) ** -self.symbols / math.comb(length - self.symbols, self.symbols)

    def solve(self, batch: Batch) -> Tensor:
        L = batch.inputs.shape[1] - self.symbols
        answers_BT = torch.zeros_like(batch.inputs)
        before_BL = batch.inputs[:, :L]
        answers_BT[:, L:] = before_BL[before_BL != BLANK].view(-1, self.symbols)
        return answers_BT
