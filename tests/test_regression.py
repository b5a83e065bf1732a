"""Tests of `tests.regression`: the slowdowns can be planted, and the plans are valid."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from bench.plans.grid import cases
from bench.plans.plan import load
from tests.regression.in_sequence import PLAN
from tests.regression.in_turns import TRIALS
from tests.regression.planting import HOME, STREAMED_QUARTER, STREAMED_TENTH, TRAINED_TENTH, Slowdown


def calls(source: str, name: str) -> list[tuple[str, int]]:
    """Return the name of each function in the source, and the number of its calls of the function `name`."""
    return [
        (
            function.name,
            sum(isinstance(node, ast.Call) and ast.unparse(node.func) == name for node in ast.walk(function)),
        )
        for function in ast.walk(ast.parse(source))
        if isinstance(function, ast.FunctionDef)
    ]


@pytest.mark.parametrize(
    ("slowdown", "name", "added"),
    [
        (STREAMED_QUARTER, "summed", {"packed_layer_step": 2, "step": 2}),
        (STREAMED_TENTH, "summed", {"packed_layer_step": 1, "step": 1}),
        (TRAINED_TENTH, "project_back", {"backward_rows": 2}),
    ],
)
def test_slowdown_repeats_products(slowdown: Slowdown, name: str, added: dict[str, int]) -> None:
    source = (HOME / slowdown.kernel).read_text(encoding="utf-8")
    slower = slowdown.plant(source)
    assert len(slower) == len(source) + len(slowdown.planted)
    pairs = zip(calls(source, name), calls(slower, name), strict=True)
    assert {function: after - before for (function, before), (_, after) in pairs if after != before} == added


def test_planting_into_a_rewritten_kernel_is_an_error() -> None:
    with pytest.raises(ValueError, match="must contain this line exactly once"):
        STREAMED_TENTH.plant("def lstm_step(): ...")


@pytest.mark.parametrize("text", [PLAN, *(trial.plan for trial in TRIALS.values())])
def test_plan_is_valid(text: str, tmp_path: Path) -> None:
    path = tmp_path / "planted.toml"
    path.write_text(text, encoding="utf-8")
    assert [case.arch for case in cases(load(str(path)))] == ["lstm", "rnn"]
