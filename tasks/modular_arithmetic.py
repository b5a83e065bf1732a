"""modular_arithmetic: what is the value of the expression modulo five?

    input    3 - 2 * 4 + 1          sampled uniformly; * binds before + and -
    answer               1          the value, at the last step

An expression has an odd number of symbols. At an even length the last step is "=", so the task supports
every length. Delétang et al. 2022 train on lengths 1 to 40 and test on 41 to 500 (preset `deletang`).

It suffices to track the sum s of the finished terms and the signed product p of the current term.
The next number d turns the state (s, p) into

    (s, p·d)        after *                                                     (1)
    (s + p, ±d)     after + or -                                                (2)

The value is s + p. Products with a factor 0 are 0, so the answer 0 is slightly more likely than any other.
The chance level follows from iterating the Markov chain (1), (2).

>>> import tasks
>>> task = tasks.build("modular_arithmetic")
>>> batch = task.sample(tasks.generator(0, "train"), batch=1, length=8)
>>> " ".join(task.input_names[i] for i in batch.inputs[0]), batch.targets[0, -1].item()
('3 + 0 - 2 * 3 =', 2)
"""

# Shape suffixes: B batch, T time, N numbers of the expression, M modulus, S = M·M states

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.core.task import Batch, Split, Strategy, Task, Tokens, last_step_mask

PLUS, MINUS, TIMES, EQUALS = range(4)
"""Tokens of the operators and of the symbol "=", as offsets from the modulus."""
MIN_ADVANTAGE = 1e-3
"""A memoryless baseline is reported only if it exceeds chance by more than this number."""


