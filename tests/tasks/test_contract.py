"""What every task promises, tested by existing: a new file in the room is tested without a line here."""

import dataclasses
import doctest
import importlib
import pkgutil

import pytest
import torch

import tasks
from tasks import Reals, Split, Task, Tokens
from tests.tasks.specs import lengths_of, of_every_task

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
BATCH = 12
SAME_WINDOW = 0.01
"""How many windows of the default text may have several successors, so that no solver can tell which."""


def sampled(task: Task, length: int, seed: int = 0, split: Split = "train") -> tasks.Batch:
    return task.sample(tasks.generator(seed, split), BATCH, length, split)


@pytest.mark.parametrize("module", [m.name for m in pkgutil.iter_modules(tasks.__path__)])
def test_the_worked_examples_run(module: str) -> None:
    results = doctest.testmod(importlib.import_module(f"tasks.{module}"))
    assert results.failed == 0
    assert results.attempted > 0 or module.startswith("_")


@of_every_task()
def test_a_batch_has_exactly_the_promised_form(task: Task) -> None:
    for length in lengths_of(task):
        batch = sampled(task, length)
        for values, kind in ((batch.inputs, task.inputs), (batch.targets, task.targets)):
            if isinstance(kind, Tokens):
                assert values.dtype == torch.int64 and values.shape == (BATCH, length)
                assert values.min() >= 0 and values.max() < kind.size
            else:
                assert isinstance(kind, Reals)
                assert values.dtype == torch.float32 and values.shape == (BATCH, length, kind.size)
                assert values.isfinite().all()
            assert values.is_contiguous()
        assert batch.mask.dtype == torch.bool and batch.mask.shape == (BATCH, length)
        assert batch.mask.any(1).all()


@of_every_task()
def test_the_solver_is_always_right_and_reads_the_inputs_alone(task: Task) -> None:
    for length in lengths_of(task):
        batch = sampled(task, length, split="test")
        unseen = dataclasses.replace(batch, targets=torch.full_like(batch.targets, 1))
        answers = task.solve(unseen)
        assert answers.shape == batch.targets.shape
        if str(task).startswith("text"):
            assert torch.equal(answers[:, :-1], batch.targets[:, :-1])
        else:
            assert task.score(answers, batch) == 1.0


@of_every_task()
def test_the_solvers_answers_as_outputs_score_and_cost_nothing(task: Task) -> None:
    batch = sampled(task, 192)
    answers = task.solve(batch)
    if isinstance(task.targets, Tokens):
        outputs = 1e3 * torch.nn.functional.one_hot(batch.targets, task.targets.size).float()
        assert torch.equal(task.answer(outputs), batch.targets)
    else:
        outputs = answers
    assert task.score(task.answer(outputs), batch) == 1.0
    assert task.loss(outputs, batch).item() == pytest.approx(0, abs=1e-9)
    assert all(0 <= value < 1e-9 or name.endswith("score") for name, value in task.metrics(outputs, batch).items())


@of_every_task()
def test_wrong_answers_score_nothing(task: Task) -> None:
    batch = sampled(task, 192)
    if isinstance(task.targets, Tokens):
        hits = torch.stack([task.right(torch.full_like(batch.targets, c), batch) for c in range(task.targets.size)])
        wrong = hits.int().argmin(0)
    else:
        wrong = batch.targets + 2 * tasks.REAL_TOLERANCE
    assert task.score(wrong, batch) == 0.0


@of_every_task()
def test_the_same_seed_samples_the_same_and_other_splits_do_not(task: Task) -> None:
    length = lengths_of(task)[-1]
    first, again = sampled(task, length), sampled(task, length)
    assert torch.equal(first.inputs, again.inputs) and torch.equal(first.targets, again.targets)
    assert torch.equal(first.mask, again.mask)
    others = [sampled(task, length, split=split) for split in SPLITS[1:]] + [sampled(task, length, seed=1)]
    for other in others:
        assert not torch.equal(first.inputs, other.inputs)


@of_every_task()
def test_sampling_leaves_the_global_generators_alone(task: Task) -> None:
    before = torch.random.get_rng_state()
    sampled(task, 192)
    assert torch.equal(before, torch.random.get_rng_state())


@of_every_task()
def test_a_generator_goes_on_with_new_sequences(task: Task) -> None:
    generator = tasks.generator(0, "train")
    first, second = (task.sample(generator, BATCH, 192).inputs for _ in range(2))
    assert not torch.equal(first, second)


@of_every_task()
def test_lines_and_names_are_sound(task: Task) -> None:
    for length in lengths_of(task):
        chance, blind = task.chance(length), task.blind_to_the_past(length)
        assert 0 < chance <= 1
        assert blind is None or chance < blind <= 1 + 1e-12
        assert 0 <= task.collision(length) <= 1
    assert len(task.input_names) == task.inputs.size and len(task.target_names) == task.targets.size
    assert len(set(task.input_names)) == task.inputs.size
    assert task.source and task.summary().endswith(".") and len(task.summary()) <= 120
    assert tasks.build(str(task)) == task


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
