"""nested_arithmetic: what is the value of the expression with brackets, modulo five?

    input    ( 2 * ( - 3 ) ) … an expression of exactly as many symbols as there are steps
    answer                 4       the value, at the last step

This is modular arithmetic with brackets of Delétang et al. 2022, a deterministic context-free task. An expression
of n symbols is

    n = 1   a number            n = 3   ( a number )
    n = 2   - a number          n = 4   ( - a number )
    n > 4   ( left operator right ), with the size of `left` uniform from 1 to n - 4

Numbers and operators are uniform. `multiply=False` leaves out the multiplication, as the authors' program does by
default. They train on lengths 1 to 40 and test on 41 to 500 (preset `deletang`). With V_n(v), the probability that
an expression of n symbols has the value v, V_n is uniform up to n = 4, and otherwise the mean of

    P(l + r = v), P(l - r = v) and P(l · r = v)   for l ~ V_k and r ~ V_{n-3-k}         (1)

over k from 1 to n - 4. Products with a factor 0 are 0, so 0 is the most frequent value. Its share is the chance level.

>>> import tasks
>>> task = tasks.build("nested_arithmetic")
>>> batch = task.sample(tasks.generator(0, "train"), batch=1, length=9)
>>> " ".join(task.input_names[i] for i in batch.inputs[0]), batch.targets[0, -1].item()
('( ( 1 ) + ( 4 ) )', 0)
"""

# Shape suffixes: B batch, T time, S segments of all expressions, M modulus

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.core.task import Batch, Split, Strategy, Task, Tokens, last_step_mask

Floats = npt.NDArray[np.float64]
PLUS, MINUS, TIMES, OPEN, CLOSE = range(5)
"""Tokens of the operators and brackets, as offsets from the modulus."""
MAX_LEAF = 4
"""Maximum number of symbols of an expression without an operator between two operands."""
MIN_ADVANTAGE = 1e-9
"""A strategy is listed only if it exceeds chance by more than this number, a multiple of rounding errors."""


