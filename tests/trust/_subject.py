"""One fresh process: time a model that does its work so many times over, and print the measurements as JSON.

    python -m tests.trust._subject TIMES

Whole numbers of repeated work plant an effect that is known exactly: 21 times is 5% more than 20 times.
"""

from __future__ import annotations

import json
import random
import sys

import torch
from torch import Tensor

import arch
import tasks
from bench.plans.plan import Timing
from bench.probes import latency, streaming
from bench.probes.subject import Subject
from bench.training.model import build_model
from results import Case, Measurement, Protocol

TASK, LENGTH = "first_last", 16
TIMING = Timing(positions=(1, 256), steps=100, blocks=6, block_seconds=0.06, batch=8, streams=())
CASE = Case(
    arch="lstm:backend=reference",
    task=TASK,
    length=LENGTH,
    depth=2,
    width=32,
    seed=0,
    protocol=Protocol(steps=1, batch=TIMING.batch),
)
"""An LSTM, its equations step by step, so that no kernel has to be compiled."""


class Repeated(arch.SequenceModel):
    """Does every step and every forward pass `times` times, each from the state that was given."""

    times = 1

    def step(self, x: Tensor, state: list[arch.State]) -> tuple[Tensor, list[arch.State]]:
        for _ in range(self.times - 1):
            super().step(x, arch.copy_state(state))
        return super().step(x, arch.copy_state(state))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times - 1):
            super().forward(x)
        return super().forward(x)


def subject(times: int) -> Subject:
    """The model of the case, doing its work so many times over."""
    task = tasks.build(CASE.task)
    model = build_model(CASE, task)
    model.__class__ = Repeated
    model.times = times  # type: ignore[assignment]
    return Subject(case=CASE, task=task, model=model)


def measured(times: int, timing: Timing = TIMING) -> list[Measurement]:
    """Forward passes and streamed steps, timed as any case is."""
    one, order = subject(times), random.Random(0)
    found = latency.measure([one], timing, order)[one.case.key] + streaming.measure([one], timing, order)[one.case.key]
    return [m for m in found if m.metric in ("forward_seconds", "step_seconds", "clock_seconds")]


def main(words: list[str]) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    print(json.dumps([measurement.model_dump(mode="json") for measurement in measured(int(words[0]))]))


if __name__ == "__main__":
    main(sys.argv[1:])
