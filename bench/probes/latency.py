"""latency: how long a forward pass over a whole sequence takes, and a training step.

The models of a group take turns in random order, block by block, so that a drift of the machine
falls on all of them alike. A sample is the mean of one block; blocks last `block_seconds` or one call.
The pulse before a block takes the caches: the first call after it is not timed, as it takes up to twice as long as
usual. The second takes 1% longer than usual, or up to 8% where it is one of many in a block.
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
from bench.machine.noise import Machine, pulse
from bench.machine.timer import seconds_a_call, synchronise
from bench.plans.plan import Timing
from bench.probes.subject import Subject
from bench.training.data import to_device
from bench.training.optimizer import optimizer_of
from results import Block, Measurement


@dataclass(slots=True)
class _Clocked:
    """One thing to time, and what was found."""

    subject: Subject
    metric: str
    at: dict[str, int]
    call: Callable[[], object]
    calls: int = 1
    samples: list[float] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)


def measure(
    subjects: Sequence[Subject], timing: Timing, order: random.Random, machine: Machine | None = None
) -> dict[str, list[Measurement]]:
    """Measurements by case key: forward at batch 1 and B, a training step at batch B."""
    machine = machine or Machine(device=subjects[0].device.type)
    found: dict[str, list[Measurement]] = {subject.case.key: [] for subject in subjects}
    clocked: list[_Clocked] = []
    for subject in order.sample(subjects, len(subjects)):
        clocked += [
            _Clocked(subject, "forward_seconds", {"batch": 1}, _forward(subject, 1)),
            _Clocked(subject, "forward_seconds", {"batch": timing.batch}, _forward(subject, timing.batch)),
            _Clocked(subject, "train_step_seconds", {"batch": timing.batch}, _training_step(subject, timing.batch)),
        ]
    for one in clocked:
        one.call()
        once = seconds_a_call(one.call, 1, one.subject.device)
        one.calls = max(1, round(timing.block_seconds / once)) if once > 0 else 1
    for _ in range(timing.blocks):
        for one in order.sample(clocked, len(clocked)):
            sample, block = machine.around(partial(_a_block, one))
            one.samples.append(sample)
            one.blocks.append(block)
    for one in clocked:
        found[one.subject.case.key].append(
            Measurement(metric=one.metric, at=one.at, samples=tuple(one.samples), blocks=tuple(one.blocks))
        )
    return found


def _a_block(one: _Clocked) -> float:
    one.call()
    return seconds_a_call(one.call, one.calls, one.subject.device)


def first_call(subject: Subject) -> Measurement:
    """The first forward pass of a model that was only just loaded; to be taken before anything else runs it."""
    forward = _forward(subject, 1)
    pulse()
    synchronise(subject.device)
    started = time.perf_counter()
    forward()
    synchronise(subject.device)
    return Measurement(metric="first_call_seconds", at={"batch": 1}, samples=(time.perf_counter() - started,))


def backend_of(subject: Subject) -> str:
    """What runs the recurrence of a whole sequence: `reference` or `fused`."""
    return subject.model.backend_for(subject.test_inputs(1, subject.case.length))


def _forward(subject: Subject, batch: int) -> Callable[[], object]:
    inputs = subject.test_inputs(batch, subject.case.length)
    model = subject.model.eval()

    def forward() -> None:
        with torch.inference_mode():
            model(inputs)

    return forward


def _training_step(subject: Subject, batch: int) -> Callable[[], object]:
    """Forward, backward, clip and Adam, on a copy of the model."""
    case, task, model = subject.case, subject.task, copy.deepcopy(subject.model).train()
    sampled = task.sample(tasks.generator(case.seed, "train"), batch, case.length)
    asked = to_device(sampled, subject.device)
    optimizer = optimizer_of(model, case.protocol)

    def training_step() -> None:
        optimizer.zero_grad(set_to_none=True)
        task.loss(model(asked.inputs), asked).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), case.protocol.clip)
        optimizer.step()

    return training_step
