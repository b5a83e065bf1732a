"""Tests of the training loop: batches, schedule, optimizer, stopping and reproducibility."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import scipy.stats
import torch

import arch
import tasks
from bench.machine.denormals import flushes_denormals
from bench.training.adam import Adam
from bench.training.data import batches
from bench.training.evaluation import MAX_FORWARD_STEPS, evaluate
from bench.training.loop import train
from bench.training.model import build_model, check_model
from bench.training.schedule import learning_rate_factor, total_steps
from results import Budget, Protocol, solved_score
from tests.bench.doubles import Scores, Scripted
from tests.bench.tiny import tiny_case

EXACT = 1e-12
"""Relative tolerance for a few operations in float64."""
FLOAT32 = 1e-6
"""Relative tolerance for a few operations in float32."""
FALSE_ALARM = 1e-4
"""Maximum probability that one comparison fails by accident if identical sequences are as rare as the task states."""
CHUNKED = 1e-6
"""Absolute tolerance for losses near 1. The batch size may change the order of summation in a matrix product."""


class TestBatches:
    def test_fresh_batches_never_repeat(self) -> None:
        case = tiny_case(steps=6, batch=5)
        sampled = [batch.inputs for batch in batches(tasks.build("first_last"), case)]
        assert [len(inputs) for inputs in sampled] == [5] * 6
        assert len(torch.cat(sampled).unique(dim=0)) == 30

    def test_every_epoch_covers_the_fixed_set_in_a_new_order(self) -> None:
        case = tiny_case(steps=None, train_sequences=10, epochs=3, batch=4)
        sampled = list(batches(tasks.build("first_last"), case))
        assert [len(batch.inputs) for batch in sampled] == [4, 4, 2] * 3
        epochs = [torch.cat([batch.inputs for batch in sampled[i : i + 3]])[:, :, 0] for i in (0, 3, 6)]
        ordered = [sorted(epoch.tolist()) for epoch in epochs]
        assert ordered[0] == ordered[1] == ordered[2]
        assert len(epochs[0].unique(dim=0)) == 10
        assert not torch.equal(epochs[0], epochs[1])
        assert not torch.equal(epochs[1], epochs[2])

    def test_rows_of_a_fixed_set_keep_their_targets_and_masks(self) -> None:
        task = tasks.build("copy_memory")
        case = tiny_case(task="copy_memory", length=30, steps=None, train_sequences=7, epochs=2, batch=3)
        for batch in batches(task, case):
            assert torch.equal(task.solve(batch)[batch.mask], batch.targets[batch.mask])

    def test_batches_depend_on_the_seed_alone(self) -> None:
        task = tasks.build("adding")
        first, again, other = (
            [batch.inputs for batch in batches(task, tiny_case(task="adding", steps=3, seed=seed))]
            for seed in (0, 0, 1)
        )
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))

    @pytest.mark.parametrize("name", tasks.names())
    def test_splits_share_no_more_sequences_than_the_task_states(self, name: str) -> None:
        task = tasks.build(name)
        length = max(40, task.min_length)
        for seed in (0, 1):
            train, validation, test = (
                {
                    tuple(row)
                    for row in task.sample(tasks.generator(seed, split), 64, length, split)
                    .inputs.reshape(64, -1)
                    .tolist()
                }
                for split in ("train", "validation", "test")
            )
            allowed = scipy.stats.poisson.ppf(1 - FALSE_ALARM, 64 * 64 * task.collision(length))
            for first, second in ((train, validation), (train, test), (validation, test)):
                assert len(first & second) <= allowed


class TestSteps:
    @pytest.mark.parametrize(
        ("sequences", "epochs", "batch", "expected"), [(10, 3, 4, 9), (8, 3, 4, 6), (3, 5, 4, 5), (5000, 100, 64, 7900)]
    )
    def test_total_steps_follow_from_sequences_and_epochs(
        self, sequences: int, epochs: int, batch: int, expected: int
    ) -> None:
        assert total_steps(Protocol(train_sequences=sequences, epochs=epochs, batch=batch)) == expected
        assert total_steps(Protocol(steps=expected)) == expected

    def test_training_takes_and_reports_the_planned_steps(self) -> None:
        case = tiny_case(steps=None, train_sequences=10, epochs=2, batch=4, evaluate_every=4)
        task = Scores()
        reports: list[tuple[int, int, float]] = []
        training = train(Scripted(), task, case, report=lambda *progress: reports.append(progress))  # type: ignore[arg-type]
        assert task.batch_sizes == [4, 4, 2, 4, 4, 2]
        assert (training.steps, training.stopped) == (6, "budget")
        assert [point.step for point in training.curve] == [4, 6]
        assert reports == [(4, 6, 0.0), (6, 6, 0.0)]
        assert training.sequences == sum(task.batch_sizes)


class TestSchedule:
    def test_constant_is_one_at_every_step(self) -> None:
        protocol = Protocol(steps=100, schedule="constant")
        assert [learning_rate_factor(protocol, step) for step in (0, 1, 50, 99)] == [1.0] * 4

    def test_cosine_falls_from_one_to_zero(self) -> None:
        protocol = Protocol(steps=12, schedule="cosine")
        factors = [learning_rate_factor(protocol, step) for step in (0, 4, 6, 8, 12, 13)]
        assert factors == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0, 0.0], abs=EXACT)

    def test_warmup_is_linear_and_starts_above_zero(self) -> None:
        protocol = Protocol(steps=100, schedule="constant", warmup_steps=4)
        factors = [learning_rate_factor(protocol, step) for step in range(6)]
        assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0], rel=EXACT)

    def test_the_cosine_continues_after_warmup_as_without_it(self) -> None:
        protocol = Protocol(steps=12, schedule="cosine", warmup_steps=4)
        factors = [learning_rate_factor(protocol, step) for step in (0, 3, 4, 6)]
        assert factors == pytest.approx([0.2, 0.8, 0.75, 0.5], abs=EXACT)

    def test_halving_counts_epochs(self) -> None:
        protocol = Protocol(train_sequences=10, epochs=9, batch=4, schedule="halving", halve_every=2)
        factors = [learning_rate_factor(protocol, step) for step in (0, 5, 6, 11, 12, 18, 26)]
        assert factors == [1.0, 1.0, 0.5, 0.5, 0.25, 0.125, 0.0625]

    def test_training_follows_the_schedule(self) -> None:
        """Check the learning rates by their sum: with gradients of one sign, each step of Adam is nearly the rate."""
        case = tiny_case(steps=4, learning_rate=0.01, schedule="constant", warmup_steps=1, solved_after=None)
        model = Scripted(100.0)
        train(model, Scores(), case)  # type: ignore[arg-type]
        assert model.weight.item() == pytest.approx(100 - 0.01 * (0.5 + 1 + 1 + 1), abs=1e-4)


class TestOptimisation:
    def test_the_first_step_of_adam_is_the_learning_rate(self) -> None:
        model = Scripted(2.0)
        train(model, Scores(), tiny_case(steps=1, learning_rate=0.25))  # type: ignore[arg-type]
        assert model.weight.item() == pytest.approx(1.75, rel=FLOAT32)

    def test_weight_decay_is_decoupled_from_the_step(self) -> None:
        model = Scripted(2.0)
        train(model, Scores(), tiny_case(steps=1, learning_rate=0.25, weight_decay=0.5))  # type: ignore[arg-type]
        assert model.weight.item() == pytest.approx(2.0 * (1 - 0.25 * 0.5) - 0.25, rel=FLOAT32)

    def test_gradients_are_clipped_to_their_norm(self, monkeypatch: pytest.MonkeyPatch) -> None:
        norms: list[float] = []
        original_step = Adam.step

        def step(self: Adam, factor: float = 1.0) -> None:
            norms.append(math.hypot(*(p.grad.norm().item() for group in self.groups for p in group.parameters)))
            original_step(self, factor)

        monkeypatch.setattr(Adam, "step", step)
        for scale in (1e-3, 1e3):  # the gradient of scale * weight² at 2 is 4 * scale
            train(Scripted(2.0), Scores(scale=scale), tiny_case(steps=1, clip=0.5))  # type: ignore[arg-type]
        assert norms == pytest.approx([0.004, 0.5], rel=1e-4)


class TestStopping:
    def test_a_task_is_solved_at_99_percent_of_the_span_from_chance(self) -> None:
        assert solved_score(0.5) == pytest.approx(0.995, rel=EXACT)

    @pytest.mark.parametrize(
        ("scores", "steps", "stopped"),
        [
            ((1, 1, 1, 1), 3, "solved"),
            ((1, 1, 0.99, 1, 1, 1, 1), 6, "solved"),
            ((1, 1, 0, 1, 1, 0, 1, 1, 0, 1), 10, "budget"),
            ((0, 0, 0, 0, 0, 0, 0, 1, 1, 1), 10, "solved"),
            ((0.9951,) * 10, 3, "solved"),
            ((0.9949,) * 10, 10, "budget"),
        ],
    )
    def test_training_stops_after_consecutive_solved_evaluations(
        self, scores: tuple[float, ...], steps: int, stopped: str
    ) -> None:
        training = train(Scripted(), Scores(scores=scores), tiny_case(steps=10, solved_after=3))  # type: ignore[arg-type]
        assert (training.steps, training.stopped) == (steps, stopped)
        assert [point.validation_score for point in training.curve] == list(scores[:steps])

    def test_without_solved_after_training_never_stops_early(self) -> None:
        training = train(Scripted(), Scores(scores=(1.0,) * 10), tiny_case(steps=10, solved_after=None))  # type: ignore[arg-type]
        assert (training.steps, training.stopped) == (10, "budget")

    @pytest.mark.parametrize(
        ("scores", "patience", "steps", "stopped"),
        [
            ((0.5,) * 10, 3, 4, "plateaued"),
            ((0.5, 0.6, 0.6, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7), 3, 8, "plateaued"),
            ((0.5, 0.5, 0.6, 0.6, 0.7, 0.7, 0.8, 0.8, 0.9, 0.9), 3, 10, "budget"),
            ((0.5,) * 10, 9, 10, "budget"),
            ((0.5,) * 10, 0, 10, "budget"),
            ((0.5,) * 10, None, 10, "budget"),
            ((1.0,) * 10, 3, 3, "solved"),
        ],
    )
    def test_patience_ends_a_training_that_does_not_improve(
        self, scores: tuple[float, ...], patience: int | None, steps: int, stopped: str
    ) -> None:
        case = tiny_case(steps=10, solved_after=3, patience=patience, learning_rate=1e-9)
        training = train(Scripted(), Scores(scores=scores), case)  # type: ignore[arg-type]
        assert (training.steps, training.stopped) == (steps, stopped)

    @pytest.mark.parametrize("after", [0, 3])
    def test_a_nan_loss_stops_as_diverged_and_keeps_the_weights(self, after: int) -> None:
        model = Scripted(2.0)
        training = train(model, Scores(poison_after=after), tiny_case(steps=10))  # type: ignore[arg-type]
        assert (training.steps, training.stopped) == (after + 1, "diverged")
        assert [point.step for point in training.curve] == list(range(1, after + 1))
        assert math.isfinite(model.weight.item())

    def test_an_infinite_gradient_stops_as_diverged(self) -> None:
        training = train(Scripted(1e-3), Scores(scale=3e38), tiny_case(steps=3, learning_rate=1e-9))  # type: ignore[arg-type]
        assert training.stopped == "budget"
        model = Scripted(1.5)
        training = train(model, Scores(scale=1.4e38), tiny_case(steps=3))  # type: ignore[arg-type]
        assert (training.steps, training.stopped) == (1, "diverged")  # the loss is 3.15e38, the gradient 4.2e38
        assert model.weight.item() == 1.5

    def test_a_validation_loss_that_is_not_finite_is_recorded_as_none(self) -> None:
        training = train(Scripted(2.0), Scores(poison_after=0, batch_sizes=[1]), tiny_case(steps=1))  # type: ignore[arg-type]
        assert training.stopped == "diverged"
        task = PoisonedValidation()
        training = train(Scripted(2.0), task, tiny_case(steps=1))  # type: ignore[arg-type]
        assert training.curve[0].validation_loss is None
        assert training.curve[0].train_loss == pytest.approx(4.0, rel=FLOAT32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoisonedValidation(Scores):
    def loss(self, outputs: torch.Tensor, batch: tasks.Batch) -> torch.Tensor:
        loss = super().loss(outputs, batch)
        return loss if outputs.requires_grad else loss * float("nan")


def test_the_clock_is_the_only_source_of_seconds() -> None:
    readings = iter([10.0, 12.5])
    training = train(Scripted(), Scores(), tiny_case(steps=2), clock=lambda: next(readings))  # type: ignore[arg-type]
    assert training.seconds == 2.5


def test_training_records_its_conditions() -> None:
    for flush in (True, False):
        assert torch.set_flush_denormal(flush)
        training = train(Scripted(), Scores(), tiny_case(steps=1))  # type: ignore[arg-type]
        assert training.flushes_denormals is flushes_denormals() is flush
        assert training.threads == torch.get_num_threads()
        assert training.backend == "scripted"


@pytest.mark.parametrize("name", arch.names())
def test_the_same_seed_gives_the_same_weights_bit_for_bit(name: str) -> None:
    task = tasks.build("first_last")
    weights, curves = [], []
    for seed in (0, 0, 1):
        torch.manual_seed(len(weights))  # the global generator must not matter
        case = tiny_case(f"{name}:dropout=0.5" if name != "rnn" else name, steps=4, seed=seed)
        case = case.model_copy(update={"depth": 2})
        model = build_model(case, task)
        torch.manual_seed(7)
        curves.append(train(model, task, case).curve)
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert curves[0] == curves[1]
    assert not torch.equal(weights[0], weights[2])


def test_dropout_depends_on_the_seed_of_the_case_alone() -> None:
    task, case = tasks.build("first_last"), tiny_case("lstm:dropout=0.5", steps=3).model_copy(update={"depth": 2})
    weights = []
    for state in (1, 2):
        model = build_model(case, task)
        torch.manual_seed(state)
        train(model, task, case)
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert torch.equal(*weights)


def test_training_lowers_the_loss() -> None:
    task, case = tasks.build("first_last"), tiny_case("gru", length=2, steps=150, learning_rate=0.03, batch=32)
    case = case.model_copy(update={"width": 8})
    training = train(build_model(case, task), task, case)
    assert training.curve[-1].validation_loss is not None
    assert training.curve[0].validation_loss is not None
    assert training.curve[-1].validation_loss < 0.3 < 0.6 < training.curve[0].validation_loss


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_changes_neither_generator_nor_mode_nor_gradients(training: bool) -> None:
    task, case = tasks.build("first_last"), tiny_case("lstm:dropout=0.5").model_copy(update={"depth": 2})
    model = build_model(case, task).train(training)
    batch = task.sample(tasks.generator(0, "test"), 16, 8)
    before, state = torch.get_rng_state(), copy.deepcopy(model.state_dict())
    first, second = evaluate(model, task, batch), evaluate(model, task, batch)
    assert first == second
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training is training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert evaluate(model.eval(), task, batch) == first


@pytest.mark.parametrize("name", ["first_last", "copy_memory", "adding"])
def test_evaluation_in_parts_equals_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = tasks.build(name)
    length = max(24, task.min_length)
    case = tiny_case("transformer", name, length=length)
    model = build_model(case, task)
    batch = task.sample(tasks.generator(0, "test"), 11, length)
    assert len(batch.inputs) * length < MAX_FORWARD_STEPS
    whole = evaluate(model, task, batch)
    for rows in (1, 4):
        monkeypatch.setattr("bench.training.evaluation.MAX_FORWARD_STEPS", rows * length)
        parts = evaluate(model, task, batch)
        assert parts.score == whole.score
        assert parts.metrics == pytest.approx(whole.metrics, abs=CHUNKED)
    monkeypatch.setattr("bench.training.evaluation.MAX_FORWARD_STEPS", 1)
    assert evaluate(model, task, batch).score == whole.score


def test_evaluation_returns_the_score_and_metrics_of_the_task() -> None:
    task = Scores(scores=(0.25,))
    evaluation = evaluate(Scripted(3.0), task, task.sample(tasks.generator(0, "test"), 4, 5))  # type: ignore[arg-type]
    assert evaluation.score == 0.25
    assert evaluation.metrics == {"mse": pytest.approx(9.0, rel=FLOAT32)}


@pytest.mark.parametrize("name", arch.names())
def test_check_model_returns_the_parameter_count_of_the_built_model(name: str) -> None:
    task = tasks.build("copy_memory")
    case = tiny_case(name, "copy_memory").model_copy(update={"depth": 2})
    count = check_model(name, task, length=case.length, depth=2, budget=Budget("width", 4))
    assert count == sum(parameter.numel() for parameter in build_model(case, task).parameters())


def test_training_samples_only_training_and_validation_data(monkeypatch: pytest.MonkeyPatch) -> None:
    task, case = tasks.build("first_last"), tiny_case(steps=2)
    expected = task.sample(tasks.generator(case.seed, "validation"), 8, 4, "validation").inputs
    samples: list[tuple[str, torch.Tensor]] = []
    original_sample = type(task).sample

    def sample(
        self: tasks.Task, generator: torch.Generator, batch: int, length: int, split: tasks.Split = "train"
    ) -> tasks.Batch:
        sampled = original_sample(self, generator, batch, length, split)
        samples.append((split, sampled.inputs))
        return sampled

    monkeypatch.setattr(type(task), "sample", sample)
    train(build_model(case, task), task, case)
    assert [split for split, _ in samples] == ["validation", "train", "train"]
    assert torch.equal(samples[0][1], expected)
