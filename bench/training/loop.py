"""The training loop: steps of a learner, regular evaluation, and early stopping."""

# Shape suffixes: B batch, T time

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Literal

import torch

import arch
import tasks
from bench.machine.denormals import flushes_denormals
from bench.training.data import batches, fit_batch, to_device
from bench.training.evaluation import evaluate
from bench.training.guessing import Guessing
from bench.training.optimizer import GradientDescent
from bench.training.schedule import total_steps
from results import Case, EvalPoint, Progress, Training, digest, solved_score

Report = Callable[[int, int, float], None]
"""A progress callback. Its arguments are the steps done, the total steps and the latest validation score."""


def train(
    model: arch.SequenceModel,
    task: tasks.Task,
    case: Case,
    *,
    learning_rate: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
    report: Report = lambda done, total, score: None,
    on_best: Callable[[], None] = lambda: None,
) -> Training:
    """Train `model` in place according to the case's protocol, and return a summary of the training.

    A loss or gradient that is not finite stops training as `diverged`, before the weights are updated. Torch's
    global generator, which dropout uses, is seeded from the seed of the case. With the optimizer `guessing`, the model
    ends with the weights of the best validation.

    Args:
        model: The untrained model, on the device to train on.
        task: The task to sample from.
        case: The length, seed and protocol.
        learning_rate: The highest rate of the schedule; None for that of the protocol.
        clock: A monotonic clock in seconds.
        report: Called after each evaluation; see `Report`.
        on_best: Called after each evaluation whose validation score is the highest so far.
    """
    protocol, device = case.protocol, next(model.parameters()).device
    total = total_steps(protocol)
    learner: GradientDescent | Guessing
    if protocol.optimizer == "guessing":
        learner = Guessing(model, task, case)
    else:
        learner = GradientDescent(model, task, protocol, learning_rate)
    validation = to_device(
        task.sample(tasks.generator(case.seed, "validation"), protocol.validation_sequences, case.length, "validation"),
        device,
    )
    fit = None if protocol.fit_sequences == 0 else to_device(fit_batch(task, case), device)
    solved_at, best = solved_score(task.chance(case.length), protocol.solved_at), -math.inf
    curve: list[EvalPoint] = []
    stopped: Literal["solved", "budget", "diverged", "plateaued"] = "budget"
    step, sequences, solved_in_a_row, without_improvement = 0, 0, 0, 0
    progress = Progress()
    losses: list[float] = []
    started = clock()
    torch.manual_seed(int(digest(["dropout", case.seed]), 16))
    model.train()
    for step, batch in enumerate(batches(task, case), start=1):
        sequences += len(batch.inputs)
        losses.append(learner.step(to_device(batch, device)))
        if learner.diverged:
            stopped = "diverged"
            break
        if step % protocol.evaluate_every == 0 or step == total:
            validated = learner.validate(validation)
            fitted = None if fit is None else evaluate(model, task, fit)
            curve.append(
                EvalPoint(
                    step=step,
                    train_loss=_finite(sum(losses) / len(losses)),
                    validation_loss=_finite(validated.loss),
                    validation_score=validated.score,
                    fit_loss=None if fitted is None else _finite(fitted.loss),
                    fit_score=None if fitted is None else fitted.score,
                )
            )
            losses = []
            if validated.score > best:
                best = validated.score
                on_best()
            report(step, total, validated.score)
            solved_in_a_row = solved_in_a_row + 1 if validated.score >= solved_at else 0
            if protocol.solved_after and solved_in_a_row >= protocol.solved_after:
                stopped = "solved"
                break
            without_improvement = 0 if progress.improves(curve[-1]) else without_improvement + 1
            if protocol.patience and without_improvement >= protocol.patience and step < total:
                stopped = "plateaued"
                break
    return Training(
        steps=step,
        sequences=sequences,
        seconds=clock() - started,
        stopped=stopped,
        threads=torch.get_num_threads(),
        flushes_denormals=flushes_denormals(),
        backend=model.backend_for(validation.inputs),
        curve=tuple(curve),
        learning_rate=protocol.learning_rate if learning_rate is None else learning_rate,
        learning_rate_source="plan" if case.tuning is None else "tuned",
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
