"""latency: how long a forward pass over a whole sequence takes, and a training step.

The models of a group take turns in random order, block by block, so that a drift of the machine
falls on all of them alike. A sample is the mean of one block; blocks last `block_seconds` or one call.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch.utils.benchmark import Timer

import tasks
from bench._plan import Timing
from bench._train import optimizer_of, to_device
from bench.probes._subject import Subject, pulse
from results import Block, Measurement


@dataclass(slots=True)
class _Clocked:
    """One thing to time, and what was found."""

    key: str
    metric: str
    at: dict[str, int]
    call: Callable[[], object]
    calls: int = 1
    samples: list[float] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)


def measure(subjects: Sequence[Subject], timing: Timing, order: random.Random) -> dict[str, list[Measurement]]:
    """Measurements by case key: forward at batch 1 and B, a training step at batch B."""
    found: dict[str, list[Measurement]] = {subject.case.key: [] for subject in subjects}
    clocked: list[_Clocked] = []
    for subject in order.sample(subjects, len(subjects)):
        key = subject.case.key
        clocked += [
            _Clocked(key, "forward_seconds", {"batch": 1}, _forward(subject, 1)),
            _Clocked(key, "forward_seconds", {"batch": timing.batch}, _forward(subject, timing.batch)),
            _Clocked(key, "train_step_seconds", {"batch": timing.batch}, _training_step(subject, timing.batch)),
        ]
    for one in clocked:
        one.call()
        once = _time(one.call, 1)
        one.calls = max(1, round(timing.block_seconds / once)) if once > 0 else 1
    for _ in range(timing.blocks):
        for one in order.sample(clocked, len(clocked)):
            one.blocks.append(Block(pulse_seconds=pulse()))
            one.samples.append(_time(one.call, one.calls))
    for one in clocked:
        found[one.key].append(
            Measurement(metric=one.metric, at=one.at, samples=tuple(one.samples), blocks=tuple(one.blocks))
        )
    return found


def first_call(subject: Subject) -> Measurement:
    """The first forward pass of a model that was only just loaded; to be taken before anything else runs it."""
    forward = _forward(subject, 1)
    pulse()
    started = time.perf_counter()
    forward()
    return Measurement(metric="first_call_seconds", at={"batch": 1}, samples=(time.perf_counter() - started,))


def _time(call: Callable[[], object], calls: int) -> float:
    """Seconds a call, as the mean of `calls` of them; a device is waited for."""
    timer = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
    return timer.timeit(calls).mean


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
