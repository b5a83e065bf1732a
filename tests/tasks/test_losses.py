"""The stated losses without memory hold on large samples."""

from __future__ import annotations

import math

import pytest
import torch

import tasks
from bench.probes import accuracy
from bench.probes.subject import Subject
from bench.training.model import build_model
from tests.bench.tiny import tiny_case

SEQUENCES = 40_000
SAMPLING = 0.03
"""Relative tolerance of a mean over so many sequences, five standard errors of a squared error."""
ROUNDING = 1e-5


@pytest.mark.parametrize("marks", ["halves", "anywhere"])
@pytest.mark.parametrize("length", [2, 3, 8])
def test_adding_states_the_errors_of_the_best_answers_without_memory(marks: str, length: int) -> None:
    task = tasks.build(f"adding:marks={marks}")
    batch = task.sample(tasks.generator(0, "test"), SEQUENCES, length)
    value_B, mark_B = batch.inputs[:, -1].T
    constant, memoryless = (
        task.loss(answer_B[:, None, None].expand_as(batch.targets), batch).item()
        for answer_B in (torch.ones(SEQUENCES), torch.where(mark_B > 0, value_B + 0.5, 1.0))
    )
    assert task.constant_loss(length) == pytest.approx(constant, rel=SAMPLING)
    assert task.memoryless_loss(length) == pytest.approx(memoryless, rel=SAMPLING)


@pytest.mark.parametrize("name", tasks.names())
def test_no_answer_of_true_probabilities_beats_the_stated_loss(name: str) -> None:
    """Answer with the frequency of each class given the step and the present input, on the sample itself.

    No other answer without memory has a lower cross-entropy on this sample.
    """
    task = tasks.build(name)
    length = max(12, task.min_length)
    stated = task.memoryless_loss(length)
    if not isinstance(task.targets, tasks.Tokens) or not isinstance(task.inputs, tasks.Tokens):
        assert (stated is None) == isinstance(task.targets, tasks.Reals) or name == "adding"
        return
    assert stated is not None
    batch = task.sample(tasks.generator(0, "test"), 20_000, length, "test")
    steps_BT = torch.arange(length).expand(batch.mask.shape)
    context_BT = steps_BT * task.inputs.size + batch.inputs
    counts_KC = torch.zeros(length * task.inputs.size, task.targets.size)
    counts_KC.index_put_((context_BT.flatten(), batch.targets.flatten()), torch.ones(1), accumulate=True)
    outputs_BTC = (counts_KC / counts_KC.sum(1, keepdim=True)).clamp(min=1e-9).log()[context_BT]
    assert stated <= task.loss(outputs_BTC, batch).item() * (1 + SAMPLING)


def test_the_loss_of_a_balanced_class_is_the_logarithm_of_the_number_of_classes() -> None:
    assert tasks.build("parity").memoryless_loss(8) == pytest.approx(math.log(2), rel=ROUNDING)
    assert tasks.build("first_last").memoryless_loss(8) == pytest.approx(-math.log(0.75), rel=ROUNDING)


def test_a_real_valued_task_without_a_stated_error_has_that_of_the_mean_test_target() -> None:
    class Unstated(type(tasks.build("adding"))):  # type: ignore[misc]
        def constant_loss(self, length: int) -> None:
            return None

        def memoryless_loss(self, length: int) -> None:
            return None

    task = Unstated()
    case = tiny_case(task="adding", length=4, test_sequences=50, evaluate_at=("1x",))
    subject = Subject(case=case, task=task, model=build_model(case, task))
    (reference,) = accuracy.measure(subject).reference_scores
    batch = task.sample(tasks.generator(case.seed, "test"), 50, 4, "test")
    scored = batch.targets[batch.mask]
    assert reference.constant_loss == pytest.approx(scored.var(0, unbiased=False).mean().item(), rel=ROUNDING)
    assert reference.memoryless_loss is None


def test_a_task_of_classes_has_no_constant_error() -> None:
    case = tiny_case(evaluate_at=("1x",))
    task = tasks.build("first_last")
    (reference,) = accuracy.measure(Subject(case=case, task=task, model=build_model(case, task))).reference_scores
    assert (reference.constant_loss, reference.memoryless_loss) == (None, task.memoryless_loss(4))
