"""Properties of every sequence of a task, for any seed, length and parameters."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tasks
from tasks import Batch, Task
from tests.tasks import oracles

SEEDS = st.integers(0, 2**32)
SHARES = st.sampled_from([0.05, 0.2, 0.5, 1.0])
FLOAT32_SUM = 1e-6
"""Absolute tolerance. The sum of two float32 numbers in [0, 1) has a rounding error of at most 6e-8."""


def specs_of(name: str, **parameters: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    """Return a strategy for specs of a task, given a strategy for each parameter."""
    texts = st.fixed_dictionaries(parameters).map(lambda values: ",".join(f"{k}={v}" for k, v in values.items()))
    return texts.map(lambda text: f"{name}:{text}" if text else name)


ANY = {
    "adding": specs_of("adding", marks=st.sampled_from(["halves", "anywhere", "early"])),
    "brackets": specs_of("brackets", resampled=SHARES),
    "copy_memory": specs_of("copy_memory", symbols=st.integers(1, 12), alphabet=st.integers(2, 9)),
    "cycle_navigation": specs_of("cycle_navigation", places=st.integers(3, 9)),
    "delayed_copy": specs_of("delayed_copy", delay=st.integers(0, 9), alphabet=st.integers(2, 9)),
    "even_pairs": specs_of("even_pairs"),
    "first_last": specs_of("first_last", rule=st.sampled_from(["sum", "product", "equal"])),
    "flip_flop": specs_of("flip_flop", ignore=st.sampled_from([0, 0.1, 0.8, 0.98])),
    "group_word": specs_of(
        "group_word",
        group=st.sampled_from(["S3", "S4", "A4", "A5", "D3", "D4", "Z5", "Z60"]),
        generators=st.sampled_from([0, 2]),
        every_step=st.booleans(),
    ),
    "induction": specs_of("induction", vocabulary=st.integers(2, 30)),
    "k_hop": specs_of("k_hop", hops=st.integers(1, 5), alphabet=st.integers(2, 6)),
    "listops": specs_of("listops", depth=st.integers(3, 10), arguments=st.integers(3, 10), shortest=st.just(0)),
    "modular_arithmetic": specs_of("modular_arithmetic", modulus=st.integers(2, 12)),
    "nested_arithmetic": specs_of("nested_arithmetic", modulus=st.integers(2, 12), multiply=st.booleans()),
    "parity": specs_of("parity", every_step=st.booleans()),
    "recall": specs_of(
        "recall",
        pairs=st.integers(3, 6),
        vocabulary=st.sampled_from([20, 26]),
        power=SHARES,
        overwritten=st.integers(0, 3),
        key_tokens=st.integers(1, 3),
        noise=st.integers(0, 9),
    ),
    "selective_copy": specs_of("selective_copy", symbols=st.integers(1, 12), alphabet=st.integers(2, 9)),
    "temporal_order": specs_of("temporal_order", symbols=st.sampled_from([2, 3])),
    "two_sequences": specs_of("two_sequences", informative=st.integers(1, 4)),
}
"""Strategies for specs of every task with generated data and unique answers.