@dataclass(frozen=True, kw_only=True)
class NestedArithmetic(Task):
    """Evaluate an expression with brackets modulo a number; scored at the last step, one class per remainder.

    `modulus`   the modulus: numbers and answers range from 0 to `modulus` - 1.
    `multiply`  whether the operators include multiplication, besides + and -.
    """

    source: ClassVar[str] = "Delétang et al. 2022"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"deletang": {"modulus": 5, "multiply": False}}

    modulus: int = 5
    multiply: bool = True

    def __post_init__(self) -> None:
        if not 2 <= self.modulus <= 20:
            raise ValueError(f"modulus must be between 2 and 20, not {self.modulus}")

    @property
    def inputs(self) -> Tokens:
        return Tokens(self.modulus + 5)

    @property
    def targets(self) -> Tokens:
        return Tokens(self.modulus)

    @property
    def input_names(self) -> tuple[str, ...]:
        return (*self.target_names, "+", "-", "*", "(", ")")

    @property
    def min_length(self) -> int:
        return 1

    @property
    def _operators(self) -> int:
        return 3 if self.multiply else 2

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        """Sample expressions level by level: the segments of one level are the operands of the level above."""
        inputs_BT = torch.full((batch, length), self.modulus + OPEN)
        rows_S, starts_S = torch.arange(batch), torch.zeros(batch, dtype=torch.int64)
        sizes_S = torch.full((batch,), length)
        levels = []
        while len(rows_S):
            ends_S = starts_S + sizes_S - 1
            is_leaf_S, closes_S = sizes_S <= MAX_LEAF, sizes_S > 2
            inputs_BT[rows_S[closes_S], ends_S[closes_S]] = self.modulus + CLOSE
            numbers_S = torch.randint(self.modulus, sizes_S.shape, generator=generator)
            places_S = ends_S - closes_S.long()
            is_negative_S = is_leaf_S & (sizes_S % 2 == 0)
            inputs_BT[rows_S[is_negative_S], places_S[is_negative_S] - 1] = self.modulus + MINUS
            inputs_BT[rows_S[is_leaf_S], places_S[is_leaf_S]] = numbers_S[is_leaf_S]
            rows_S, starts_S, sizes_S = rows_S[~is_leaf_S], starts_S[~is_leaf_S], sizes_S[~is_leaf_S]
            share_S = torch.rand(rows_S.shape, generator=generator, dtype=torch.float64)
            lefts_S = 1 + (share_S * (sizes_S - MAX_LEAF)).long()
            operators_S = torch.randint(self._operators, rows_S.shape, generator=generator)
            inputs_BT[rows_S, starts_S + 1 + lefts_S] = self.modulus + operators_S
            levels.append((is_leaf_S, torch.where(is_negative_S, -numbers_S, numbers_S), operators_S))
            starts_S = torch.cat([starts_S + 1, starts_S + 2 + lefts_S])
            sizes_S = torch.cat([lefts_S, sizes_S - 3 - lefts_S])
            rows_S = rows_S.repeat(2)
        values_S = torch.empty(0, dtype=torch.int64)
        for is_leaf_S, leaves_S, operators_S in reversed(levels):
            left_S, right_S = values_S[: len(operators_S)], values_S[len(operators_S) :]
            results_S = torch.stack([left_S + right_S, left_S - right_S, left_S * right_S])
            values_S = leaves_S % self.modulus
            values_S[~is_leaf_S] = results_S.gather(0, operators_S[None])[0] % self.modulus
        mask_BT = last_step_mask(batch, length)
        return Batch(inputs=inputs_BT, targets=values_S[:, None] * mask_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        return float(_values(self.modulus, self._operators, length)[length].max())

    def memoryless_score(self, length: int) -> float | None:
        """Return 1 if the last symbol is the only number. Otherwise it is a bracket, and the result is None."""
        return 1.0 if length <= 2 else None

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        if length <= MAX_LEAF:
            return ()
        M, values_NM = self.modulus, _values(self.modulus, self._operators, length)
        score = 0.0
        for size in range(1, length - MAX_LEAF + 1):
            left_M, right_M = values_NM[size], values_NM[length - 3 - size]
            products = [max(_product_shares(factor, right_M)) for factor in range(M)] if self.multiply else 0.0
            score += 2 * right_M.max() + float(left_M @ np.broadcast_to(products, M))
        left = Strategy(
            name="the left operand",
            description="Evaluate the left operand of the outermost operator, and guess the right one.",
            score=score / (self._operators * (length - MAX_LEAF)),
        )
        return (left,) if left.score is not None and left.score > self.chance(length) + MIN_ADVANTAGE else ()

    def collision(self, length: int) -> float:
        """Return an upper bound on the probability that two sequences are identical.

        An expression of n symbols has at least (n + 3) / 7 numbers, which agree with probability 1 / modulus each.
        """
        return float(self.modulus) ** -math.ceil((length + 3) / 7)

    def solve(self, batch: Batch) -> Tensor:
        values = [self._value(row) for row in batch.inputs.tolist()]
        return torch.tensor(values)[:, None].expand(batch.mask.shape)

    def _value(self, tokens: list[int]) -> int:
        """Return the value of an expression, computed from left to right with a stack of open brackets."""
        stack: list[tuple[int, int]] = []
        total, operator, sign, expects_number = 0, PLUS, 1, True
        for token in tokens:
            symbol = token - self.modulus
            if symbol == MINUS and expects_number:
                sign = -1
            elif symbol == OPEN:
                stack.append((total, operator))
                total, operator, expects_number = 0, PLUS, True
            elif symbol in (PLUS, MINUS, TIMES):
                operator, expects_number = symbol, True
            else:
                number = sign * token
                if symbol == CLOSE:
                    number = total
                    total, operator = stack.pop()
                total = (total + number, total - number, total * number)[operator]
                sign, expects_number = 1, False
        return total % self.modulus


@lru_cache(maxsize=256)
def _values(modulus: int, operators: int, length: int) -> Floats:
    """Return V_n(v) of equation (1) for n up to `length`, (T + 1, M)."""
    values_NM = np.full((length + 1, modulus), 1 / modulus)
    left_M1, right_M = np.arange(modulus)[:, None], np.arange(modulus)
    results = (left_M1 + right_M, left_M1 - right_M, left_M1 * right_M)[:operators]
    for size in range(MAX_LEAF + 1, length + 1):
        lefts_NM = values_NM[1 : size - MAX_LEAF + 1]
        pairs_MM = lefts_NM.T @ lefts_NM[::-1] / len(lefts_NM)
        values_NM[size] = 0
        for result_MM in results:
            np.add.at(values_NM[size], result_MM % modulus, pairs_MM / operators)
    return values_NM


def _product_shares(factor: int, values_M: Floats) -> Floats:
    """Return the distribution, (M,), of a fixed factor times a random value."""
    products_M = np.zeros_like(values_M)
    np.add.at(products_M, factor * np.arange(len(values_M)) % len(values_M), values_M)
    return products_M
