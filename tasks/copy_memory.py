"""copy_memory: repeat ten symbols after a long delay.

    step       1 … 10     then blanks    then the delimiter    and 10 more blanks
    input      s1 … s10   0 0 … 0        9                     0 0 … 0
    answer                                                     s1 … s10

With S symbols and length T, T - 2S - 1 blanks precede the delimiter. Every symbol is repeated T - S steps
after it was shown. (The papers write T for what is T - 2S here.) A model without memory can only guess each
symbol. Its loss is ln 8 nats per symbol. Averaged over all steps, the loss is 10·ln 8 / T (Arjovsky, Shah &
Bengio 2016, section 5.1). Presets:

    urnn   as shown above, lengths 120 to 520               Arjovsky, Shah & Bengio 2016
    tcn    the delimiter is repeated at every scored step,  Bai, Kolter & Koltun 2018
           lengths 520 to 2020
    lru    20 patterns of 7 bits, each as one of 128        minimal-LRU, N. Zucchet 2023
           symbols; length 48 leaves a gap of 8 steps
           between the last pattern and its readout

The README of minimal-LRU reports 100% on the last of these. Its patterns are read and written as seven bits at each
step, so its models know which patterns share bits.

>>> import tasks
>>> batch = tasks.build("copy_memory:symbols=2").sample(tasks.generator(3, "train"), batch=1, length=8)
>>> batch.inputs[0].tolist(), batch.targets[0, -2:].tolist()
([6, 3, 0, 0, 0, 9, 0, 0], [6, 3])
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

from tasks.core.counting import entropy_of_counts, most_frequent_share
from tasks.core.task import Batch, Split, Strategy, Task, Tokens

BLANK = 0


@dataclass(frozen=True, kw_only=True)
class CopyMemory(Task):
    """Repeat the first `symbols` symbols after a delay; scored at the last `symbols` steps, one class per symbol.

    `symbols`     number of symbols to repeat.
    `alphabet`    number of different symbols.
    `delimiter`   shown `once` before the scored steps, or also `throughout` them.
    `supervised`  steps in the training loss: only the `scored` steps, or `all` steps, as published.
    """

    version: ClassVar[int] = 2
    """The delimiter precedes the scored steps, as published. Version 1 had the delimiter at the first scored step."""
    source: ClassVar[str] = "Arjovsky, Shah & Bengio 2016; after Hochreiter & Schmidhuber 1997"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "urnn": {"symbols": 10, "alphabet": 8, "delimiter": "once", "supervised": "all"},
        "tcn": {"symbols": 10, "alphabet": 8, "delimiter": "throughout", "supervised": "all"},
        "lru": {"symbols": 20, "alphabet": 128, "delimiter": "once", "supervised": "scored"},
    }

    symbols: int = 10
    alphabet: int = 8
    delimiter: Literal["once", "throughout"] = "once"
    supervised: Literal["scored", "all"] = "scored"

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
        return ("_", *(str(symbol) for symbol in range(1, self.alphabet + 1)), "|")

    @property
    def target_names(self) -> tuple[str, ...]:
        return self.input_names[:-1]

    @property
    def min_length(self) -> int:
        return 2 * self.symbols + 1

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        S = self.symbols
        symbols_BS = torch.randint(1, self.alphabet + 1, (batch, S), generator=generator)
        inputs_BT = torch.full((batch, length), BLANK)
        inputs_BT[:, :S] = symbols_BS
        marked = slice(length - S - 1, length - S if self.delimiter == "once" else length)
        inputs_BT[:, marked] = self.alphabet + 1
        targets_BT = torch.full((batch, length), BLANK)
        targets_BT[:, length - S :] = symbols_BS
        mask_BT = torch.zeros(batch, length, dtype=torch.bool)
        mask_BT[:, length - S :] = True
        return Batch(inputs=inputs_BT, targets=targets_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        return 1 / self.alphabet

    def memoryless_loss(self, length: int) -> float:
        """Return the loss, in nats, of the best answer from the present input, which tells nothing of the symbols.

        The loss is the mean over the steps that `supervised` selects.
        """
        scored_share = self.symbols / length if self.supervised == "all" else 1.0
        return scored_share * math.log(self.alphabet)

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        scored_share = self.symbols / length if self.supervised == "all" else 1.0
        known = {
            "score": most_frequent_share(self.symbols, self.alphabet),
            "loss": scored_share * entropy_of_counts(self.symbols, self.alphabet),
        }
        blind = Strategy(
            name="blanks, then guesses",
            description="Answer with blanks up to the delimiter, and then with random symbols.",
            score=self.chance(length),
            loss=self.memoryless_loss(length),
        )
        counts = Strategy(
            name="counts without order",
            description="Count how often each symbol was shown, and name the most frequent one.",
            **known,
        )
        return (blind, counts) if self.symbols > 1 else (blind,)

    def collision(self, length: int) -> float:
        return float(self.alphabet) ** -self.symbols

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        if self.supervised == "scored":
            return super().loss(outputs, batch)
        return functional.cross_entropy(outputs.flatten(0, 1), batch.targets.flatten())

    def solve(self, batch: Batch) -> Tensor:
        answers_BT = torch.zeros_like(batch.inputs)
        answers_BT[:, -self.symbols :] = batch.inputs[:, : self.symbols]
        return answers_BT
