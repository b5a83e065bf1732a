"""listops: evaluate a nested expression of lists of digits.

    input    [MAX 2 9 [MIN 4 7 ] 0 ] _ _ =       blanks pad up to the last step
    answer                               9

    MIN, MAX   the smallest and the largest argument
    MED        the median, rounded down
    SM         the sum modulo 10

An argument is an operator with probability 1/4, and a digit with probability 3/4. At the maximum depth every argument
is a digit. An operator has 2 to `arguments` arguments, and each number of arguments is equally likely. Expressions
are sampled until an expression fits. An expression fits if its number of tokens is from `shortest` times the
length to the length minus 1. The task is from Nangia & Bowman 2018. The expressions are generated as in the
Long Range Arena of Tay et al. 2020. The preset `lra` (depth 10, 10 arguments) at length 2,000 yields expressions of
500 to 1,999 tokens.

Let p_v(x) be the generating function of the sizes of arguments of value v. An operator with k arguments has

    MAX    P(≤ v) = (Σ_{u ≤ v} p_u)^k                                           (1)
    MIN    P(≥ v) = (Σ_{u ≥ v} p_u)^k                                           (2)
    SM     the k-th power of p under convolution modulo 10                      (3)
    MED    order statistics: P(at least j arguments ≤ v), a binomial sum        (4)

These equations give the exact share of each answer among expressions of the accepted sizes. The largest share is
the chance level.

>>> import tasks
>>> task = tasks.build("listops")
>>> batch = task.sample(tasks.generator(0, "train"), batch=1, length=12)
>>> " ".join(task.input_names[i] for i in batch.inputs[0]), batch.targets[0, -1].item()
('[MED 0 1 0 1 0 ] _ _ _ _ =', 0)
"""

# Shape suffixes: B batch, T time, K kinds of operators, V values

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tasks.core.expressions import OPERATORS, acceptance, answer_shares, answer_shares_by_operator, sample_expressions
from tasks.core.task import Batch, ImpossibleLength, Split, Strategy, Task, Tokens, last_step_mask

CLOSE, BLANK, ANSWER = 14, 15, 16
MIN_EXPRESSION = 4
MIN_ACCEPTANCE = 1e-4
"""Minimum share of random expressions that must fit the length. Below this share, rejection sampling takes too long."""

TINY = 1e-300
"""Smallest share of an answer, so that its logarithm is finite."""
MAX_NESTING = 20
"""Maximum of `depth` and of `arguments`. The time to compute chance grows with `depth` times `arguments` squared."""


@dataclass(frozen=True, kw_only=True)
class ListOps(Task):
    """Evaluate a nested expression of MIN, MAX, MED and SM; scored at the last step, ten classes.

    `depth`      maximum depth of an expression, counting the level of the digits.
    `arguments`  maximum number of arguments of an operator.
    `shortest`   minimum number of tokens of an expression, as a share of the length.
    """

    source: ClassVar[str] = "Nangia & Bowman 2018; Tay et al. 2020"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"lra": {"depth": 10, "arguments": 10, "shortest": 0.25}}

    depth: int = 10
    arguments: int = 10
    shortest: float = 0.25

    def __post_init__(self) -> None:
        if self.depth < 2 or self.arguments < 2:
            raise ValueError(f"depth and arguments must be at least 2, not {self.depth} and {self.arguments}")
        if self.depth > MAX_NESTING or self.arguments > MAX_NESTING:
            raise ValueError(
                f"depth and arguments must be at most {MAX_NESTING}, not {self.depth} and {self.arguments}"
            )
        if not 0 <= self.shortest <= 0.9:
            raise ValueError(f"shortest must be between 0 and 0.9, not {self.shortest}")

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
        """Return the minimum and maximum number of tokens of an expression at this length."""
        return max(MIN_EXPRESSION, math.ceil(self.shortest * length)), length - 1

    def check_length(self, length: int) -> None:
        super().check_length(length)
        low, high = self.sizes(length)
        if acceptance(self.depth, self.arguments, low, high) < MIN_ACCEPTANCE:
            advice = "choose a shorter length, or raise depth or arguments"
            problem = f"too few expressions have {low} to {high} tokens"
            raise ImpossibleLength(f"{self} at length {length}: {problem}; {advice}")

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        seed = torch.randint(2**62, (), generator=generator).item()
        tokens, values = sample_expressions(int(seed), batch, self.depth, self.arguments, *self.sizes(length))
        inputs_BT = torch.full((batch, length), BLANK)
        inputs_BT[:, -1] = ANSWER
        for (trees, positions), symbols in tokens:
            inputs_BT[torch.from_numpy(trees), torch.from_numpy(positions)] = torch.from_numpy(symbols)
        mask_BT = last_step_mask(batch, length)
        return Batch(inputs=inputs_BT, targets=torch.from_numpy(values)[:, None] * mask_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        return float(answer_shares(self.depth, self.arguments, *self.sizes(length)).max())

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        shares_KV = answer_shares_by_operator(self.depth, self.arguments, *self.sizes(length))
        operator_K1 = shares_KV.sum(1, keepdims=True)
        root = Strategy(
            name="the first operator",
            description="Remember the first operator, and name its most frequent value.",
            score=float(shares_KV.max(1).sum()),
            loss=-float((shares_KV * np.log(np.maximum(shares_KV / operator_K1, TINY))).sum()),
        )
        return (root,)

    def collision(self, length: int) -> float:
        """Return an upper bound on the probability that two sequences are identical.

        An expression of n tokens has at least (n + 2) / 3 digits. Each digit agrees with probability 1/10.
        """
        return 10.0 ** -math.ceil((self.sizes(length)[0] + 2) / 3)

    def solve(self, batch: Batch) -> Tensor:
        values = [_value(row) for row in batch.inputs.tolist()]
        return torch.tensor(values)[:, None].expand(batch.mask.shape)


def _value(tokens: list[int]) -> int:
    """Return the value of an expression, computed from left to right with a stack of open lists."""
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
