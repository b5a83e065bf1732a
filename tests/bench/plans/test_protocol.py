"""The protocol of a case: defaults that depend on the plan, and contradictions that are refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.plans.grid import cases
from bench.plans.plan import load
from bench.plans.protocol import resolved_protocol
from tests.bench.plans.test_plan import GOLDEN_KEY
from tests.bench.tiny import GRID, TINY, write_plan

STEPS: dict[str, Any] = {"steps": 10, "learning_rate": 1e-2}


def refusal(given: dict[str, Any], length: int = 40) -> str:
    with pytest.raises(UsageError) as caught:
        resolved_protocol(given, length)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("evaluate_at", "bar"),
    [
        (["1x"], 0.99),
        ([20, 40], 0.99),
        (["1x", "2x"], 0.999),
        ([40, 41], 0.999),
        (["20..40"], 0.99),
        (["30..41"], 0.999),
    ],
)
def test_the_bar_is_higher_if_longer_sequences_are_tested(evaluate_at: list[Any], bar: float) -> None:
    given = {**STEPS, "evaluate_at": evaluate_at}
    assert resolved_protocol(given, 40).solved_at == bar
    assert resolved_protocol({**given, "solved_at": 0.95}, 40).solved_at == 0.95


def test_a_weight_decay_acts_on_matrices_unless_the_plan_says_otherwise() -> None:
    assert resolved_protocol({**STEPS, "weight_decay": 0.1}, 40).weight_decay_on == "matrices"
    assert resolved_protocol({**STEPS, "weight_decay": 0.1, "weight_decay_on": "all"}, 40).weight_decay_on == "all"
    assert resolved_protocol(STEPS, 40).weight_decay_on == "all"


def test_a_plan_with_the_former_bar_has_the_former_keys(tmp_path: Path) -> None:
    old = load(
        str(write_plan(tmp_path / "old", TINY.replace("steps = 1\nbatch", "solved_at = 0.99\nsteps = 1\nbatch")))
    )
    new = load(str(write_plan(tmp_path / "new")))
    assert cases(old)[-1].key == GOLDEN_KEY
    assert cases(new)[-1].key != GOLDEN_KEY


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"solved_at": 1.5}, "solved_at must be at most 1, not 1.5"),
        ({"solved_at": 0.3}, "solved_at must be at least 0.5, not 0.3"),
        ({"clip": -1}, "clip must be at least 0, not -1"),
        ({"weight_decay_on": "biases"}, "weight_decay_on must be 'matrices' or 'all', not 'biases'"),
        ({"warmup_share": 1.0}, "warmup_share must be below 1, not 1.0"),
        (
            {"warmup_share": 0.1, "warmup_steps": 5},
            "warmup_steps (5) and warmup_share (0.1) exclude each other: give one",
        ),
        (
            {"schedule": "constant", "final_learning_rate": 1e-5},
            "final_learning_rate is the end of the cosine schedule, but schedule is 'constant'",
        ),
        ({"final_learning_rate": 0.1}, "final_learning_rate (0.1) must be at most learning_rate (0.01)"),
        ({"test_steps": 0}, "test_steps must be at least 1, not 0"),
        ({"train_lengths": "some"}, "train_lengths: 'some' is no training length: give 'fixed', 'up_to' or a range"),
        ({"train_lengths": "3..20"}, "the range '3..20' must end at the length of the case, 40: write '3..40'"),
        ({"train_lengths": "50..60"}, "the range '50..60' must end at the length of the case, 40: start it earlier"),
        ({"train_lengths": "40..3"}, "the range '40..3' must end after its start: write '3..40'"),
    ],
)
def test_a_contradiction_is_refused_in_one_line(given: dict[str, Any], message: str) -> None:
    assert message in refusal(STEPS | given)


def test_the_grid_of_learning_rates_lies_above_the_final_rate(tmp_path: Path) -> None:
    text = TINY.replace("batch = 4", "batch = 4\nfinal_learning_rate = 2e-3") + GRID
    with pytest.raises(UsageError, match=r"final_learning_rate \(0.002\) must be at most the lowest rate of the grid"):
        load(str(write_plan(tmp_path, text)))


@pytest.mark.parametrize(
    ("task", "lengths", "message"),
    [
        (
            "first_last",
            "1..4",
            "train_lengths: the range '1..4' starts below the shortest length of first_last, 2 steps",
        ),
        ("first_last", "2..4", None),
    ],
)
def test_the_least_training_length_must_be_possible(
    tmp_path: Path, task: str, lengths: str, message: str | None
) -> None:
    text = TINY.replace("batch = 4", f'batch = 4\ntrain_lengths = "{lengths}"').replace("first_last", task)
    plan = load(str(write_plan(tmp_path, text)))
    if message is None:
        assert {case.protocol.training_range() for case in cases(plan)} == {(2, 4)}
        return
    with pytest.raises(UsageError) as caught:
        cases(plan)
    assert message in str(caught.value)