@dataclass(frozen=True, kw_only=True)
class ModularArithmetic(Task):
    """Evaluate an expression of +, - and * modulo a number; scored at the last step, one class per remainder.

    `modulus`  the modulus: numbers and answers range from 0 to `modulus` - 1.
    """

    source: ClassVar[str] = "Delétang et al. 2022"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"deletang": {"modulus": 5}}

    modulus: int = 5

    def __post_init__(self) -> None:
        if not 2 <= self.modulus <= 20:
            raise ValueError(f"modulus must be between 2 and 20, not {self.modulus}")

    @property
    def inputs(self) -> Tokens:
        return Tokens(self.modulus + 4)

    @property
    def targets(self) -> Tokens:
        return Tokens(self.modulus)

    @property
    def input_names(self) -> tuple[str, ...]:
        return (*self.target_names, "+", "-", "*", "=")

    @property
    def min_length(self) -> int:
        return 1

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        count = (length + 1) // 2
        inputs_BT = torch.full((batch, length), self.modulus + EQUALS)
        inputs_BT[:, : 2 * count : 2] = torch.randint(self.modulus, (batch, count), generator=generator)
        operators = torch.randint(3, (batch, count - 1), generator=generator)
        inputs_BT[:, 1 : 2 * count - 1 : 2] = self.modulus + operators
        mask_BT = last_step_mask(batch, length)
        return Batch(inputs=inputs_BT, targets=self._value(inputs_BT) * mask_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        count = (length + 1) // 2
        return float(_values(self.modulus, _states(self.modulus, count)).max())

    def memoryless_score(self, length: int) -> float | None:
        """Return the best score of an answer that depends only on the last number.

        The result is None if this score exceeds chance by at most `MIN_ADVANTAGE`, or if the length is even. At an
        even length the last step is "=", which carries no information. If the last number is 0, only the finished terms
        contribute to the value.
        """
        if length % 2 == 0:
            return None
        M, count = self.modulus, (length + 1) // 2
        if count == 1:
            return 1.0
        before_S = _states(M, count - 1)
        after = [_values(M, before_S @ _step(M, (number,))).max() for number in range(M)]
        score = float(np.mean(after))
        return score if score - self.chance(length) > MIN_ADVANTAGE else None

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        score = _left_to_right_score(self.modulus, (length + 1) // 2)
        left_to_right = Strategy(
            name="left to right",
            description="Evaluate from left to right, as if multiplication did not bind before addition.",
            score=score,
        )
        floor = max(self.chance(length), self.memoryless_score(length) or 0.0)
        return (left_to_right,) if floor + MIN_ADVANTAGE < score < 1 - MIN_ADVANTAGE else ()

    def collision(self, length: int) -> float:
        count = (length + 1) // 2
        return float(self.modulus) ** -count * 3.0 ** (1 - count)

    def solve(self, batch: Batch) -> Tensor:
        return self._value(batch.inputs).expand(batch.mask.shape)

    def _value(self, inputs_BT: Tensor) -> Tensor:
        """Return the value of each expression, (B, 1).

        The product of each term is computed by repeated doubling. The terms are then added.
        """
        count = (inputs_BT.shape[1] + 1) // 2
        numbers_BN = inputs_BT[:, : 2 * count : 2]
        operators_BN = torch.zeros_like(numbers_BN)
        operators_BN[:, 1:] = inputs_BT[:, 1 : 2 * count - 1 : 2] - self.modulus
        starts_BN = operators_BN != TIMES
        product_BN = torch.where(operators_BN == MINUS, -numbers_BN, numbers_BN)
        reached_BN, span = starts_BN.clone(), 1
        while span < count:
            longer_BN = product_BN[:, span:] * product_BN[:, :-span] % self.modulus
            longer_BN = torch.where(reached_BN[:, span:], product_BN[:, span:], longer_BN)
            product_BN = torch.cat([product_BN[:, :span], longer_BN], 1)
            reached_BN = torch.cat([reached_BN[:, :span], reached_BN[:, span:] | reached_BN[:, :-span]], 1)
            span *= 2
        ends_BN = torch.ones_like(starts_BN)
        ends_BN[:, :-1] = starts_BN[:, 1:]
        return (product_BN * ends_BN).sum(1, keepdim=True) % self.modulus


def _step(modulus: int, numbers: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return the transition matrix (S, S) of equations (1) and (2).

    The operator is sampled uniformly, and the next number uniformly from `numbers`.
    """
    total, product = np.divmod(np.arange(modulus**2), modulus)
    step_SS = np.zeros((modulus**2, modulus**2))
    for number in numbers:
        added = (total + product) % modulus
        for next_total, next_product in ((total, product * number), (added, number), (added, -number)):
            after = next_total * modulus + next_product % modulus
            np.add.at(step_SS, (np.arange(modulus**2), after), 1 / (3 * len(numbers)))
    return step_SS


@lru_cache(maxsize=4096)
def _states(modulus: int, count: int) -> npt.NDArray[np.float64]:
    """Return the distribution (S,) of the state after `count` numbers."""
    first_S = np.zeros(modulus**2)
    first_S[:modulus] = 1 / modulus
    step_SS = _step(modulus, tuple(range(modulus)))
    after_S: npt.NDArray[np.float64] = first_S @ np.linalg.matrix_power(step_SS, count - 1)
    return after_S


def _values(modulus: int, states_S: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the distribution (M,) of the value s + p, given the distribution of the state, `states_S`."""
    total_S, product_S = np.divmod(np.arange(modulus**2), modulus)
    values_M = np.zeros(modulus)
    np.add.at(values_M, (total_S + product_S) % modulus, states_S)
    return values_M


@lru_cache(maxsize=4096)
def _left_to_right_score(modulus: int, count: int) -> float:
    """Return the probability that an expression of `count` numbers has the value of left-to-right evaluation.

    The state (s, p) of equations (1) and (2) is joined by l, the value from left to right. The next number d turns l
    into l·d after *, and into l ± d after + or -. The array holds the probability of each (s, p, l), (M, M, M).
    """
    M = modulus
    s, p, value = np.indices((M, M, M))
    states = np.zeros((M, M, M))
    states[0, range(M), range(M)] = 1 / M
    for _ in range(count - 1):
        after = np.zeros_like(states)
        for number in range(M):
            for index in (
                (s, p * number % M, value * number % M),  # (1)
                ((s + p) % M, np.full_like(p, number), (value + number) % M),  # (2)
                ((s + p) % M, np.full_like(p, -number % M), (value - number) % M),
            ):
                np.add.at(after, index, states / (3 * M))
        states = after
    return float(states[(s + p) % M == value].sum())
