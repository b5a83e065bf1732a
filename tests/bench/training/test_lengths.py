"""Tests of the lengths for training and evaluation, and of training on shuffled targets."""

from __future__ import annotations

import itertools
from pathlib import Path
from statistics import fmean

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

EXACT = 1e-12
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


def test_ranges_are_no_lengths() -> None:
    protocol = Protocol(steps=1, evaluate_at=("1x", "20..40", "4..9", "20..40"))
    assert protocol.evaluated_lengths(4) == (4,)
    assert protocol.evaluated_ranges() == ((4, 9), (20, 40))


def test_a_range_is_scored_as_the_mean_over_its_drawn_lengths() -> None:
    case = tiny_case(task="cycle_navigation", length=4, evaluate_at=("20..60",), test_sequences=40)
    task = tasks.build("cycle_navigation")
    model = build_model(case, task)
    result = accuracy.measure(Subject(case=case, task=task, model=model))
    generator = tasks.generator(case.seed, "test")
    drawn = accuracy.drawn_lengths(task, (20, 60), generator)
    assert len(set(drawn)) == accuracy.RANGE_LENGTHS == 16
    batches = [task.sample(generator, 3, length, "test") for length in drawn]  # 40 sequences / 16 lengths, rounded up
    found = {measurement.metric: measurement for measurement in result.measurements}
    assert [measurement.at for measurement in result.measurements] == [{"from": 20, "to": 60}] * 2
    scores = [evaluate(model, task, batch).score for batch in batches]
    losses = [evaluate(model, task, batch).metrics["cross_entropy"] for batch in batches]
    assert found["accuracy"].samples == (pytest.approx(fmean(scores), rel=EXACT),)
    assert found["cross_entropy"].samples == (pytest.approx(fmean(losses), rel=EXACT),)
    (reference,) = result.reference_scores
    assert (reference.length, reference.last_length) == (20, 60)
    assert reference.chance == pytest.approx(fmean(task.chance(length) for length in drawn), rel=EXACT)
    assert accuracy.measure(Subject(case=case, task=task, model=model)) == result


def test_other_seeds_draw_other_lengths_and_a_short_range_is_tested_whole() -> None:
    task = tasks.build("first_last")
    drawn = [accuracy.drawn_lengths(task, (10, 90), tasks.generator(seed, "test")) for seed in range(3)]
    assert len({tuple(lengths) for lengths in drawn}) == 3
    assert all(10 <= length <= 90 for lengths in drawn for length in lengths)
    assert accuracy.drawn_lengths(task, (10, 13), tasks.generator(0, "test")) == [10, 11, 12, 13]
    digits = tasks.build("digits")
    assert accuracy.drawn_lengths(digits, (60, 200), tasks.generator(0, "test")) == [64, 128, 192]


def test_baseline_of_a_range_is_the_mean_of_the_best_scores_without_memory() -> None:
    class Sometimes(type(tasks.build("first_last"))):  # type: ignore[misc]
        def memoryless_score(self, length: int) -> float | None:
            return 0.9 if length > 10 else None

    case = tiny_case(length=4, evaluate_at=("10..11",))
    model = build_model(case, tasks.build("first_last"))
    (reference,) = accuracy.measure(Subject(case=case, task=Sometimes(), model=model)).reference_scores
    assert (reference.chance, reference.memoryless_score) == (0.5, pytest.approx((0.5 + 0.9) / 2, rel=EXACT))


def test_a_range_that_the_model_cannot_read_to_its_end_is_omitted() -> None:
    case = tiny_case("transformer:max_length=8,positions=learned", evaluate_at=("4..8", "4..9"))
    task = tasks.build("first_last")
    result = accuracy.measure(Subject(case=case, task=task, model=build_model(case, task)))
    assert [(each.length, each.last_length) for each in result.reference_scores] == [(4, 8)]


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("9..4", "the range '9..4' must end after its start: write '4..9'"),
        ("4..4", "the range '4..4' must end after its start: for a single length, write 4"),
        ("4..", "'4..' is no test length: give a number such as 64, a multiple such as '2x', or a range"),
        ("1..100000", "the range '1..100000' has more than 65,536 lengths"),
        ("20000000..20000010", "must end at 16,777,216 or earlier"),
        ("1..9", "the range '1..9' starts below the shortest length of first_last, 2 steps; start it at 2 or later"),
    ],
)
def test_an_impossible_range_is_refused_before_the_run(tmp_path: Path, at: str, message: str) -> None:
    plan = tiny_plan(tmp_path, protocol={"steps": 1, "evaluate_at": [at]})
    with pytest.raises(UsageError) as raised:
        cases(plan)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_range_without_a_length_that_the_task_supports_is_refused(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, tasks=("digits",), lengths=(64,), protocol={"steps": 1, "evaluate_at": ["65..100"]})
    with pytest.raises(UsageError, match=r"digits supports no length in '65\.\.100'; give another range"):
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
