"""Tests of `tests.regression`: the slowdown can be planted, and the plan is valid."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from bench.plans.grid import cases
from bench.plans.plan import load
from tests.regression import HOME, KERNEL, PLAN, PLANTED, PLANTED_TENTH, plant


def test_planted_change_is_two_more_sums_in_the_lstm() -> None:
    source = (HOME / KERNEL).read_text(encoding="utf-8")
    slower = plant(source)
    assert slower.replace(PLANTED, "") == source
    before, after = (
        [
            (function.name, sum(isinstance(node, ast.Call) and ast.unparse(node.func) == "summed" for node in nodes))
            for function in ast.walk(ast.parse(text))
            if isinstance(function, ast.FunctionDef)
            for nodes in [list(ast.walk(function))]
        ]
        for text in (source, slower)
    )
    changed = [(name, new - old) for (name, old), (_, new) in zip(before, after, strict=True) if new != old]
    assert changed == [("packed_layer_step", 2), ("step", 2)]


def test_smaller_change_repeats_the_sums_of_the_inputs_only() -> None:
    source = (HOME / KERNEL).read_text(encoding="utf-8")
    assert plant(source, PLANTED_TENTH).replace(PLANTED_TENTH, "") == source
    assert PLANTED_TENTH.count("summed(") == 1 and "of_W" in PLANTED_TENTH


def test_planting_into_a_rewritten_kernel_is_an_error() -> None:
    with pytest.raises(ValueError, match="must contain this line exactly once"):
        plant("def lstm_step(): ...")


def test_plan_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "planted.toml"
    path.write_text(PLAN, encoding="utf-8")
    assert [case.arch for case in cases(load(str(path)))] == ["lstm", "rnn"]
