"""The training loop: optimizer steps with clipped gradients, regular evaluation, and early stopping."""

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
from bench.training.optimizer import clip_gradients, optimizer_of, training_loss
from bench.training.schedule import learning_rate_factor, total_steps
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
    global generator, which dropout uses, is seeded from the seed of the case.

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
    optimizer = optimizer_of(model, protocol, learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(protocol, step, learning_rate)
    )
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
        batch = to_device(batch, device)
        optimizer.zero_grad(set_to_none=True)
        loss = training_loss(model, task, batch)
        loss.backward()
        norm = clip_gradients(model, protocol)
        losses.append(loss.item())
        if not (math.isfinite(losses[-1]) and math.isfinite(norm.item())):
            stopped = "diverged"
            break
        optimizer.step()
        schedule.step()
        if step % protocol.evaluate_every == 0 or step == total:
            validated = evaluate(model, task, validation)
            fitted = None if fit is None else evaluate(model, task, fit)
            loss_name = next(iter(validated.metrics))
            curve.append(
                EvalPoint(
                    step=step,
                    train_loss=_finite(sum(losses) / len(losses)),
                    validation_loss=_finite(validated.metrics[loss_name]),
                    validation_score=validated.score,
                    fit_loss=None if fitted is None else _finite(fitted.metrics[loss_name]),
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
