"""Training: fresh batches or a fixed set, Adam, clipped gradients, a schedule, a look at validation now and then."""

# Shape suffixes: B batch, T time

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch

import arch
import tasks
from results import Case, Point, Protocol, Training, digest

SOLVED_SHARE = 0.99
"""A task counts as solved at this share of the span from chance to 1."""
EVALUATION_STEPS = 1 << 15
"""Sequence steps that one evaluation forward handles at once, to bound its memory."""

Report = Callable[[int, int, float], None]
"""Called with steps done, steps in all, and the latest validation score."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model's score on some sequences, and the metrics that the task records beside it."""

    score: float
    metrics: dict[str, float]


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
    curve: list[Point] = []
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
                Point(
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


def optimizer_of(model: arch.SequenceModel, protocol: Protocol) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba 2015), with decoupled weight decay (Loshchilov & Hutter 2019) where there is any."""
    if protocol.weight_decay:
        return torch.optim.AdamW(
            model.parameters(), lr=protocol.learning_rate, weight_decay=protocol.weight_decay, fused=True
        )
    return torch.optim.Adam(model.parameters(), lr=protocol.learning_rate, fused=True)


def evaluate(model: arch.SequenceModel, task: tasks.Task, batch: tasks.Batch) -> Evaluation:
    """Score and metrics of `model` on `batch`, without gradients or dropout."""
    was_training = model.training
    model.eval()
    rows = max(1, EVALUATION_STEPS // batch.mask.shape[1])
    with torch.inference_mode():
        outputs = torch.cat([model(part) for part in batch.inputs.split(rows)])
        evaluation = Evaluation(task.score(task.answer(outputs), batch), task.metrics(outputs, batch))
    model.train(was_training)
    return evaluation


def solved_bar(task: tasks.Task, length: int) -> float:
    """The score from which a task counts as solved."""
    chance = task.chance(length)
    return chance + SOLVED_SHARE * (1 - chance)


def batches(task: tasks.Task, case: Case) -> Iterator[tasks.Batch]:
    """The training batches of a case: fresh ones, or shuffled passes over a fixed set."""
    protocol, generator = case.protocol, tasks.generator(case.seed, "train")
    if protocol.steps is not None:
        lengths = trained_lengths(task, case)
        for _ in range(protocol.steps):
            length = (
                lengths[int(torch.randint(len(lengths), (), generator=generator))] if len(lengths) > 1 else lengths[0]
            )
            batch = task.sample(generator, protocol.batch, length)
            yield _shuffled(batch) if protocol.control == "shuffled_targets" else batch
        return
    assert protocol.train_sequences is not None and protocol.epochs is not None
    whole = _fixed_set(task, case, generator)
    for _ in range(protocol.epochs):
        for rows in torch.randperm(protocol.train_sequences, generator=generator).split(protocol.batch):
            yield tasks.Batch(inputs=whole.inputs[rows], targets=whole.targets[rows], mask=whole.mask[rows])


def fit_batch(task: tasks.Task, case: Case) -> tasks.Batch:
    """The first `fit_sequences` of the fixed training set, on which the fit is measured."""
    whole, rows = _fixed_set(task, case, tasks.generator(case.seed, "train")), slice(case.protocol.fit_sequences)
    return tasks.Batch(inputs=whole.inputs[rows], targets=whole.targets[rows], mask=whole.mask[rows])


def _fixed_set(task: tasks.Task, case: Case, generator: torch.Generator) -> tasks.Batch:
    assert case.protocol.train_sequences is not None
    whole = task.sample(generator, case.protocol.train_sequences, case.length)
    return _shuffled(whole) if case.protocol.control == "shuffled_targets" else whole


def trained_lengths(task: tasks.Task, case: Case) -> list[int]:
    """The lengths that training draws from: the case's own, or all up to it that the task can be asked at."""
    if case.protocol.train_lengths == "fixed":
        return [case.length]
    return [length for length in range(task.min_length, case.length + 1) if can_be_asked(task, length)]


def can_be_asked(task: tasks.Task, length: int) -> bool:
    """Whether the task has sequences of that length."""
    try:
        task.check_length(length)
    except tasks.ImpossibleLength:
        return False
    return True


def _shuffled(batch: tasks.Batch) -> tasks.Batch:
    """The batch with all its answers passed half a batch on, so that no sequence keeps any of its own.

    Among shuffled answers a few would stay in their sequence, and a model learns even from those.
    """
    targets, answers = batch.targets.clone(), batch.targets[batch.mask]
    targets[batch.mask] = answers.roll(len(answers) // 2, 0)
    return tasks.Batch(inputs=batch.inputs, targets=targets, mask=batch.mask)


def steps_per_epoch(protocol: Protocol) -> int | None:
    """Steps in one pass over the fixed training set; None where batches are fresh."""
    return None if protocol.train_sequences is None else math.ceil(protocol.train_sequences / protocol.batch)


def total_steps(protocol: Protocol) -> int:
    """The most steps that training takes."""
    if protocol.steps is not None:
        return protocol.steps
    per_epoch = steps_per_epoch(protocol)
    assert per_epoch is not None and protocol.epochs is not None
    return per_epoch * protocol.epochs


def learning_rate_factor(protocol: Protocol, step: int) -> float:
    """What the learning rate is multiplied with at `step`, counted from 0."""
    if step < protocol.warmup_steps:
        return (step + 1) / (protocol.warmup_steps + 1)
    if protocol.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(1.0, step / total_steps(protocol))))
    if protocol.schedule == "halving":
        per_epoch = steps_per_epoch(protocol) or 1
        return 0.5 ** (step // per_epoch // protocol.halve_every)
    return 1.0


def to_device(batch: tasks.Batch, device: torch.device) -> tasks.Batch:
    """The batch on `device`; itself where it is there already."""
    return tasks.Batch(inputs=batch.inputs.to(device), targets=batch.targets.to(device), mask=batch.mask.to(device))


def flushes_denormals() -> bool:
    """Whether this thread flushes denormal numbers to zero, found by making one."""
    return (torch.tensor([1e-38], dtype=torch.float32) * 1e-3).item() == 0.0


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
