"""Training: fresh batches or a fixed set, Adam, clipped gradients, a schedule, a look at validation now and then."""

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
from bench.training.evaluation import evaluate, solved_bar
from bench.training.optimizer import optimizer_of
from bench.training.schedule import learning_rate_factor, total_steps
from results import Case, EvalPoint, Training, digest

Report = Callable[[int, int, float], None]
"""Called with steps done, steps in all, and the latest validation score."""


def train(
    model: arch.SequenceModel,
    task: tasks.Task,
    case: Case,
    *,
    clock: Callable[[], float] = time.perf_counter,
    report: Report = lambda done, total, score: None,
    on_best: Callable[[], None] = lambda: None,
) -> Training:
    """Train `model` in place by the case's protocol and say what happened.

    `on_best` is called whenever the validation score is higher than ever before. A loss or gradient
    that is not finite ends training as `diverged`.
    """
    protocol, device = case.protocol, next(model.parameters()).device
    total = total_steps(protocol)
    optimizer = optimizer_of(model, protocol)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(protocol, step))
    validation = to_device(
        task.sample(tasks.generator(case.seed, "validation"), protocol.validation_sequences, case.length, "validation"),
        device,
    )
    fit = None if protocol.fit_sequences == 0 else to_device(fit_batch(task, case), device)
    bar, best = solved_bar(task, case.length), -math.inf
    curve: list[EvalPoint] = []
    stopped: Literal["solved", "budget", "diverged"] = "budget"
    step, sequences, solved_in_a_row = 0, 0, 0
    losses: list[float] = []
    started = clock()
    torch.manual_seed(int(digest(["dropout", case.seed]), 16))
    model.train()
    for step, batch in enumerate(batches(task, case), start=1):
        sequences += len(batch.inputs)
        batch = to_device(batch, device)
        optimizer.zero_grad(set_to_none=True)
        loss = task.loss(model(batch.inputs), batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), protocol.clip)
        losses.append(loss.item())
        if not (math.isfinite(losses[-1]) and math.isfinite(norm.item())):
            stopped = "diverged"
            break
        optimizer.step()
        schedule.step()
        if step % protocol.evaluate_every == 0 or step == total:
            seen = evaluate(model, task, validation)
            fitted = None if fit is None else evaluate(model, task, fit)
            loss_name = next(iter(seen.metrics))
            curve.append(
                EvalPoint(
                    step=step,
                    train_loss=_finite(sum(losses) / len(losses)),
                    validation_loss=_finite(seen.metrics[loss_name]),
                    validation_score=seen.score,
                    fit_loss=None if fitted is None else _finite(fitted.metrics[loss_name]),
                    fit_score=None if fitted is None else fitted.score,
                )
            )
            losses = []
            if seen.score > best:
                best = seen.score
                on_best()
            report(step, total, seen.score)
            solved_in_a_row = solved_in_a_row + 1 if seen.score >= bar else 0
            if protocol.solved_after and solved_in_a_row >= protocol.solved_after:
                stopped = "solved"
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
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
