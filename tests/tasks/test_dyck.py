"""Strings of `dyck` are starts of well-nested strings, and its answers are the brackets that close them."""

from __future__ import annotations

import pytest
import torch

import tasks
from tests.tasks import oracles


def reduced(string: str, pairs: list[str]) -> str:
    """Return what is left of a string after removing all matched brackets."""
    while True:
        shorter = string
        for pair in pairs:
            shorter = shorter.replace(pair, "")
        if shorter == string:
            return string
        string = shorter


@pytest.mark.parametrize("spec", ["dyck", "dyck:types=2,depth=2", "dyck:types=30,depth=7"])
def test_strings_are_nested_and_answers_close_them(spec: str) -> None:
    task = tasks.build(spec)
    opening, closing = task.input_names[: task.types], task.target_names
    pairs = [o + c for o, c in zip(opening, closing, strict=True)]
    batch = task.sample(tasks.generator(0, "train"), 20, 60)
    for row, targets, mask in zip(batch.inputs.tolist(), batch.targets.tolist(), batch.mask.tolist(), strict=True):
        string = "".join(oracles.words(task, row))
        for t in range(len(row)):
            left = reduced(string[: t + 1], pairs)
            assert len(left) <= task.depth and set(left) <= set(opening)
            assert mask[t] == (row[t + 1] >= task.types) if t + 1 < len(row) else True
            if mask[t]:
                assert left[-1] + closing[targets[t]] in pairs


def test_a_fair_coin_opens_or_closes_inside_and_the_bounds_are_never_crossed() -> None:
    batch = tasks.build("dyck:types=2,depth=3").sample(tasks.generator(0, "train"), 2000, 50)
    opens = batch.inputs < 2
    heights = (2 * opens.int() - 1).cumsum(1)
    inside = (heights[:, :-1] == 1) | (heights[:, :-1] == 2)
    assert heights.min() == 0 and heights.max() == 3
    assert opens[:, 1:][inside].double().mean().item() == pytest.approx(0.5, abs=0.01)
    types = torch.bincount(batch.inputs[opens]).double()
    assert (types / types.sum()).tolist() == pytest.approx([0.5, 0.5], abs=0.01)


def test_collision_is_that_of_all_pairs_of_strings() -> None:
    task = tasks.build("dyck:types=2,depth=2")
    batch = task.sample(tasks.generator(0, "train"), 40_000, 4)
    counts = torch.unique(batch.inputs, dim=0, return_counts=True)[1].double()
    assert task.collision(4) == pytest.approx(((counts / counts.sum()) ** 2).sum().item(), rel=0.03)
