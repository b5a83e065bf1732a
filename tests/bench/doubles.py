"""Test doubles: clocks, machines, models and tasks with known results."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

import arch
from bench.machine.noise import Machine, Reading
from results import Block
from tasks import Batch, Reals, Split, Task


class CountingClock:
    """A clock that advances by `tick` each time it is read."""

    def __init__(self, tick: int = 1) -> None:
        self.now, self.tick = 0, tick

    def __call__(self) -> int:
        self.now += self.tick
        return self.now


class SettableClock:
    """A clock whose time `now` is set by the test."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


LOADED_BLOCK = Block(
    calibration_seconds=0.003,
    load=0.25,
    steal_share=0.0625,
    waiting_share=0.5,
    switches=3,
    wall_seconds=1.0,
    cpu_seconds=0.75,
    instructions=2_000_000,
)
"""The block that a `loaded_machine` records."""


def loaded_machine() -> Machine:
    """Return a machine with two cores. One second passes between successive readings.

    In each second, this thread uses half a core and another thread of this process a quarter of a core. Other processes
    use half a core, and the hypervisor takes an eighth. Three context switches occur, and this thread retires two
    million instructions.
    """
    seconds = itertools.count()

    def read() -> Reading:
        now = next(seconds)
        return Reading(
            wall=now,
            thread=now / 2,
            own=now * 0.75,
            busy=now * 1.25,
            stolen=now / 8,
            switches=3 * now,
            instructions=2_000_000 * now,
        )

    return Machine(read=read, calibration=lambda: 0.003, cores=2)


class Scripted(nn.Module):
    """A model whose output at every step is its single weight. A squared loss is then easy to compute by hand."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight]))
        self.max_length: int | None = None
        self.width = 1

    def backend_for(self, x_BTD: Tensor) -> str:
        return "scripted"

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.weight.expand(*x_BTD.shape[:2], 1)


@dataclass(frozen=True, kw_only=True)
class Scores(Task):
    """A task whose loss is `scale` times the mean squared output, and whose scores come from `scores`."""

    source = "made for a test"
    scale: float = 1.0
    poison_after: int = 1 << 30
    """Number of training batches after which the loss is NaN."""
    scores: tuple[float, ...] = ()
    """Scores that successive calls of `score` return. Further calls return 0."""
    batch_sizes: list[int] = field(default_factory=list)
    """The sizes of all training batches so far."""
    scored: Iterator[float] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scored", iter(self.scores))

    @property
    def inputs(self) -> Reals:
        return Reals(1)

    @property
    def targets(self) -> Reals:
        return Reals(1)

    @property
    def min_length(self) -> int:
        return 1

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        inputs = torch.randn(batch, length, 1, generator=generator)
        return Batch(inputs=inputs, targets=inputs, mask=torch.ones(batch, length, dtype=torch.bool))

    def chance(self, length: int) -> float:
        return 0.5

    def collision(self, length: int) -> float:
        return 0.0

    def solve(self, batch: Batch) -> Tensor:
        return batch.inputs

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        if outputs.requires_grad:
            self.batch_sizes.append(len(batch.inputs))
        loss = self.scale * outputs.square().mean()
        return loss * float("nan") if len(self.batch_sizes) > self.poison_after else loss

    def score(self, answers: Tensor, batch: Batch) -> float:
        return next(self.scored, 0.0)


class Drifting(arch.SequenceModel):
    """A model whose `step` differs from its `scan` by `error`."""

    error = 0.1

    def step(self, x: Tensor, state: list[arch.State]) -> tuple[Tensor, list[arch.State]]:
        y_BO, state = super().step(x, state)
        return y_BO + self.error, state
