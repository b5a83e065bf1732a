"""group_word: the product of all group elements so far.

    input    x1   x2      x3           …
    answer   x1   x1·x2   x1·x2·x3     …

This is the word problem of a group, as in Merrill, Petty & Sabharwal 2024 and Liu et al. 2023. The groups are:

    S3 S4 S5         the permutations of three to five items
    A4 A5            the even permutations of four or five items
    D3 to D60        the rotations and reflections of a polygon
    Z2 to Z120       addition modulo n

`Z60` has as many elements as A5, but its word problem can be solved by counting. S5 and A5 are not solvable groups.
So no fixed-depth transformer with log-precision solves their word problems at every length unless TC⁰ = NC¹.

The product is (p·q)(i) = p(q(i)). Permutations are numbered in lexicographic order. By default every element may be
an input. The prefix products p_t of independent uniform elements are themselves independent and uniform. So the
prefix products are sampled first, and the elements follow: x_t = p_{t-1}⁻¹ · p_t. With `generators=2`, the inputs
are two elements that generate the group, as in Terzić et al. 2025, who limit A5 to 2 and 6 generators. They are the
first elements in lexicographic order that generate the group; the source does not name its own.

With P_t(g), the probability of the prefix product g at step t, the reference scores at step t are

    chance       max_g P_t(g)                                                   (1)
    memoryless   max_g P_{t-1}(g)                                               (2)
    counting     Σ_c max_{g in c} P_{t-1}(g)                                    (3)

In (3) the sum runs over the cosets c of the commutator subgroup. Counts of the elements, without their order, tell
the coset and no more.

>>> import tasks
>>> batch = tasks.build("group_word:group=Z60").sample(tasks.generator(0, "train"), batch=1, length=5)
>>> batch.inputs[0].tolist(), batch.targets[0].tolist()
([38, 42, 47, 41, 48], [38, 20, 7, 48, 36])
"""

# Shape suffixes: B batch, T time, G group elements

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.core.groups import commutator_cosets, element_names, generators_of, inverses_of, order_of, products_of
from tasks.core.task import Batch, Split, Strategy, Task, Tokens, last_step_mask

MIN_ADVANTAGE = 1e-9
"""A memoryless baseline is reported only if it exceeds chance by more than this number, a multiple of rounding."""


@dataclass(frozen=True, kw_only=True)
class GroupWord(Task):
    """Multiply all group elements so far; scored at every step, one class per element.

    `group`       the group: `S5`, `A5`, `Z60`, `S3`, `D4` and others.
    `generators`  number of different inputs, which generate the group; 0 for all elements.
    `every_step`  whether every prefix is scored, not only the whole sequence.
    """

    source: ClassVar[str] = "Merrill, Petty & Sabharwal 2024; Liu et al. 2023; Terzić et al. 2025"

    group: str = "S5"
    generators: int = 0
    every_step: bool = True

    def __post_init__(self) -> None:
        order_of(self.group)
        if self.generators:
            generators_of(self.group, self.generators)

    @property
    def order(self) -> int:
        """The number of elements of the group."""
        return order_of(self.group)

    @property
    def factors(self) -> tuple[int, ...]:
        """The numbers of the elements that may be inputs. Input token i stands for the element `factors[i]`."""
        return generators_of(self.group, self.generators) if self.generators else tuple(range(self.order))

    @property
    def inputs(self) -> Tokens:
        return Tokens(len(self.factors))

    @property
    def targets(self) -> Tokens:
        return Tokens(self.order)

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(self.target_names[element] for element in self.factors)

    @property
    def target_names(self) -> tuple[str, ...]:
        return element_names(self.group)

    @property
    def min_length(self) -> int:
        return 1

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        if self.generators:
            inputs_BT = torch.randint(self.generators, (batch, length), generator=generator)
            prefixes_BT = self._prefixes(inputs_BT)
        else:
            prefixes_BT = torch.randint(self.order, (batch, length), generator=generator)
            inputs_BT = prefixes_BT.clone()
            before_BT = inverses_of(self.group)[prefixes_BT[:, :-1]]
            inputs_BT[:, 1:] = products_of(self.group).flatten()[before_BT * self.order + prefixes_BT[:, 1:]]
        if self.every_step:
            mask_BT = torch.ones(batch, length, dtype=torch.bool)
            return Batch(inputs=inputs_BT, targets=prefixes_BT, mask=mask_BT)
        mask_BT = last_step_mask(batch, length)
        return Batch(inputs=inputs_BT, targets=prefixes_BT * mask_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        return float(self._distributions(length)[self._steps(length)].max(1).mean())

    def memoryless_score(self, length: int) -> float | None:
        """Return the mean of (2), the score of the best answer from the current element and the step number alone.

        The first answer is the first element itself. The result is None if only chance is reached.
        """
        score = float(self._distributions(length)[self._steps(length) - 1].max(1).mean())
        return score if score > self.chance(length) + MIN_ADVANTAGE else None

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        """Return the strategy of counting, unless it is no better than the present element or solves the task."""
        cosets = commutator_cosets(self.group)
        if len(cosets) in (1, self.order):
            return ()
        before = self._distributions(length)[self._steps(length) - 1]
        counts = Strategy(
            name="counts without order",
            description="Count how often each element occurred and ignore the order.",
            score=float(sum(before[:, list(coset)].max(1).mean() for coset in cosets)),
        )
        floor = max(self.chance(length), self.memoryless_score(length) or 0.0)
        return (
            (counts,) if counts.score is not None and floor + MIN_ADVANTAGE < counts.score < 1 - MIN_ADVANTAGE else ()
        )

    def collision(self, length: int) -> float:
        return float(len(self.factors)) ** -length

    def solve(self, batch: Batch) -> Tensor:
        return self._prefixes(batch.inputs)

    def _prefixes(self, inputs_BT: Tensor) -> Tensor:
        """Return the prefix products, (B, T)."""
        product_GG = products_of(self.group)
        elements_BT = torch.tensor(self.factors)[inputs_BT]
        prefixes = [elements_BT[:, 0]]
        for element_B in elements_BT[:, 1:].unbind(1):
            prefixes.append(product_GG[prefixes[-1], element_B])
        return torch.stack(prefixes, 1)

    def _steps(self, length: int) -> npt.NDArray[np.int64]:
        """Return the scored steps, counted from 1."""
        return np.arange(1, length + 1) if self.every_step else np.array([length])

    def _distributions(self, length: int) -> npt.NDArray[np.float64]:
        """Return P_t(g), (T + 1, G), of the prefix products after 0 to `length` steps."""
        return _distributions(self.group, self.factors, length)


@lru_cache(maxsize=16)
def _distributions(group: str, factors: tuple[int, ...], length: int) -> npt.NDArray[np.float64]:
    """Return the probability of each element after 0 to `length` uniform factors, (T + 1, G).

    A step permutes the probabilities once per factor: P_t(g·x) += P_{t-1}(g) / k.
    """
    product_GG = products_of(group).numpy()
    probabilities = np.zeros((length + 1, len(product_GG)))
    probabilities[0, 0] = 1.0
    if len(factors) == len(product_GG):
        probabilities[1:] = 1 / len(product_GG)
        return probabilities
    for step in range(length):
        for factor in factors:
            probabilities[step + 1, product_GG[:, factor]] += probabilities[step] / len(factors)
    return probabilities
