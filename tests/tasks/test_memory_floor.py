"""The memory floor is the score of a player that lacks only the memory which a task tests."""

from __future__ import annotations

import pytest
import torch

import tasks
from bench.probes import accuracy
from bench.probes.subject import Subject
from bench.training.model import build_model
from tests.bench.tiny import tiny_case

SEQUENCES = 4000
ERRORS = 4.0
"""Tolerance in standard errors of a share of right answers."""


def test_naming_any_value_shown_in_recall_is_right_once_per_number_of_pairs() -> None:
    task = tasks.build("recall:pairs=4,vocabulary=16")
    generator = tasks.generator(0, "test")
    batch = task.sample(generator, SEQUENCES, 32)
    values_BP = batch.inputs[:, 1:8:2]
    answers_BT = values_BP.gather(1, torch.randint(4, batch.targets.shape, generator=generator))
    floor = task.memory_floor(32)
    assert floor == 0.25
    assert task.score(answers_BT, batch) == pytest.approx(floor, abs=ERRORS * (0.25 * 0.75 / (4 * SEQUENCES)) ** 0.5)


def test_the_inner_grammar_of_reber_predicts_half_of_the_symbols_that_need_the_memory() -> None:
    task = tasks.build("reber")
    batch = task.sample(tasks.generator(0, "test"), SEQUENCES, 32)
    outputs = torch.nn.functional.one_hot(task.solve(batch), 7).double()
    right = task.metrics(outputs, batch)["memory_score"]
    is_t = batch.targets == task.input_names.index("T")
    is_memory = is_t | (batch.targets == task.input_names.index("P"))
    outputs[is_memory] = torch.nn.functional.one_hot(torch.tensor(task.input_names.index("T")), 7).double()
    guessed = task.metrics(outputs, batch)["memory_score"]
    assert right == 1.0
    assert guessed == pytest.approx(task.memory_floor(32), abs=0.03)


@pytest.mark.parametrize(
    ("spec", "floor"), [("recall:pairs=4,vocabulary=16", 0.25), ("reber", 0.5), ("first_last", None)]
)
def test_records_hold_the_memory_floor(spec: str, floor: float | None) -> None:
    task = tasks.build(spec)
    case = tiny_case(task=spec, length=16, test_sequences=4, evaluate_at=("1x", "16..20"))
    references = accuracy.measure(Subject(case=case, task=task, model=build_model(case, task))).reference_scores
    assert [each.memory_floor for each in references] == [floor, floor]
