"""latency: the time of a forward pass over a whole sequence, and of a training step.

The models of a group are timed in blocks, in a new random order each round. Drift of the machine therefore affects all
models equally. A sample is the mean seconds per call in one block. The number of calls per block is chosen so that a
block takes about `block_seconds`. A block has at least one timed call.

The first call of a block is not timed. The calibration before the block evicts the caches, so the first call takes up
to twice as long as usual. The second call takes 1% longer than usual, or up to 8% longer if a block has many calls.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch

import tasks
from bench.machine.noise import Machine, calibrate
from bench.machine.timer import seconds_per_call, synchronise
from bench.plans.plan import Timing
from bench.probes.subject import Subject
from bench.training.data import to_device
from bench.training.guessing import Guessing
from bench.training.optimizer import clip_gradients, optimizer_of, training_loss
from results import Block, Measurement

ANY_LEARNING_RATE = 1e-3
"""Rate of timed training steps if the protocol gives none. The duration of a step does not depend on it."""


@dataclass(slots=True)
class _TimedCall:
    """A call to be timed, and its samples so far."""

    subject: Subject
    metric: str
    at: dict[str, int]
    call: Callable[[], object]
    calls_per_block: int = 1
    samples: list[float] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)


def measure(
    subjects: Sequence[Subject], timing: Timing, order: random.Random, machine: Machine | None = None
) -> dict[str, list[Measurement]]:
    """Time forward passes at batch sizes 1 and `timing.batch`, and training steps at `timing.batch`.

    Args:
        subjects: a group of trained models on one device.
        timing: the number of blocks, their duration in seconds, and the batch size.
        order: generator of the random order of the models, and of their calls in each round.
        machine: observes the blocks; None for a `Machine` on the device of the models.

    Returns:
        Measurements by case key.
    """
    machine = machine or Machine(device=subjects[0].device.type)
    measurements: dict[str, list[Measurement]] = {subject.case.key: [] for subject in subjects}
    timed_calls: list[_TimedCall] = []
    for subject in order.sample(subjects, len(subjects)):
        timed_calls += [
            _TimedCall(subject, "forward_seconds", {"batch": 1}, _forward(subject, 1)),
            _TimedCall(subject, "forward_seconds", {"batch": timing.batch}, _forward(subject, timing.batch)),
            _TimedCall(subject, "train_step_seconds", {"batch": timing.batch}, _training_step(subject, timing.batch)),
        ]
    for timed in timed_calls:
        timed.call()
        call_seconds = seconds_per_call(timed.call, 1, timed.subject.device)
        timed.calls_per_block = max(1, round(timing.block_seconds / call_seconds)) if call_seconds > 0 else 1
    for _ in range(timing.blocks):
        for timed in order.sample(timed_calls, len(timed_calls)):
            sample, block = machine.observe(partial(_time_block, timed))
            timed.samples.append(sample)
            timed.blocks.append(block)
    for timed in timed_calls:
        measurements[timed.subject.case.key].append(
            Measurement(metric=timed.metric, at=timed.at, samples=tuple(timed.samples), blocks=tuple(timed.blocks))
        )
    return measurements


def limitation(subject: Subject, timing: Timing, measurements: Sequence[Measurement]) -> str | None:
    """Return None, because every requested latency is measured."""
    return None


def measure_first_call(subject: Subject) -> list[Measurement]:
    """Time the first forward pass of one sequence in a freshly loaded model, in seconds."""
    forward = _forward(subject, 1)
    calibrate()
    synchronise(subject.device)
    started = time.perf_counter()
    forward()
    synchronise(subject.device)
    return [Measurement(metric="first_call_seconds", at={"batch": 1}, samples=(time.perf_counter() - started,))]


def backend_of(subject: Subject) -> str:
    """Return the backend that scans a whole sequence: `reference` or `fused`."""
    return subject.model.backend_for(subject.test_inputs(1, subject.case.length))


def _time_block(timed: _TimedCall) -> float:
    timed.call()
    return seconds_per_call(timed.call, timed.calls_per_block, timed.subject.device)


def _forward(subject: Subject, batch: int) -> Callable[[], object]:
    inputs = subject.test_inputs(batch, subject.case.length)
    model = subject.model.eval()

    def forward() -> None:
        with torch.inference_mode():
            model(inputs)

    return forward


def _training_step(subject: Subject, batch: int) -> Callable[[], object]:
    """Return a function that runs one training step on a copy of the model.

    A step consists of forward pass, backward pass, gradient clipping and optimizer step. A step of guessing draws
    weights and scores them.
    """
    case, task, model = subject.case, subject.task, copy.deepcopy(subject.model).train()
    sample = task.sample(tasks.generator(case.seed, "train"), batch, case.length)
    training_batch = to_device(sample, subject.device)
    if case.protocol.optimizer == "guessing":
        return partial(Guessing(model, task, case).step, training_batch)
    optimizer = optimizer_of(model, case.protocol, case.protocol.learning_rate or ANY_LEARNING_RATE)

    def training_step() -> None:
        optimizer.zero_grad()
        training_loss(model, task, training_batch).backward()
        clip_gradients(model, case.protocol)
        optimizer.step()

    return training_step
