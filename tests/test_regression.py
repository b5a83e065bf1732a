"""The slow-down of `python -m tests.regression` can still be planted, and its plan be run."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from bench.plans.grid import cases
from bench.plans.plan import load
from tests.regression import HOME, KERNEL, PLAN, PLANTED, planted


def test_the_plant_is_two_further_products_in_the_lstm_and_nothing_else() -> None:
    source = (HOME / KERNEL).read_text(encoding="utf-8")
    slower = planted(source)
    assert slower.replace(PLANTED, "") == source
    calls = [
        {
            function.name: sum(isinstance(node, ast.Call) and ast.unparse(node.func) == "apply" for node in within)
            for function in ast.parse(text).body
            if isinstance(function, ast.FunctionDef)
            for within in [list(ast.walk(function))]
        }
        for text in (source, slower)
    ]
    assert calls[1] == calls[0] | {"lstm_step": calls[0]["lstm_step"] + 2}


def test_a_kernel_that_was_rewritten_is_said_to_hold_no_such_place() -> None:
    with pytest.raises(ValueError, match="does not hold once the line"):
        planted("def lstm_step(): ...")


def test_its_plan_can_be_run(tmp_path: Path) -> None:
    path = tmp_path / "planted.toml"
    path.write_text(PLAN, encoding="utf-8")
    assert [case.arch for case in cases(load(str(path)))] == ["lstm", "rnn"]
