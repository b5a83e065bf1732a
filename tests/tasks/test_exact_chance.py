"""Chance levels and memoryless baselines, compared with enumerations; and two losses, compared with known values."""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction

import pytest
import torch

import tasks
from tasks.copy_memory import CopyMemory
from tasks.core.expressions import answer_shares
from tests.tasks import oracles

ROUNDING = 1e-9
"""Absolute tolerance, above the rounding errors of float64 sums and of the damped Fourier transform of `listops`."""


def best(counts: Counter[int]) -> Fraction:
    return Fraction(max(counts.values()), sum(counts.values()))


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("places", [3, 5, 6])
def test_cycle_navigation_matches_all_walks(places: int, length: int) -> None:
    task = tasks.build(f"cycle_navigation:places={places}")
    ends = Counter(sum(walk) % places for walk in itertools.product((-1, 0, 1), repeat=length))
    assert task.chance(length) == pytest.approx(float(best(ends)), abs=ROUNDING)
    before = Counter(sum(walk) % places for walk in itertools.product((-1, 0, 1), repeat=length - 1))
    memoryless = task.memoryless_score(length) or task.chance(length)
    assert memoryless == pytest.approx(float(best(before)), abs=ROUNDING if length < 5 else 2e-3)


@pytest.mark.parametrize("modulus", [2, 4, 5])
@pytest.mark.parametrize("length", [1, 3, 4, 5])
def test_modular_arithmetic_matches_all_expressions(modulus: int, length: int) -> None:
    task = tasks.build(f"modular_arithmetic:modulus={modulus}")
    numbers, operators = range(modulus), range(modulus, modulus + 3)
    symbols = [numbers if t % 2 == 0 else operators for t in range(length - (length + 1) % 2)]
    values: Counter[int] = Counter()
    by_last: dict[int, Counter[int]] = {number: Counter() for number in numbers}
    for expression in itertools.product(*symbols):
        (value,) = oracles.modular_arithmetic(task, list(expression)).values()
        values[value] += 1
        by_last[expression[-1]][value] += 1
    assert task.chance(length) == pytest.approx(float(best(values)), abs=ROUNDING)
    if length % 2:
        expected = sum(best(counts) for counts in by_last.values()) / modulus
        score = task.chance(length) if expected == best(values) else task.memoryless_score(length)
        assert score == pytest.approx(float(expected), abs=ROUNDING)
        assert (task.memoryless_score(length) is None) == (expected == best(values))
    else:
        assert task.memoryless_score(length) is None


@pytest.mark.parametrize("length", [2, 4, 6, 8])
def test_brackets_matches_all_resamplings_of_all_balanced_strings(length: int) -> None:
    task = tasks.build("brackets:resampled=0.4")
    strings = itertools.product((0, 1), repeat=length)
    balanced_strings = [string for string in strings if oracles.brackets(task, list(string))[length - 1]]
    stays_balanced = sum(
        0.2 ** sum(a != b for a, b in zip(string, other, strict=True))
        * 0.8 ** sum(a == b for a, b in zip(string, other, strict=True))
        for string in balanced_strings
        for other in balanced_strings
    ) / len(balanced_strings)
    balanced = 0.5 + 0.5 * stays_balanced
    assert task.chance(length) == pytest.approx(balanced, abs=ROUNDING)
    assert task.memoryless_score(length) == pytest.approx(balanced + 0.1, abs=ROUNDING)


def test_listops_matches_all_flat_lists() -> None:
    shares = dict.fromkeys(range(10), 0.0)
    for count in (2, 3, 4):
        for digits in itertools.product(range(10), repeat=count):
            for operator in ("MIN", "MAX", "MED", "SM"):
                value = oracles.apply_operator(operator, list(digits))
                shares[value] += 1 / (3 * 4 * 10**count)
    assert answer_shares(2, 4, 4, 6).tolist() == pytest.approx([shares[v] for v in range(10)], abs=ROUNDING)


def test_listops_matches_all_lists_nested_once() -> None:
    """Compare the answer shares of `listops` with shares from all expressions that contain exactly one nested list.

    At depth 3 with at most two arguments, the expressions of 7 tokens contain exactly one nested list.
    """
    flat = answer_shares(2, 2, 4, 4)
    shares = torch.zeros(10, dtype=torch.float64)
    for inner, digit in itertools.product(range(10), repeat=2):
        for operator in ("MIN", "MAX", "MED", "SM"):
            shares[oracles.apply_operator(operator, [inner, digit])] += flat[inner] / 40
    assert answer_shares(3, 2, 7, 7).tolist() == pytest.approx(shares.tolist(), abs=ROUNDING)


def test_copy_memory_has_the_published_memoryless_loss() -> None:
    task = CopyMemory(supervised="all")
    batch = task.sample(tasks.generator(0, "train"), 64, 120)
    outputs = torch.full((64, 120, 9), -1e4)
    outputs[:, :110, 0] = 0
    outputs[:, 110:, 1:] = 0
    assert task.loss(outputs, batch).item() == pytest.approx(10 * 2.0794415 / 120, rel=1e-5)
    assert task.memoryless_loss(120) == pytest.approx(10 * 2.0794415 / 120, rel=1e-6)


def test_the_best_constant_for_adding_has_a_mean_squared_error_of_one_sixth() -> None:
    task = tasks.build("adding")
    batch = task.sample(tasks.generator(0, "train"), 20_000, 10)
    assert task.metrics(torch.ones(20_000, 10, 1), batch)["mse"] == pytest.approx(1 / 6, abs=0.005)


@pytest.mark.parametrize(("alphabet", "hops", "length"), [(2, 1, 8), (2, 3, 9), (3, 1, 6), (3, 2, 7), (3, 4, 7)])
def test_k_hop_matches_all_sequences(alphabet: int, hops: int, length: int) -> None:
    task = tasks.build(f"k_hop:alphabet={alphabet},hops={hops}")
    by_step: list[dict[int, Counter[int]]] = [{symbol: Counter() for symbol in range(alphabet)} for _ in range(length)]
    fewer_is_right = 0
    for row in itertools.product(range(alphabet), repeat=length):
        for step in range(length):
            answer = oracles.hop(list(row), step, hops, alphabet)
            by_step[step][row[step]][answer] += 1
            fewer_is_right += answer == oracles.hop(list(row), step, max(0, hops - 2), alphabet)
    blind = [best(sum(counts.values(), Counter())) for counts in by_step]
    memoryless = [sum(best(counts) for counts in by_input.values()) / alphabet for by_input in by_step]
    assert task.chance(length) == pytest.approx(float(sum(blind) / length), abs=ROUNDING)
    stated = task.memoryless_score(length) or task.chance(length)
    assert stated == pytest.approx(float(sum(memoryless) / length), abs=ROUNDING)
    for strategy in task.strategies(length):
        assert strategy.score == pytest.approx(fewer_is_right / length / alphabet**length, abs=ROUNDING)


def test_nested_arithmetic_matches_all_expressions_with_one_operator() -> None:
    task = tasks.build("nested_arithmetic:modulus=4")
    values: Counter[int] = Counter()
    for left, operator, right in itertools.product(range(4), "+-*", range(4)):
        values[oracles.arithmetic(f"({left}{operator}{right})") % 4] += 1
    assert task.chance(5) == pytest.approx(float(best(values)), abs=ROUNDING)
    assert [task.memoryless_score(length) for length in (1, 2, 3)] == [1.0, 1.0, None]
