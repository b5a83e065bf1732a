"""Random weight guessing: what is drawn, what is kept, what is counted, and that a seed decides all of it."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import tasks
from bench.errors import UsageError
from bench.executors.jobs import TrainJob
from bench.executors.training_job import run_training_job
from bench.plans.grid import cases
from bench.plans.plan import load
from bench.plans.protocol import resolved_protocol
from bench.probes import latency
from bench.training.data import batches
from bench.training.evaluation import evaluate
from bench.training.guessing import Guessing
from bench.training.loop import train
from bench.training.model import build_model
from results import Case, EvalPoint
from tasks import Batch
from tests.bench.doubles import Scores, Scripted, loaded_machine
from tests.bench.tiny import GRID, TIMING, TINY, subject, tiny_case, weights_of, write_plan

GUESSING = {"optimizer": "guessing", "learning_rate": None}
SCALE = 100.0
"""The default bound of guesses. `Largest` turns weights up to it into scores."""


@dataclass(frozen=True, kw_only=True)
class Largest(Scores):
    """A task on which a larger weight has a higher score, on every batch."""

    def score(self, answers: Tensor, batch: Batch) -> float:
        return (answers.mean().item() / SCALE + 1) / 2


@dataclass(frozen=True, kw_only=True)
class Smallest(Scores):
    """A task on which all scores are equal, and a smaller weight has a lower loss."""


def guess_case(**changes: object) -> Case:
    return tiny_case(**{"steps": 12, "evaluate_every": 4, "solved_after": None, **GUESSING, **changes})  # type: ignore[arg-type]


def guesses_of(case: Case, task: tasks.Task) -> tuple[list[float], float, tuple[EvalPoint, ...]]:
    """Return all weights that a training draws for `Scripted`, its final weight, and its curve."""
    drawn: list[float] = []
    model, step = Scripted(), Guessing.step

    def recording(self: Guessing, batch: Batch) -> float:
        loss = step(self, batch)
        drawn.append(model.weight.item())
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Guessing, "step", recording)
        training = train(model, task, case)  # type: ignore[arg-type]
    return drawn, model.weight.item(), training.curve


def test_the_best_of_all_guesses_is_kept() -> None:
    for seed in range(3):
        drawn, kept, curve = guesses_of(guess_case(seed=seed), Largest())
        assert len(set(drawn)) == 12 and kept == max(drawn)
        scores = [(max(drawn[:count]) / SCALE + 1) / 2 for count in (4, 8, 12)]
        assert [point.validation_score for point in curve] == pytest.approx(scores, rel=1e-6)


def test_equal_scores_are_decided_by_the_loss() -> None:
    drawn, kept, _ = guesses_of(guess_case(), Smallest())
    assert abs(kept) == min(map(abs, drawn))


def test_weights_are_uniform_up_to_the_bound_of_the_protocol() -> None:
    for bound in (100.0, 0.5):
        case = guess_case(steps=400, evaluate_every=400, guess_range=bound)
        drawn, _, _ = guesses_of(case, Largest())
        counts = torch.histc(torch.tensor(drawn), bins=4, min=-bound, max=bound)
        assert counts.sum() == 400  # none lies outside
        assert counts.min() > 60  # 4.6 standard deviations below the mean of 100


@pytest.mark.parametrize("name", ["lstm", "lru", "transformer"])
def test_every_weight_is_drawn_anew_at_every_step(name: str) -> None:
    built = subject(name, "recall", length=32, **GUESSING)
    guessing, batch = (
        Guessing(built.model, built.task, built.case),
        built.task.sample(tasks.generator(0, "train"), 2, 32),
    )
    seen = [[parameter.detach().clone() for parameter in built.model.parameters()]]
    for _ in range(2):
        guessing.step(batch)
        seen.append([parameter.detach().clone() for parameter in built.model.parameters()])
    for before, after in itertools.pairwise(seen):
        assert all((old != new).all() for old, new in zip(before, after, strict=True))


def test_both_parts_of_complex_weights_are_drawn() -> None:
    model, task = Scripted(), Scores()
    model.waves = nn.Parameter(torch.zeros(500, dtype=torch.complex64))
    Guessing(model, task, guess_case()).step(task.sample(tasks.generator(0, "train"), 2, 4))  # type: ignore[arg-type]
    parts = torch.view_as_real(model.waves.detach())
    assert (parts.std(0) > SCALE / 2).all() and parts.abs().max() <= SCALE


def test_the_seed_decides_the_guesses() -> None:
    (first, *_), (again, *_), (other, *_) = (guesses_of(guess_case(seed=seed), Largest()) for seed in (0, 0, 1))
    assert first == again
    assert not set(first) & set(other)


def test_guesses_are_scored_on_the_training_batches_of_all_learners() -> None:
    case, task = guess_case(steps=3), tasks.build("first_last")
    scored: list[Tensor] = []
    step = Guessing.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Guessing, "step", lambda self, batch: (scored.append(batch.inputs), step(self, batch))[1])
        train(build_model(case, task), task, case)
    assert all(torch.equal(ours, batch.inputs) for ours, batch in zip(scored, batches(task, case), strict=True))


def test_a_loss_that_is_not_finite_is_a_bad_guess_and_no_divergence() -> None:
    drawn, kept, curve = guesses_of(guess_case(guess_range=1e38), Smallest(scale=1e30))
    assert len(drawn) == 12 and kept in drawn
    assert [point.train_loss for point in curve] == [None] * 3


def test_guessing_solves_the_two_sequence_problem_and_its_sequences_are_counted() -> None:
    case = tiny_case(
        "rnn", "two_sequences", length=20, steps=2000, batch=20, evaluate_every=10, validation_sequences=64,
        test_sequences=256, evaluate_at=("1x",), solved_after=1, **GUESSING,
    ).model_copy(update={"width": 1})  # fmt: skip
    result = run_training_job(TrainJob(case=case), lambda *_: None)
    record, task = result.record, tasks.build("two_sequences")
    assert record.training is not None and record.training.stopped == "solved"
    assert (record.training.learning_rate, record.training.learning_rate_source) == (None, "plan")
    (measured,) = record.of("sequences_until_solved")
    assert measured.samples == (record.training.sequences,) == (20 * record.training.steps,)
    assert record.of("accuracy")[0].samples[0] > 0.95
    again = build_model(case, task)
    train(again, task, case)
    validation = task.sample(tasks.generator(0, "validation"), 64, 20, "validation")
    assert evaluate(again, task, validation).score == record.training.curve[-1].validation_score >= 0.995


def test_the_timed_training_step_is_a_guess_by_a_copy_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    built = subject("gru", **GUESSING)
    before, batches_of_guesses = weights_of(built), []
    step = Guessing.step
    monkeypatch.setattr(
        Guessing, "step", lambda self, batch: (batches_of_guesses.append(batch.inputs), step(self, batch))[1]
    )
    (measurements,) = latency.measure([built], TIMING, random.Random(0), loaded_machine()).values()
    assert "train_step_seconds" in {measurement.metric for measurement in measurements}
    assert all(map(torch.equal, before, weights_of(built)))
    sampled = built.task.sample(tasks.generator(0, "train"), TIMING.batch, built.case.length)
    assert batches_of_guesses and all(torch.equal(batch, sampled.inputs) for batch in batches_of_guesses)


@pytest.mark.parametrize(
    "field",
    [
        {"learning_rate": 1e-2},
        {"schedule": "constant"},
        {"halve_every": 3},
        {"final_learning_rate": 1e-5},
        {"warmup_steps": 5},
        {"warmup_share": 0.1},
        {"clip": 0},
        {"weight_decay": 0.1},
        {"weight_decay_on": "all"},
    ],
)
def test_fields_of_gradients_are_refused_in_one_line(field: dict[str, object]) -> None:
    (name,) = field
    with pytest.raises(UsageError) as caught:
        resolved_protocol({"steps": 10, "optimizer": "guessing", **field}, 40)
    assert str(caught.value) == f"protocol: {name} needs gradients, but optimizer is 'guessing': omit one of them"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"optimizer": "guessing", "keep_best": True},
            "optimizer = 'guessing' always keeps the best weights: omit keep_b",
        ),
        ({"guess_range": 1.0}, "guess_range is the bound of guessed weights: add optimizer = 'guessing', or omit it"),
        ({"optimizer": "guessing", "guess_range": 0}, "guess_range must be above 0, not 0"),
        ({"optimizer": "sgd"}, "optimizer must be 'adam', 'guessing' or 'none', not 'sgd'"),
    ],
)
def test_other_contradictions_are_refused_in_one_line(given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolved_protocol({"steps": 10, **given}, 40)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_grid_of_guessing_inherits_no_field_of_gradients(tmp_path: Path) -> None:
    text = TINY.replace("steps = 1\nbatch", 'learning_rate = 0.01\nschedule = "constant"\nsteps = 1\nbatch', 1)
    extra = '\n[[extra]]\narchs = ["gru"]\nprotocol = { optimizer = "guessing", steps = 7 }\n'
    plan = load(str(write_plan(tmp_path, text + extra)))
    protocols = {case.arch: case.protocol for case in cases(plan)}
    assert (protocols["rnn"].optimizer, protocols["rnn"].learning_rate) == ("adam", 0.01)
    guessing = protocols["gru"]
    assert (guessing.optimizer, guessing.learning_rate, guessing.schedule) == ("guessing", None, "cosine")
    assert (guessing.steps, guessing.batch, guessing.guess_range) == (7, 4, 100.0)


def test_guessing_cannot_be_tuned(tmp_path: Path) -> None:
    text = TINY.replace("batch = 4\nevaluate", 'optimizer = "guessing"\nbatch = 4\nevaluate', 1)
    assert {case.protocol.optimizer for case in cases(load(str(write_plan(tmp_path / "plain", text))))} == {"guessing"}
    with pytest.raises(
        UsageError, match="has optimizer = 'guessing' and has no learning rate to tune: omit the tuning"
    ):
        load(str(write_plan(tmp_path / "tuned", text + GRID)))
