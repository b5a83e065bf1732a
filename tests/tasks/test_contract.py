"""What every task promises, tested by existing: a new file in the room is tested without a line here."""

import dataclasses
import doctest
import importlib
import pkgutil

import pytest
import torch

import tasks
from bench.validation import TASK_CHECKS, TaskTrial, lengths_of
from tasks import Split, Task, Tokens
from tests.tasks.specs import of_every_task

BATCH = 12
SAMPLED_CHECKS = ("chance", "present_input")
"""Held against more sequences in `test_chance.py`."""
SAME_WINDOW = 0.01
"""How many windows of the default text may have several successors, so that no solver can tell which."""


def sampled(task: Task, length: int, seed: int = 0, split: Split = "train") -> tasks.Batch:
    return task.sample(tasks.generator(seed, split), BATCH, length, split)


@pytest.mark.parametrize("module", [m.name for m in pkgutil.iter_modules(tasks.__path__)])
def test_the_worked_examples_run(module: str) -> None:
    results = doctest.testmod(importlib.import_module(f"tasks.{module}"))
    assert results.failed == 0
    assert results.attempted > 0 or module == "core"


@of_every_task()
@pytest.mark.parametrize("law", [name for name in TASK_CHECKS if name not in SAMPLED_CHECKS])
def test_law(task: Task, law: str) -> None:
    for length in lengths_of(task):
        TASK_CHECKS[law](TaskTrial(task=task, length=length, batch=BATCH))


@of_every_task()
def test_right_answers_cost_nothing_in_any_metric(task: Task) -> None:
    batch = sampled(task, 192)
    outputs = batch.targets
    if isinstance(task.targets, Tokens):
        outputs = 1e3 * torch.nn.functional.one_hot(batch.targets, task.targets.size).float()
    assert all(0 <= value < 1e-9 or name.endswith("score") for name, value in task.metrics(outputs, batch).items())


@of_every_task()
def test_a_task_with_parameters_explains_them(task: Task) -> None:
    explained = f"{type(task).__doc__} {importlib.import_module(type(task).__module__).__doc__}"
    for field in dataclasses.fields(task):
        assert f"`{field.name}`" in explained or f"{field.name}=" in explained or f"{field.name} " in explained


@of_every_task()
def test_a_sample_can_be_read(task: Task) -> None:
    length = lengths_of(task)[-1]
    batch = sampled(task, length)
    row = BATCH - 1
    told = tasks.show(task, batch, row)
    lines = told.split("\n")
    assert max(len(line) for line in lines) <= 112
    steps = [int(step) for line in lines if line.startswith("step") for step in line.split()[1:]]
    assert steps == list(range(1, length + 1))
    answers = [cell for line in lines if line.startswith("answer") for cell in line.split()[1:]]
    if isinstance(task.targets, Tokens) and not str(task).startswith("text"):
        asked = zip(batch.targets[row].tolist(), batch.mask[row].tolist(), strict=True)
        assert answers == [task.target_names[target] if is_asked else "·" for target, is_asked in asked]
    assert f"chance is {task.chance(length):.3f}" in tasks.describe(task, length)


def test_every_step_of_the_default_text_but_the_last_is_solved_and_nearly_all_of_those() -> None:
    task = tasks.build("text")
    batch = task.sample(tasks.generator(0, "test"), 200, 256, "test")
    assert (task.solve(batch)[:, -1] != batch.targets[:, -1]).double().mean() <= SAME_WINDOW
