"""dyck: which bracket closes next? (several types of brackets, bounded depth)

    input    ( [ ] < > )            the answer is asked for wherever the next symbol closes a bracket
    answer     ]   >   )            at the step before

The string is a start of a well-nested string over `types` types of brackets, of which at most `depth` are open at a
time: the language Dyck-(k, m) of Hewitt et al. 2020, who score closing brackets too. At each step a bracket opens or
closes with equal probability. With no bracket open one must open, and with `depth` open one must close. Types are
uniform. To name the closing bracket, a model needs a stack of types. If the present bracket opens, the answer is its
type, so no memory is needed.

The number of open brackets is a Markov chain, which gives the reference scores. A stack that loses all but its bottom
is a strategy: it knows the type of the outermost bracket and the height.

>>> import tasks
>>> task = tasks.build("dyck:types=2,depth=3")
>>> batch = task.sample(tasks.generator(0, "train"), batch=1, length=10)
>>> "".join(task.input_names[i] for i in batch.inputs[0])
'()()[]()(('
>>> "".join(task.target_names[i] for i in batch.targets[0][batch.mask[0]])
'))]))'
"""

# Shape suffixes: B batch, T time, H heights

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.core.task import Batch, Split, Strategy, Task, Tokens

PAIRS = ("()", "[]", "<>", "{}")
"""Brackets of the first types. Further types are shown as a letter: `a` opens, `A` closes."""
MAX_TYPES = 30


@dataclass(frozen=True, kw_only=True)
class Dyck(Task):
    """Name the bracket that closes next; scored before every closing bracket, one class per type.

    `types`  number of types of brackets.
    `depth`  maximum number of brackets that are open at a time.
    """

    source: ClassVar[str] = "Hewitt et al. 2020, Dyck-(k, m); after Chomsky & Schützenberger 1963"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"hewitt": {"types": 8, "depth": 5}}

    types: int = 4
    depth: int = 4

    def __post_init__(self) -> None:
        if not (2 <= self.types <= MAX_TYPES and self.depth >= 2):
            given = f"{self.types} and {self.depth}"
            raise ValueError(f"types must be from 2 to {MAX_TYPES} and depth at least 2, not {given}")

    @property
    def inputs(self) -> Tokens:
        return Tokens(2 * self.types)

    @property
    def targets(self) -> Tokens:
        return Tokens(self.types)

    @property
    def input_names(self) -> tuple[str, ...]:
        return (*(pair[0] for pair in self._pairs), *self.target_names)

    @property
    def target_names(self) -> tuple[str, ...]:
        return tuple(pair[1] for pair in self._pairs)

    @property
    def _pairs(self) -> list[str]:
        letters = (f"{chr(97 + i)}{chr(65 + i)}" for i in range(MAX_TYPES - len(PAIRS)))
        return [*PAIRS, *letters][: self.types]

    @property
    def min_length(self) -> int:
        """The number of steps after which a bracket must have closed: `depth` brackets open first at most."""
        return self.depth

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        coins_TB = torch.randint(2, (length + 1, batch), generator=generator).bool()
        types_TB = torch.randint(self.types, (length + 1, batch), generator=generator)
        stack_BH = torch.zeros(batch, self.depth, dtype=torch.int64)
        height_B = torch.zeros(batch, dtype=torch.int64)
        symbols, tops = [], []
        for coin_B, type_B in zip(coins_TB, types_TB, strict=True):
            opens_B = (coin_B | (height_B == 0)) & (height_B < self.depth)
            top_B1 = stack_BH.gather(1, (height_B - 1).clamp(min=0)[:, None])
            place_B1 = height_B.clamp(max=self.depth - 1)[:, None]
            pushed_B1 = torch.where(opens_B[:, None], type_B[:, None], stack_BH.gather(1, place_B1))
            stack_BH.scatter_(1, place_B1, pushed_B1)
            symbols.append(torch.where(opens_B, type_B, self.types + top_B1[:, 0]))
            tops.append(top_B1[:, 0])
            height_B = height_B + torch.where(opens_B, 1, -1)
        symbols_BT = torch.stack(symbols, 1)
        mask_BT = symbols_BT[:, 1:] >= self.types
        targets_BT = torch.stack(tops[1:], 1) * mask_BT
        return Batch(inputs=symbols_BT[:, :-1].contiguous(), targets=targets_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        return 1 / self.types

    def memoryless_score(self, length: int) -> float | None:
        """Return the best score of an answer that depends only on the present bracket and the step number.

        If the present bracket opens, its type is the answer. Otherwise the answer can only be guessed.
        """
        after_opening, _, after_closing = _closing_steps(self.depth, length)
        known = after_opening.sum()
        return float((known + after_closing.sum() / self.types) / (known + after_closing.sum()))

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        after_opening, lowest, after_closing = _closing_steps(self.depth, length)
        known = after_opening.sum() + lowest.sum()
        guessed = after_closing.sum() - lowest.sum()
        outermost = Strategy(
            name="the outermost bracket",
            description="Count the open brackets, and remember the type of the outermost and of the present one only.",
            score=float((known + guessed / self.types) / (known + guessed)),
            loss=float(guessed * np.log(self.types) / (known + guessed)),
        )
        return (outermost,) if lowest.sum() and guessed > 0 else ()

    def collision(self, length: int) -> float:
        """Return the probability that two sequences are identical: the sum of the squared probabilities of all."""
        rises_H = _rises(self.depth)
        same_H = np.eye(self.depth + 1)[0]
        for _ in range(length):
            risen_H, fallen_H = same_H * rises_H**2 / self.types, same_H * (1 - rises_H) ** 2
            same_H = np.concatenate([[0], risen_H[:-1]]) + np.concatenate([fallen_H[1:], [0]])
        return float(same_H.sum())

    def solve(self, batch: Batch) -> Tensor:
        """Return the type on top of the stack at each step, from left to right with one stack per sequence."""
        answers = []
        for row in batch.inputs.tolist():
            stack: list[int] = []
            tops = []
            for symbol in row:
                if symbol < self.types:
                    stack.append(symbol)
                else:
                    stack.pop()
                tops.append(stack[-1] if stack else 0)
            answers.append(tops)
        return torch.tensor(answers)


def _rises(depth: int) -> npt.NDArray[np.float64]:
    """Return the probability that a bracket opens at each height, (H,)."""
    rises_H = np.full(depth + 1, 0.5)
    rises_H[0], rises_H[-1] = 1, 0
    return rises_H


@lru_cache(maxsize=4096)
def _closing_steps(depth: int, length: int) -> tuple[npt.NDArray[np.float64], ...]:
    """Return the probabilities at each step that the next bracket closes, three arrays (T,).

    The first is for steps at which the present bracket opens. The second is for those at which it closes, with one
    open bracket left. The third is for all steps at which it closes.
    """
    rises_H = _rises(depth)
    height_H = np.eye(depth + 1)[0]
    after_opening, lowest, after_closing = np.zeros((3, length))
    for step in range(length):
        risen_H = np.concatenate([[0], (height_H * rises_H)[:-1]])
        fallen_H = np.concatenate([(height_H * (1 - rises_H))[1:], [0]])
        after_opening[step] = risen_H @ (1 - rises_H)
        after_closing[step] = fallen_H @ (1 - rises_H)
        lowest[step] = fallen_H[1] * (1 - rises_H[1])
        height_H = risen_H + fallen_H
    return after_opening, lowest, after_closing
