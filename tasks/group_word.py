"""group_word: the product of all group elements so far.

    input    x1   x2      x3           …
    answer   x1   x1·x2   x1·x2·x3     …

This is the word problem of a group, as in Merrill, Petty & Sabharwal 2024 and Liu et al. 2023. `S5` contains
the 120 permutations of five items, and `A5` the 60 even permutations. `Z60` is addition modulo 60: it has as
many elements as A5, but its word problem can be solved by counting. S5 and A5 are not solvable groups. So no
fixed-depth transformer with log-precision solves their word problems at every length unless TC⁰ = NC¹.

The product is (p·q)(i) = p(q(i)). Permutations are numbered in lexicographic order. The prefix products p_t
of independent uniform elements are themselves independent and uniform. So the prefix products are sampled
first, and the elements follow: x_t = p_{t-1}⁻¹ · p_t.

>>> import tasks
>>> batch = tasks.build("group_word:group=Z60").sample(tasks.generator(0, "train"), batch=1, length=5)
>>> batch.inputs[0].tolist(), batch.targets[0].tolist()
([38, 42, 47, 41, 48], [38, 20, 7, 48, 36])
"""

# Shape suffixes: B batch, T time, G group elements

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tasks.core.task import Batch, Split, Task, Tokens, standard_defaults


@dataclass(frozen=True, kw_only=True)
class GroupWord(Task):
    """Multiply all group elements so far; scored at every step, one class per element.

    `group`  the group: `S5`, `A5` or `Z60`.
    """

    source: ClassVar[str] = "Merrill, Petty & Sabharwal 2024; Liu et al. 2023"

    group: Literal["S5", "A5", "Z60"] = "S5"

    @property
    def order(self) -> int:
        """The number of elements of the group."""
        return 120 if self.group == "S5" else 60

    @property
    def inputs(self) -> Tokens:
        return Tokens(self.order)

    @property
    def targets(self) -> Tokens:
        return Tokens(self.order)

    @property
    def input_names(self) -> tuple[str, ...]:
        if self.group == "Z60":
            return super().input_names
        return tuple("".join(str(i + 1) for i in permutation) for permutation in permutations_of(self.group))

    @property
    def target_names(self) -> tuple[str, ...]:
        return self.input_names

    @property
    def min_length(self) -> int:
        return 1

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        product_GG = products_of(self.group)
        inverse_G = (product_GG == 0).int().argmax(1)
        prefixes_BT = torch.randint(self.order, (batch, length), generator=generator)
        inputs_BT = prefixes_BT.clone()
        before_BT = inverse_G[prefixes_BT[:, :-1]]
        inputs_BT[:, 1:] = product_GG.flatten()[before_BT * self.order + prefixes_BT[:, 1:]]
        mask_BT = torch.ones(batch, length, dtype=torch.bool)
        return Batch(inputs=inputs_BT, targets=prefixes_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        return 1 / self.order

    def memoryless_score(self, length: int) -> float | None:
        """Return the best score of an answer that depends only on the current element and the step number.

        The first answer is the first element itself. All later answers can only be guessed.
        """
        return (1 + (length - 1) / self.order) / length

    def collision(self, length: int) -> float:
        return float(self.order) ** -length

    def solve(self, batch: Batch) -> Tensor:
        product_GG = products_of(self.group)
        answers = [batch.inputs[:, 0]]
        for element_B in batch.inputs[:, 1:].unbind(1):
            answers.append(product_GG[answers[-1], element_B])
        return torch.stack(answers, 1)


def permutations_of(group: str) -> list[tuple[int, ...]]:
    """Return the elements of S5 or A5 as permutations of 0 to 4, in lexicographic order. The identity is first."""
    candidates = itertools.permutations(range(5))
    return [p for p in candidates if group == "S5" or sum(a > b for a, b in itertools.combinations(p, 2)) % 2 == 0]


@lru_cache
@standard_defaults()
def products_of(group: str) -> Tensor:
    """Return the multiplication table (G, G): row p, column q holds the number of p·q. The identity has number 0."""
    if group == "Z60":
        numbers_G = torch.arange(60)
        return (numbers_G[:, None] + numbers_G) % 60
    elements = permutations_of(group)
    number = {element: i for i, element in enumerate(elements)}
    return torch.tensor([[number[tuple(p[i] for i in q)] for q in elements] for p in elements])
