"""flip_flop: which bit was written last?

    input    w 1 i 0 i 1 r 1 w 0 i 1 r
    answer               1           0      at every r

Instructions and bits alternate. The bit after w (write) is stored, the bit after i (ignore) is random, and the bit
after r (read) is the stored one. So a read asks for the last bit that was written or read. The first instruction is
w, the last one is r. In between, i has probability `ignore`, and w and r share the rest equally. At an even length
the last step shows the answer of the last read. Presets of Liu et al. 2023, whose sequences have 512 steps:

    ffl      ignore=0.8     for training
    sparse   ignore=0.98    long distances, for testing
    dense    ignore=0.1     short distances, for testing

>>> import tasks
>>> task = tasks.build("flip_flop")
>>> batch = task.sample(tasks.generator(0, "train"), batch=1, length=11)
>>> " ".join(task.input_names[i] for i in batch.inputs[0]), batch.targets[0, -1].item()
('w 0 i 0 i 0 i 1 i 0 r', 0)
"""

# Shape suffixes: B batch, T time, N instructions

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tasks.core.task import Batch, Split, Strategy, Task, Tokens

WRITE, IGNORE, READ = 2, 3, 4
"""Tokens of the instructions. Tokens 0 and 1 are the bits."""


@dataclass(frozen=True, kw_only=True)
class FlipFlop(Task):
    """Name the bit that was written last; scored at every read, two classes.

    `ignore`  probability of the instruction to ignore a bit.
    """

    source: ClassVar[str] = "Liu et al. 2023, “Exposing attention glitches with flip-flop language modeling”"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "ffl": {"ignore": 0.8},
        "sparse": {"ignore": 0.98},
        "dense": {"ignore": 0.1},
    }

    ignore: float = 0.8

    def __post_init__(self) -> None:
        if not 0 <= self.ignore < 1:
            raise ValueError(f"ignore must be at least 0 and below 1, not {self.ignore}")

    @property
    def inputs(self) -> Tokens:
        return Tokens(5)

    @property
    def targets(self) -> Tokens:
        return Tokens(2)

    @property
    def input_names(self) -> tuple[str, ...]:
        return ("0", "1", "w", "i", "r")

    @property
    def min_length(self) -> int:
        return 3

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        N = (length + 1) // 2
        share_BN = torch.rand(batch, N, generator=generator)
        instructions_BN = torch.full((batch, N), IGNORE)
        instructions_BN[share_BN >= self.ignore] = WRITE
        instructions_BN[share_BN >= (1 + self.ignore) / 2] = READ
        instructions_BN[:, 0], instructions_BN[:, -1] = WRITE, READ
        bits_BN = torch.randint(2, (batch, N), generator=generator)
        stored_BN = _last_written(instructions_BN, bits_BN)
        is_read_BN = instructions_BN == READ
        inputs_BT = torch.empty(batch, length, dtype=torch.int64)
        inputs_BT[:, ::2] = instructions_BN
        inputs_BT[:, 1::2] = torch.where(is_read_BN, stored_BN, bits_BN)[:, : length // 2]
        targets_BT, mask_BT = torch.zeros_like(inputs_BT), torch.zeros(batch, length, dtype=torch.bool)
        targets_BT[:, ::2], mask_BT[:, ::2] = stored_BN * is_read_BN, is_read_BN
        return Batch(inputs=inputs_BT, targets=targets_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        return 0.5

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        """Return the strategy that reads the last bit. It is a guess where the instruction before a read is i."""
        N = (length + 1) // 2
        reads_N, ignored_N = np.full(N, (1 - self.ignore) / 2), np.full(N, self.ignore)
        reads_N[0], reads_N[-1] = 0, 1
        ignored_N[1] = 0
        guessed = float(reads_N @ ignored_N / reads_N.sum())
        last = Strategy(
            name="the last bit",
            description="Name the bit just before the read, unless its instruction says to ignore it; then guess.",
            score=1 - guessed / 2,
            loss=guessed * math.log(2),
        )
        return (last,) if guessed else ()

    def collision(self, length: int) -> float:
        """Return the probability that two sequences are identical, from those of each instruction with its bit."""
        other = (1 - self.ignore) / 2
        same = (other**2 + self.ignore**2) / 2 + other**2
        return float(0.5 * same ** ((length + 1) // 2 - 2))

    def solve(self, batch: Batch) -> Tensor:
        instructions_BN, bits_BN = batch.inputs[:, ::2], batch.inputs[:, 1::2]
        padded_BN = torch.zeros_like(instructions_BN)
        padded_BN[:, : bits_BN.shape[1]] = bits_BN
        answers_BT = torch.zeros_like(batch.inputs)
        answers_BT[:, ::2] = _last_written(instructions_BN, padded_BN)
        return answers_BT


def _last_written(instructions_BN: Tensor, bits_BN: Tensor) -> Tensor:
    """Return the bit of the last write up to each instruction, (B, N)."""
    steps_N = torch.arange(instructions_BN.shape[1], device=instructions_BN.device)
    last_BN = torch.where(instructions_BN == WRITE, steps_N, 0).cummax(1).values
    return bits_BN.gather(1, last_BN)
