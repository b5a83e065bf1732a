"""Finite groups by name: their elements, multiplication tables, generators and commutator subgroups.

    S3 S4 S5         the permutations of three to five items
    A4 A5            the even permutations of four or five items
    D3 to D60        the rotations r0, r1, … and reflections s0, s1, … of a polygon
    Z2 to Z120       addition modulo n

The product of permutations is (p·q)(i) = p(q(i)). Permutations are numbered in lexicographic order. In every group
the identity has number 0.
"""

# Shape suffixes: G group elements

from __future__ import annotations

import itertools
import re
from functools import lru_cache

import torch
from torch import Tensor

from tasks.core.task import standard_defaults

MAX_ORDER = 120
"""Maximum number of elements of a group."""
ITEMS = {"S": (3, 4, 5), "A": (4, 5)}
"""The supported numbers of permuted items."""


@lru_cache
def order_of(group: str) -> int:
    """Return the number of elements of a group.

    Raises:
        ValueError: If there is no group of this name.
    """
    match = re.fullmatch(r"([SADZ])([1-9]\d{0,2})", group)
    if match:
        kind, size = match[1], int(match[2])
        if size in ITEMS.get(kind, ()):
            return len(permutations_of(group))
        if kind == "D" and 3 <= size <= MAX_ORDER // 2:
            return 2 * size
        if kind == "Z" and 2 <= size <= MAX_ORDER:
            return size
    available = f"S3 to S5, A4, A5, D3 to D{MAX_ORDER // 2} or Z2 to Z{MAX_ORDER}"
    raise ValueError(f"group must be one of {available}, not {group!r}")


@lru_cache
def element_names(group: str) -> tuple[str, ...]:
    """Return the names of the elements: digits for permutations, r and s with a number for D, numbers for Z."""
    size = order_of(group)
    if group[0] in ITEMS:
        return tuple("".join(str(i + 1) for i in permutation) for permutation in permutations_of(group))
    if group[0] == "D":
        return tuple(f"{kind}{i}" for kind in "rs" for i in range(size // 2))
    return tuple(str(element) for element in range(size))


def permutations_of(group: str) -> list[tuple[int, ...]]:
    """Return the elements of a group S or A as permutations of 0, 1, …, in lexicographic order."""
    permutations = itertools.permutations(range(int(group[1:])))
    return [p for p in permutations if group[0] == "S" or sum(a > b for a, b in itertools.combinations(p, 2)) % 2 == 0]


@lru_cache
@standard_defaults()
def products_of(group: str) -> Tensor:
    """Return the multiplication table (G, G): row p, column q holds the number of p·q. The identity has number 0.

    Raises:
        ValueError: If there is no group of this name.
    """
    numbers_G = torch.arange(order_of(group))
    if group[0] == "Z":
        return (numbers_G[:, None] + numbers_G) % len(numbers_G)
    if group[0] == "D":
        sides = len(numbers_G) // 2
        turn_G, flip_G = numbers_G % sides, numbers_G // sides
        direction_G1 = 1 - 2 * flip_G[:, None]
        turn_GG = (turn_G[:, None] + direction_G1 * turn_G) % sides
        return turn_GG + sides * ((flip_G[:, None] + flip_G) % 2)
    elements = permutations_of(group)
    number = {element: i for i, element in enumerate(elements)}
    return torch.tensor([[number[tuple(p[i] for i in q)] for q in elements] for p in elements])


@lru_cache
def inverses_of(group: str) -> Tensor:
    """Return the number of the inverse of each element, (G,)."""
    return (products_of(group) == 0).int().argmax(1)


@lru_cache
def generators_of(group: str, count: int) -> tuple[int, ...]:
    """Return the first `count` elements that generate the group, in lexicographic order of their numbers.

    The identity is not among them.

    Raises:
        ValueError: If there is no group of this name, or no `count` elements that generate it.
    """
    order = order_of(group)
    if not 1 <= count < order:
        raise ValueError(f"generators must be between 1 and {order - 1} for {group}, not {count}; 0 stands for all")
    for elements in itertools.combinations(range(1, order), count):
        if len(_closure(group, elements)) == order:
            return elements
    raise ValueError(f"{group} has no {count} elements that generate it; raise generators, or give 0 for all elements")


@lru_cache
def commutator_cosets(group: str) -> tuple[tuple[int, ...], ...]:
    """Return the cosets of the commutator subgroup, the elements of the largest commutative quotient.

    The coset of a product depends only on how often each factor occurs, not on their order.
    """
    product, inverse = products_of(group).tolist(), inverses_of(group).tolist()
    pairs = itertools.product(range(len(product)), repeat=2)
    subgroup = _closure(group, {product[product[p][q]][product[inverse[p]][inverse[q]]] for p, q in pairs})
    cosets = {tuple(sorted(product[p][q] for q in subgroup)) for p in range(len(product))}
    return tuple(sorted(cosets))


def _closure(group: str, elements: tuple[int, ...] | set[int]) -> set[int]:
    """Return the subgroup that some elements generate."""
    product = products_of(group).tolist()
    reached, waiting = {0}, [0]
    while waiting:
        at = waiting.pop()
        for element in elements:
            if (after := product[at][element]) not in reached:
                reached.add(after)
                waiting.append(after)
    return reached
