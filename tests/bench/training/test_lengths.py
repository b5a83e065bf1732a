"""Tests of the lengths for training and evaluation, and of training on shuffled targets."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

import tasks
from bench.errors import UsageError
from bench.plans.grid import cases
from bench.probes import accuracy
from bench.probes.subject import Subject
from bench.training.data import batches, training_lengths
from bench.training.evaluation import evaluate
from bench.training.loop import train
from bench.training.model import build_model
from results import Protocol
from tests.bench.tiny import tiny_case, tiny_plan

BINOMIAL_DEVIATIONS = 4.5
"""Tolerance for the score of a constant answer, in standard deviations. The probability of a larger deviation is below
1 in 100,000."""


def test_up_to_samples_every_supported_length() -> None:
    case = tiny_case(length=5, train_lengths="up_to", steps=200)
    lengths = [batch.inputs.shape[1] for batch in batches(tasks.build("first_last"), case)]
    assert set(lengths) == {2, 3, 4, 5}
    again = itertools.islice(batches(tasks.build("first_last"), case), 20)
    assert lengths[:20] == [batch.inputs.shape[1] for batch in again]


def test_up_to_skips_unsupported_lengths() -> None:
    case = tiny_case(task="digits", length=130, train_lengths="up_to")
    assert training_lengths(tasks.build("digits"), case) == [64, 128]


def test_up_to_needs_fresh_batches(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, protocol={"train_sequences": 4, "epochs": 1, "train_lengths": "up_to"})
    with pytest.raises(UsageError, match="needs fresh batches: give steps"):
        cases(plan)


def test_evaluated_lengths_are_unique_and_sorted() -> None:
    protocol = Protocol(steps=1, evaluate_at=("2x", 7, "1x", 8, 100))
    assert protocol.evaluated_lengths(4) == (4, 7, 8, 100)


def test_each_evaluated_length_has_its_own_reference_scores() -> None:
    case = tiny_case(task="cycle_navigation", length=4, evaluate_at=("1x", 2, 9))
    task = tasks.build("cycle_navigation")
    result = accuracy.measure(Subject(case=case, task=task, model=build_model(case, task)))
    assert [one.at["length"] for one in result.measurements if one.metric == "accuracy"] == [2, 4, 9]
    assert [(line.length, line.chance) for line in result.reference_scores] == [
        (at, task.chance(at)) for at in (2, 4, 9)
    ]


def test_an_unsupported_evaluation_length_is_refused_before_the_run(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, protocol={"steps": 1, "evaluate_at": [1]})
    with pytest.raises(UsageError, match="first_last needs at least 2 steps, not 1"):
        cases(plan)


def test_shuffled_targets_stay_in_their_batch_and_leave_the_inputs() -> None:
    task, plain = tasks.build("recall"), tiny_case(task="recall", length=32, batch=8)
    shuffled = tiny_case(task="recall", length=32, batch=8, control="shuffled_targets")
    (before,), (after,) = list(batches(task, plain)), list(batches(task, shuffled))
    assert torch.equal(before.inputs, after.inputs) and torch.equal(before.mask, after.mask)
    assert not torch.equal(before.targets[before.mask], after.targets[after.mask])
    assert torch.equal(before.targets[before.mask].sort().values, after.targets[after.mask].sort().values)


@pytest.mark.parametrize("name", ["first_last:rule=product", "copy_memory", "parity", "temporal_order"])
def test_shuffled_targets_teach_nothing_beyond_chance(name: str) -> None:
    task, length = tasks.build(name), {"copy_memory": 24}.get(name, 12)
    case = tiny_case(task=name, length=length, steps=150, batch=32, learning_rate=1e-2, control="shuffled_targets")
    model = build_model(case, task)
    train(model, task, case)
    test = task.sample(tasks.generator(0, "test"), 1000, length, "test")
    chance, scored = task.chance(length), int(test.mask.sum())
    deviation = (chance * (1 - chance) / scored) ** 0.5
    assert evaluate(model, task, test).score <= chance + BINOMIAL_DEVIATIONS * deviation


def test_the_same_training_without_shuffling_learns() -> None:
    task = tasks.build("first_last")
    case = tiny_case(length=3, steps=300, batch=32, learning_rate=1e-2)
    model = build_model(case, task)
    train(model, task, case)
    test = task.sample(tasks.generator(0, "test"), 1000, 3, "test")
    assert evaluate(model, task, test).score > 0.85