`chaotic_series`, `dyck`, `memorization`, `reber` and the tasks on real data have their own test files.
"""


def sample(spec: str, seed: int, extra: int) -> tuple[Task, Batch, int]:
    task = tasks.build(spec)
    length = task.min_length + extra
    return task, task.sample(tasks.generator(seed, "train"), 4, length), length


@pytest.mark.parametrize("name", sorted(ANY))
def test_targets_equal_the_answers_of_the_oracle(name: str) -> None:
    @settings(max_examples=25, deadline=None, database=None, derandomize=True)
    @given(ANY[name], SEEDS, st.integers(0, 40))
    def check(spec: str, seed: int, extra: int) -> None:
        task, batch, _ = sample(spec, seed, extra)
        oracle = getattr(oracles, name)
        for row, targets, mask in zip(batch.inputs, batch.targets, batch.mask, strict=True):
            expected = oracle(task, row.tolist())
            assert sorted(expected) == mask.nonzero().flatten().tolist()
            actual = targets[mask].flatten().tolist()
            assert actual == pytest.approx([expected[step] for step in sorted(expected)], abs=FLOAT32_SUM)

    check()


def check_all(name: str, check: Callable[[Any, torch.Tensor, int], None]) -> None:
    """Run `check(task, row, length)` for many parameters, seeds and lengths of a task.

    `row` is the input of one sequence, (T,) or (T, D). `length` is T.
    """

    @settings(max_examples=25, deadline=None, database=None, derandomize=True)
    @given(ANY[name], SEEDS, st.integers(0, 40))
    def run(spec: str, seed: int, extra: int) -> None:
        task, batch, length = sample(spec, seed, extra)
        for row in batch.inputs:
            check(task, row, length)

    run()


def test_adding_marks_two_values() -> None:
    def check(task: Any, row: torch.Tensor, length: int) -> None:
        values, marks = row.T
        assert values.min() >= (-1 if task.marks == "early" else 0) and values.max() < 1
        steps = (marks == 1).nonzero().flatten().tolist()
        if task.marks == "early":
            assert marks[0] == marks[-1] == -1
            assert 1 <= len(steps) <= 2 and steps[-1] < length // 2 - 1 and min(steps) < 10
            return
        assert len(steps) == 2 and marks.sum() == 2
        if task.marks == "halves":
            assert steps[0] < length // 2 <= steps[1]

    check_all("adding", check)


def test_brackets_end_with_an_end_mark_at_odd_lengths_only() -> None:
    def check(task: Any, row: torch.Tensor, length: int) -> None:
        assert re.fullmatch(r"[()]+\.?", text := "".join(oracles.words(task, row.tolist())))
        assert text.endswith(".") == (length % 2 == 1)

    check_all("brackets", check)


def test_copy_memory_has_only_blanks_between_symbols_and_delimiter() -> None:
    def check(task: Any, row: torch.Tensor, length: int) -> None:
        text = " ".join(oracles.words(task, row.tolist()))
        assert re.fullmatch(rf"(\d ){{{task.symbols}}}(_ )*\|( _){{{task.symbols}}}", text)

    check_all("copy_memory", check)


def test_induction_shows_the_trigger_twice() -> None:
    def check(task: Any, row: torch.Tensor, length: int) -> None:
        steps = [t for t, word in enumerate(oracles.words(task, row.tolist())) if word == "*"]
        assert len(steps) == 2 and steps[1] == length - 1 and steps[0] < length - 2

    check_all("induction", check)


def test_listops_is_one_expression_then_blanks_then_the_answer_step() -> None:
    def check(task: Any, row: torch.Tensor, length: int) -> None:
        words = oracles.words(task, row.tolist())
        assert re.fullmatch(r"\[.*\]( _)* =", " ".join(words))
        arguments: list[int] = []
        depth, deepest = 1, 1
        for word in words[: len(words) - 1 - words[::-1].index("]") + 1]:
            if word == "]":
                assert 2 <= arguments.pop() <= task.arguments
                depth -= 1
                continue
            if arguments:
                arguments[-1] += 1
            deepest = max(deepest, depth)
            if word.startswith("["):
                arguments.append(0)
                depth += 1
        assert depth == 1 and deepest <= task.depth

    check_all("listops", check)


def test_listops_fills_the_requested_share() -> None:
    task = tasks.build("listops:shortest=0.6")
    batch = task.sample(tasks.generator(0, "train"), 200, 50)
    tokens = (batch.inputs < task.input_names.index("_")).sum(1)
    assert tokens.min() >= 30 and tokens.max() <= 49


def test_recall_repeats_every_key_once() -> None:
    def check(task: Any, row: torch.Tensor, length: int) -> None:
        text = " ".join(oracles.words(task, row.tolist()))
        key = r"k\d+" + r" k\d+" * (task.key_tokens - 1)
        context = rf"((n\d+ )*{key} v\d+ )*(n\d+ )*"
        shown = re.match(context, text)
        assert shown and len(shown[0].split()) == task.context_length
        pairs = re.findall(rf"({key}) (v\d+)", shown[0])
        asked = re.findall(key, text[shown.end() :])
        assert len(pairs) == task.pairs + task.overwritten and len({value for _, value in pairs}) == len(pairs)
        assert len(dict(pairs)) == task.pairs and sorted(dict(pairs)) == sorted(asked)
        assert shown[0].count("n") == task.noise

    check_all("recall", check)


def test_recall_query_positions_follow_the_power_law() -> None:
    task = tasks.build("recall:pairs=1,power=0.01")
    batch = task.sample(tasks.generator(0, "train"), 20_000, 10)
    shares = batch.mask.double().mean(0)[2::2]
    weights = torch.arange(1, 5).double() ** (0.01 - 1)
    assert shares.tolist() == pytest.approx((weights / weights.sum()).tolist(), abs=0.015)


def test_selective_copy_scatters_its_symbols_before_the_markers() -> None:
    def check(task: Any, row: torch.Tensor, length: int) -> None:
        text = " ".join(oracles.words(task, row.tolist()))
        assert re.fullmatch(r"[_\d ]*( \?|\?)+", text) and text.count("?") == task.symbols
        assert len(re.findall(r"\d+", text)) == task.symbols

    check_all("selective_copy", check)


def test_temporal_order_signals_are_in_their_windows() -> None:
    def check(task: Any, row: torch.Tensor, length: int) -> None:
        words = oracles.words(task, row.tolist())
        assert re.fullmatch("<[abcdXY]*>", "".join(words))
        steps = [t for t, word in enumerate(words) if word in "XY"]
        starts = {2: (0.1, 0.5), 3: (0.1, 0.33, 0.66)}[task.symbols]
        for step, start in zip(steps, starts, strict=True):
            assert start * length - 1 < step <= (start + 0.1) * length

    check_all("temporal_order", check)


def test_balanced_brackets_are_uniform() -> None:
    task = tasks.build("brackets:resampled=0.000001")
    batch = task.sample(tasks.generator(0, "train"), 14_000, 8)
    counts = torch.unique(batch.inputs, dim=0, return_counts=True)[1]
    assert len(counts) == 14
    assert ((counts - 1000).double() ** 2 / 1000).sum() < 40
