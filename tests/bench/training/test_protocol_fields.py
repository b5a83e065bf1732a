"""The fields of a protocol in training: weight decay, clipping, warm-up, the end of the cosine, and the bar."""

from __future__ import annotations

import math

import pytest
import torch

import arch
import tasks
from bench.executors.jobs import TrainJob
from bench.executors.training_job import run_training_job, sequences_until_solved
from bench.probes import accuracy
from bench.training.adam import Adam
from bench.training.data import batches, training_lengths
from bench.training.loop import train
from bench.training.optimizer import optimizer_of
from bench.training.schedule import learning_rate_factor, sequences_after, warmup_steps
from results import MIN_TEST_SEQUENCES, EvalPoint, Protocol
from tests.bench.doubles import Scores, Scripted
from tests.bench.tiny import subject, tiny_case

EXACT = 1e-12
"""Relative tolerance for a few operations in float64."""


@pytest.mark.parametrize("name", ["lstm", "transformer", "mamba"])
def test_the_weight_decay_spares_embeddings_and_vectors(name: str) -> None:
    model = subject(name, "recall", length=32).model
    protocol = Protocol(steps=1, learning_rate=0.01, weight_decay=0.5, weight_decay_on="matrices")
    decays = {
        id(parameter): group.weight_decay
        for group in optimizer_of(model, protocol).groups
        for parameter in group.parameters
    }
    assert decays.keys() == {id(parameter) for parameter in model.parameters()}
    own = {id(p) for group in arch.parameter_groups(model) if not group.weight_decay for p in group.parameters}
    for parameter in model.parameters():
        is_spared = parameter.dim() < 2 or parameter is model.encoder.weight or id(parameter) in own
        assert decays[id(parameter)] == (0.0 if is_spared else 0.5)
    assert {0.0, 0.5} == set(decays.values())


def test_the_old_weight_decay_acts_on_everything() -> None:
    model = subject("lstm", "recall", length=32).model
    (group,) = optimizer_of(model, Protocol(steps=1, learning_rate=0.01, weight_decay=0.5)).groups
    assert group.weight_decay == 0.5 and len(group.parameters) == len(list(model.parameters()))


def test_gradients_are_not_clipped_at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    original_step = Adam.step

    def step(self: Adam, factor: float = 1.0) -> None:
        norms.append(math.hypot(*(p.grad.norm().item() for group in self.groups for p in group.parameters)))
        original_step(self, factor)

    monkeypatch.setattr(Adam, "step", step)
    train(Scripted(2.0), Scores(scale=1e3), tiny_case(steps=1, clip=0))  # type: ignore[arg-type]
    assert norms == pytest.approx([4000], rel=1e-6)  # the gradient of scale * weight² at 2 is 4 * scale


def test_an_infinite_gradient_diverges_without_clipping_too() -> None:
    training = train(Scripted(1.5), Scores(scale=1.4e38), tiny_case(steps=3, clip=0))  # type: ignore[arg-type]
    assert (training.steps, training.stopped) == (1, "diverged")


def test_the_cosine_ends_at_the_final_learning_rate() -> None:
    protocol = Protocol(steps=12, learning_rate=2e-3, final_learning_rate=1e-4)
    rates = [2e-3 * learning_rate_factor(protocol, step) for step in (0, 6, 12)]
    assert rates == pytest.approx([2e-3, (2e-3 + 1e-4) / 2, 1e-4], rel=EXACT)
    tuned = protocol.model_copy(update={"learning_rate": None})
    assert 1e-2 * learning_rate_factor(tuned, 12, 1e-2) == pytest.approx(1e-4, rel=EXACT)


def test_the_warm_up_is_a_number_or_a_share_of_all_steps() -> None:
    assert warmup_steps(Protocol(steps=200, warmup_share=0.1)) == 20
    assert warmup_steps(Protocol(train_sequences=10, epochs=5, batch=4, warmup_share=0.2)) == 3
    assert warmup_steps(Protocol(steps=200, warmup_steps=7)) == 7
    share = Protocol(steps=40, schedule="constant", warmup_share=0.1)
    given = Protocol(steps=40, schedule="constant", warmup_steps=4)
    assert [learning_rate_factor(share, step) for step in range(6)] == [
        learning_rate_factor(given, step) for step in range(6)
    ]


def test_training_starts_at_the_least_length() -> None:
    task, case = tasks.build("first_last"), tiny_case(length=9, train_lengths="7..9", steps=60)
    assert training_lengths(task, case) == [7, 8, 9]
    assert {batch.inputs.shape[1] for batch in batches(task, case)} == {7, 8, 9}


@pytest.mark.parametrize(("bar", "steps"), [(0.99, 3), (0.999, 6)])
def test_training_stops_at_the_bar_of_its_protocol(bar: float, steps: int) -> None:
    scores = (0.9951, 0.9951, 0.9951, 0.9996, 0.9996, 0.9996, 1.0)
    case = tiny_case(steps=7, solved_after=3, solved_at=bar)
    training = train(Scripted(), Scores(scores=scores), case)  # type: ignore[arg-type]
    assert (training.steps, training.stopped) == (steps, "solved")


def test_sequences_are_counted_up_to_the_first_solved_validation() -> None:
    case = tiny_case(steps=40, batch=5, evaluate_every=10, solved_after=2, solved_at=0.9)
    training = train(Scripted(), Scores(scores=(0.5, 0.96, 0.5, 0.96)), case)  # type: ignore[arg-type]
    (measured,) = sequences_until_solved(case, training, chance=0.5)
    assert (measured.metric, measured.at, measured.samples) == ("sequences_until_solved", {}, (100.0,))
    curve = (EvalPoint(step=10, train_loss=0, validation_loss=0, validation_score=0.9499),)
    assert sequences_until_solved(case, training.model_copy(update={"curve": curve}), chance=0.5) == []


def test_the_last_batch_of_an_epoch_may_be_smaller() -> None:
    protocol = Protocol(train_sequences=10, epochs=3, batch=4)
    assert [sequences_after(protocol, step) for step in range(7)] == [0, 4, 8, 10, 14, 18, 20]


def test_a_record_has_the_sequences_until_solved_only_if_a_validation_solved_the_task() -> None:
    easy = tiny_case("gru", length=2, steps=150, learning_rate=0.03, batch=32).model_copy(update={"width": 8})
    hopeless = tiny_case("gru", length=16, steps=1)
    solved, unsolved = (run_training_job(TrainJob(case=case), lambda *_: None).record for case in (easy, hopeless))
    assert solved.training is not None and solved.training.stopped == "solved"
    (measured,) = solved.of("sequences_until_solved")
    assert 0 < measured.samples[0] <= solved.training.sequences
    assert unsolved.of("sequences_until_solved") == []


def test_long_tests_have_fewer_sequences() -> None:
    built = subject(length=4, evaluate_at=("1x", "2x", "4x", 400), test_sequences=600, test_steps=4_000)
    protocol = built.case.protocol
    counts = {length: protocol.test_sequences_at(length) for length in (4, 8, 16, 400)}
    assert counts == {4: 600, 8: 500, 16: 250, 400: MIN_TEST_SEQUENCES}
    sampled: dict[int, int] = {}
    draw = type(built.task).draw

    def counting(
        self: tasks.Task, generator: torch.Generator, batch: int, length: int, split: tasks.Split
    ) -> tasks.Batch:
        sampled[length] = batch
        return draw(self, generator, batch, length, split)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(built.task), "draw", counting)
        accuracy.measure(built)
    assert sampled == counts
