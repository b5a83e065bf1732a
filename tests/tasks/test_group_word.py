"""Groups, their generators and commutator subgroups, and the reference scores of words over few generators."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch

import tasks
from tasks.core.groups import commutator_cosets, element_names, generators_of, inverses_of, order_of, products_of

ORDERS = {"S3": 6, "S4": 24, "S5": 120, "A4": 12, "A5": 60, "D3": 6, "D4": 8, "D60": 120, "Z2": 2, "Z5": 5, "Z120": 120}
ABELIAN_QUOTIENTS = {"S3": 2, "S4": 2, "S5": 2, "A4": 3, "A5": 1, "D3": 2, "D4": 4, "D5": 2, "Z5": 5}
"""Orders of the largest commutative quotients, from textbooks."""


@pytest.mark.parametrize("group", ORDERS)
def test_tables_satisfy_the_group_axioms(group: str) -> None:
    product, elements = products_of(group), torch.arange(order_of(group))
    assert len(product) == len(set(element_names(group))) == ORDERS[group]
    assert torch.equal(product[0], elements) and torch.equal(product[:, 0], elements)
    assert all(torch.equal(row.sort().values, elements) for row in torch.cat([product, product.T]))
    assert not product[elements, inverses_of(group)].any()
    for element in {1, 7 % len(product), len(product) - 1}:
        assert torch.equal(product[product[:, element]], product[:, product[element]])


@pytest.mark.parametrize(("group", "order"), ABELIAN_QUOTIENTS.items())
def test_commutator_cosets_are_the_abelian_quotient(group: str, order: int) -> None:
    cosets = commutator_cosets(group)
    assert len(cosets) == order
    assert sorted(itertools.chain(*cosets)) == list(range(order_of(group)))


@pytest.mark.parametrize(("group", "count"), [("S5", 2), ("A5", 2), ("A5", 6), ("D4", 2), ("Z60", 1)])
def test_generators_reach_every_element(group: str, count: int) -> None:
    generators = generators_of(group, count)
    reached, product = {0}, products_of(group)
    for _ in range(order_of(group)):
        reached |= {int(product[element, g]) for element in reached for g in generators}
    assert len(set(generators)) == count and 0 not in generators
    assert reached == set(range(order_of(group)))


@pytest.mark.parametrize(("group", "generators", "length"), [("S3", 2, 5), ("A4", 2, 6), ("D4", 3, 4), ("Z5", 1, 7)])
def test_reference_scores_match_all_words(group: str, generators: int, length: int) -> None:
    task = tasks.build(f"group_word:group={group},generators={generators}")
    words = torch.tensor(list(itertools.product(range(generators), repeat=length)))
    batch = tasks.Batch(inputs=words, targets=words, mask=words >= 0)
    prefixes = task.solve(batch)
    blind, memoryless = [], []
    for step in range(length):
        products = prefixes[:, step].tolist()
        blind.append(max(Counter(products).values()) / len(words))
        by_input = Counter(zip(words[:, step].tolist(), products, strict=True))
        best = [max(n for (x, _), n in by_input.items() if x == token) for token in range(generators)]
        memoryless.append(sum(best) / len(words))
    assert task.chance(length) == pytest.approx(sum(blind) / length)
    assert (task.memoryless_score(length) or task.chance(length)) == pytest.approx(sum(memoryless) / length)
    last = tasks.build(f"group_word:group={group},generators={generators},every_step=False")
    assert last.chance(length) == pytest.approx(blind[-1])
    assert (last.memoryless_score(length) or last.chance(length)) == pytest.approx(memoryless[-1])


def test_perfect_and_commutative_groups_have_no_strategy_of_counting() -> None:
    assert tasks.build("group_word:group=A5").strategies(10) == ()
    assert tasks.build("group_word:group=Z60").strategies(10) == ()
    (counts,) = tasks.build("group_word:every_step=False").strategies(10)
    assert counts.score == pytest.approx(1 / 60)
