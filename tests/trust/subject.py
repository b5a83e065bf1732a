"""One fresh process that times a model with repeated work and prints the measurements as JSON.

    python -m tests.trust.subject REPETITIONS

Repeating whole units of work plants an effect of exactly known size: 21 repetitions are 5% more work than 20.
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
from tests.trust.repeating_stream import repeated_steps

TASK, LENGTH = "first_last", 16
TIMING = Timing(positions=(1, 256), steps=100, blocks=6, block_seconds=0.06, batch=8, streams=(), chunks=())
CASE = Case(
    arch="lstm:backend=fused",
    task=TASK,
    length=LENGTH,
    depth=2,
    width=96,
    seed=0,
    protocol=Protocol(steps=1, batch=TIMING.batch),
)
"""Case of the timed LSTM. One of its steps takes more than a hundred clock readings."""


class RepeatingModel(arch.SequenceModel):
    """A model that runs every forward pass `repetitions` times."""

    repetitions = 1

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.repetitions - 1):
            super().forward(x)
        return super().forward(x)


def repeating_subject(repetitions: int) -> Subject:
    """Return the untrained model of `CASE`, changed to run its forward passes `repetitions` times."""
    task = tasks.build(CASE.task)
    model = build_model(CASE, task)
    model.__class__ = RepeatingModel
    model.repetitions = repetitions  # type: ignore[assignment]
    return Subject(case=CASE, task=task, model=model)


def measure(repetitions: int, timing: Timing = TIMING) -> list[Measurement]:
    """Time forward passes, steps in compiled code and the clock, and return the measurements.

    The probes are `latency` and `streaming`, as in a run. The model runs its work `repetitions` times.
    """
    subject, order = repeating_subject(repetitions), random.Random(0)
    key = subject.case.key
    with repeated_steps(repetitions):
        measurements = latency.measure([subject], timing, order)[key] + streaming.measure([subject], timing, order)[key]
    return [m for m in measurements if m.metric in ("forward_seconds", "step_seconds", "loop_clock_seconds")]


def main(arguments: list[str]) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    print(json.dumps([measurement.model_dump(mode="json") for measurement in measure(int(arguments[0]))]))


if __name__ == "__main__":
    main(sys.argv[1:])
