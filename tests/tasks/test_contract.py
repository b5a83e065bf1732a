"""The contract of every task. A new file in `tasks/` is tested without a change here."""

import dataclasses
import doctest
import importlib
import pkgutil

import pytest
import torch

import tasks
from bench.validation import TASK_CHECKS, TaskExample, lengths_to_check
from tasks import Split, Task, Tokens
from tests.tasks.specs import for_every_task

BATCH = 12
SAMPLED_CHECKS = ("chance", "memoryless_score")
"""Checks that are left out here, because `test_chance.py` makes the same comparisons with more sequences."""
MAX_AMBIGUOUS_WINDOWS = 0.01
"""Largest accepted share of wrong last answers. A window of the default text may have several successors."""


def sampled(task: Task, length: int, seed: int = 0, split: Split = "train") -> tasks.Batch:
    return task.sample(tasks.generator(seed, split), BATCH, length, split)


@pytest.mark.parametrize("module", [m.name for m in pkgutil.iter_modules(tasks.__path__)])
def test_docstring_examples_run(module: str) -> None:
    results = doctest.testmod(importlib.import_module(f"tasks.{module}"))
    assert results.failed == 0
    assert results.attempted > 0 or module == "core"


@for_every_task()
@pytest.mark.parametrize("check", [name for name in TASK_CHECKS if name not in SAMPLED_CHECKS])
def test_check_passes(task: Task, check: str) -> None:
    for length in lengths_to_check(task):
        TASK_CHECKS[check](TaskExample(task=task, length=length, batch=BATCH))


@for_every_task()
def test_correct_answers_have_zero_loss(task: Task) -> None:
    batch = sampled(task, 192)
    outputs = batch.targets
    if isinstance(task.targets, Tokens):
        outputs = 1e3 * torch.nn.functional.one_hot(batch.targets, task.targets.size).float()
    assert all(0 <= value < 1e-9 or name.endswith("score") for name, value in task.metrics(outputs, batch).items())


@for_every_task()
def test_every_parameter_is_documented(task: Task) -> None:
    documentation = f"{type(task).__doc__} {importlib.import_module(type(task).__module__).__doc__}"
    for field in dataclasses.fields(task):
        assert any(mention in documentation for mention in (f"`{field.name}`", f"{field.name}=", f"{field.name} "))


@for_every_task()
def test_a_sample_is_shown_as_a_table(task: Task) -> None:
    length = lengths_to_check(task)[-1]
    batch = sampled(task, length)
    row = BATCH - 1
    lines = tasks.show(task, batch, row).split("\n")
    assert max(len(line) for line in lines) <= 112
    steps = [int(step) for line in lines if line.startswith("step") for step in line.split()[1:]]
    assert steps == list(range(1, length + 1))
    answers = [cell for line in lines if line.startswith("answer") for cell in line.split()[1:]]
    if isinstance(task.targets, Tokens) and not str(task).startswith("text"):
        expected = zip(batch.targets[row].tolist(), batch.mask[row].tolist(), strict=True)
        assert answers == [task.target_names[target] if is_scored else "·" for target, is_scored in expected]
    assert f"chance is {task.chance(length):.3f}" in tasks.describe(task, length)


def test_nearly_all_last_steps_of_the_default_text_are_solved() -> None:
    task = tasks.build("text")
    batch = task.sample(tasks.generator(0, "test"), 200, 256, "test")
    assert (task.solve(batch)[:, -1] != batch.targets[:, -1]).double().mean() <= MAX_AMBIGUOUS_WINDOWS


@pytest.mark.parametrize(
    ("name", "rule"),
    {
        "chaotic_series": "Forecast a chaotic series `horizon` steps ahead",
        "copy_memory": "Repeat the first `symbols` symbols after a delay",
        "first_last": "Say whether first + last > 0 (or first · last > 0, or first = last)",
        "k_hop": "Hop `hops` times to just after the last earlier equal symbol, and name the symbol there",
        "temporal_order": "Say in which order the signals X and Y occur",
    }.items(),
)
def test_a_description_begins_with_the_rule(name: str, rule: str) -> None:
    task = tasks.build(name)
    assert tasks.describe(task, task.min_length).startswith(f"{name}: {rule}; scored at")


def test_numbers_of_a_channel_have_equal_decimals() -> None:
    task = tasks.build("first_last")
    batch = task.sample(tasks.generator(0, "test"), batch=1, length=4)
    batch.inputs[0, :, 0] = torch.tensor([0.5, 2.0, -1.0, 0.25])
    assert tasks.show(task, batch, 0).splitlines()[1].split() == ["input", "0.50", "2.00", "-1.00", "0.25"]
    batch.inputs[0, :, 0] = torch.tensor([0.0, 2.0, -1.0, 1.0])
    assert tasks.show(task, batch, 0).splitlines()[1].split() == ["input", "0", "2", "-1", "1"]
