"""listops: work out a nested expression of lists of digits.

    input   [MAX 2 9 [MIN 4 7 ] 0 ] _ _ =       blanks fill up to the answer step
    asked                               9

    MIN, MAX   the smallest and the largest argument
    MED        the median, rounded down
    SM         the sum modulo 10

An argument is an operator with probability 1/4, else a digit, and only a digit at the greatest depth; an
operator has 2 to 10 arguments, each number as likely. Expressions are drawn until their tokens fill at
least `shortest` of the length and leave the answer step free. Nangia & Bowman 2018, as Tay et al. 2020
draw it (Long Range Arena; preset `lra` at length 2,000: depth 10, 10 arguments, 500 to 2,000 tokens).

With p_v(x) the generating function of the sizes of arguments of value v, an operator of k arguments has

    MAX    P(≤ v) = (Σ_{u ≤ v} p_u)^k                                           (1)
    MIN    P(≥ v) = (Σ_{u ≥ v} p_u)^k                                           (2)
    SM     the k-th power of p under convolution modulo 10                      (3)
    MED    order statistics: P(at least j arguments ≤ v), binomially            (4)

so that the share of each answer among expressions of the drawn sizes, and so chance, is exact.

>>> import tasks
>>> task = tasks.build("listops")
>>> batch = task.sample(tasks.generator(0, "train"), batch=1, length=12)
>>> " ".join(task.input_names[i] for i in batch.inputs[0]), batch.targets[0, -1].item()
('[MED 0 1 0 1 0 ] _ _ _ _ =', 0)
"""

# Shape suffixes: B batch, T time, O operators and C arguments of one level of all trees

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from tasks.core.expressions import OPERATORS, acceptance, answer_shares, draw_expressions
from tasks.core.task import Batch, ImpossibleLength, Split, Task, Tokens, asked_at_the_end

CLOSE, BLANK, ANSWER = 14, 15, 16
MIN_EXPRESSION = 4
RAREST = 1e-4
"""Under this share of fitting expressions, drawing until one fits would take too long."""

LARGEST = 20
"""Of depth and arguments: the lengths are worked out for every depth, at a cost quadratic in the arguments."""


@dataclass(frozen=True, kw_only=True)
class ListOps(Task):
    """Work out a nested expression of MIN, MAX, MED and SM; asked at the last step, ten classes.

    `depth`      the greatest depth of an expression, its digits counted.
    `arguments`  the most that one operator has.
    `shortest`   the least share of the length that the expression fills.
    """

    source: ClassVar[str] = "Nangia & Bowman 2018; Tay et al. 2020"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"lra": {"depth": 10, "arguments": 10, "shortest": 0.25}}

    depth: int = 10
    arguments: int = 10
    shortest: float = 0.25

    def __post_init__(self) -> None:
        if self.depth < 2 or self.arguments < 2:
            raise ValueError(f"depth and arguments must be at least 2, not {self.depth} and {self.arguments}")
        if self.depth > LARGEST or self.arguments > LARGEST:
            raise ValueError(f"depth and arguments must be at most {LARGEST}, not {self.depth} and {self.arguments}")
        if not 0 <= self.shortest <= 0.9:
            raise ValueError(f"shortest must lie between 0 and 0.9, not {self.shortest}")

    @property
    def inputs(self) -> Tokens:
        return Tokens(17)

    @property
    def targets(self) -> Tokens:
        return Tokens(10)

    @property
    def input_names(self) -> tuple[str, ...]:
        return (*self.target_names, *(f"[{name}" for name in OPERATORS), "]", "_", "=")

    @property
    def min_length(self) -> int:
        return MIN_EXPRESSION + 1

    def sizes(self, length: int) -> tuple[int, int]:
        """The fewest and the most tokens of an expression."""
        return max(MIN_EXPRESSION, math.ceil(self.shortest * length)), length - 1

    def check_length(self, length: int) -> None:
        super().check_length(length)
        low, high = self.sizes(length)
        if acceptance(self.depth, self.arguments, low, high) < RAREST:
            advice = "choose a shorter length, or raise depth or arguments"
            raise ImpossibleLength(f"{self} at length {length}: hardly any expression fills {low} to {high}; {advice}")

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        seed = torch.randint(2**62, (), generator=generator).item()
        tokens, values = draw_expressions(int(seed), batch, self.depth, self.arguments, *self.sizes(length))
        inputs_BT = torch.full((batch, length), BLANK)
        inputs_BT[:, -1] = ANSWER
        for (trees, places), symbols in tokens:
            inputs_BT[torch.from_numpy(trees), torch.from_numpy(places)] = torch.from_numpy(symbols)
        mask_BT = asked_at_the_end(batch, length)
        return Batch(inputs=inputs_BT, targets=torch.from_numpy(values)[:, None] * mask_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        return float(answer_shares(self.depth, self.arguments, *self.sizes(length)).max())

    def collision(self, length: int) -> float:
        """A bound: n tokens hold at least (n + 2) / 3 digits, which agree one time in ten each."""
        return 10.0 ** -math.ceil((self.sizes(length)[0] + 2) / 3)

    def solve(self, batch: Batch) -> Tensor:
        values = [_value(row) for row in batch.inputs.tolist()]
        return torch.tensor(values)[:, None].expand(batch.mask.shape)


def _value(tokens: list[int]) -> int:
    """The value of an expression, read from the left with a stack of open lists."""
    open_lists: list[list[int]] = []
    for token in tokens:
        if token == CLOSE:
            operator, *numbers = open_lists.pop()
            token = _apply(OPERATORS[operator - 10], sorted(numbers))
            if not open_lists:
                return token
        if token < 10:
            open_lists[-1].append(token)
        else:
            open_lists.append([token])
    raise ValueError("the expression is not closed")


def _apply(operator: str, numbers: list[int]) -> int:
    middle = (numbers[(len(numbers) - 1) // 2] + numbers[len(numbers) // 2]) // 2
    return {"MIN": numbers[0], "MAX": numbers[-1], "MED": middle, "SM": sum(numbers) % 10}[operator]
