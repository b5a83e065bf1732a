"""Streams that stand at a position, ready to be timed, and the rounds in which they are timed alternately."""

# Shape suffixes: B streams, T time

from __future__ import annotations

import contextlib
import gc
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

import arch
from bench.machine.noise import Machine
from bench.probes.stream import Stream, stream_of
from bench.probes.subject import Subject
from results import Block, Measurement

PREFIX_CHUNK = 1024
"""Largest number of steps that one `scan` reads on the way to a position, except with fused attention. The limit bounds
the memory of `scan`."""
FUSED_PREFIX_STEPS = 1 << 15
"""Limit for the steps that one `scan` of fused attention reads, summed over all streams. The limit per stream is at
least `PREFIX_CHUNK`. The memory of fused attention does not grow with the square of the chunk. Every chunk reads all
earlier steps again, so few long chunks are faster than many short ones."""
WARM_UP_STEPS = 4
"""Untimed steps at the start of a burst. After a copy of the state, the second step takes 15 to 40% longer than usual,
the third 5% and the fifth 1%. Bursts at early positions are shorter. If the slow steps were timed, a constant cost
would seem to fall with the position."""
MIN_BURST, MAX_BURST = 4, 64
"""Smallest and largest number of timed steps per burst."""


@dataclass(frozen=True, slots=True)
class TimedStream:
    """A batch of streams of one model at one position."""

    subject: Subject
    stream: Stream
    """Runs steps that are called from Python."""
    state: list[arch.State] = field(repr=False)
    """The state at the position, from which every burst starts."""
    inputs: Tensor = field(repr=False)
    """Inputs of successive steps, (B, T) or (B, T, D) for B streams. After the last input, they start again."""
    position: int
    """Number of steps before each burst."""
    is_compiled: bool
    """Whether many steps can run in one call of compiled code."""

    @property
    def streams(self) -> int:
        """Number of streams."""
        return len(self.inputs)

    @property
    def burst_steps(self) -> int:
        """Number of timed steps per burst."""
        return burst_steps(self.position)

    def next_inputs(self, steps: int, start: int = 0) -> Tensor:
        """Return the inputs of `steps` steps after the position, from step number `start` on, (B, steps, ...)."""
        return self.inputs[:, torch.arange(start, start + steps, device=self.inputs.device) % self.inputs.shape[1]]


@dataclass(slots=True)
class Series:
    """The samples of one metric at one location, which are taken in blocks."""

    metric: str
    at: dict[str, int]
    count: int
    """Number of samples to take, in all blocks together."""
    time: Callable[[int], list[float]]
    """Function that takes so many samples, of steps or of calls, and returns them in seconds."""
    samples: list[float] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)

    def measurement(self, metric: str | None = None, at: dict[str, int] | None = None) -> Measurement:
        """Return the samples as a measurement, which may be given another metric and location."""
        return Measurement(
            metric=metric or self.metric, at=at or self.at, samples=tuple(self.samples), blocks=tuple(self.blocks)
        )


def time_alternately(series: Sequence[Series], blocks: int, order: random.Random, machine: Machine) -> None:
    """Time all series in blocks, in a new random order each round, and extend their samples and blocks.

    Args:
        series: the series, each with the number of samples to take. It is rounded up to a multiple of `blocks`.
        blocks: number of blocks per series.
        order: generator of the random order of the series in each round.
        machine: observes the blocks.
    """
    for _ in range(blocks):
        for one in order.sample(series, len(series)):
            samples, block = machine.observe(partial(one.time, -(-one.count // blocks)))
            one.samples += samples
            one.blocks.append(block)


def open_stream(subject: Subject, position: int, streams: int) -> TimedStream:
    """Return a batch of `streams` streams that has advanced to `position` and is ready to be timed."""
    state = state_at(subject, position, streams)
    inputs = subject.test_inputs(streams, subject.case.length)
    return TimedStream(
        subject=subject,
        stream=stream_of(subject.model, inputs[:, 0], state),
        state=state,
        inputs=inputs,
        position=position,
        is_compiled=subject.model.step_backend_for(inputs[:, 0], state) == "fused",
    )


def state_at(subject: Subject, position: int, streams: int = 1) -> list[arch.State]:
    """Return the state of a batch of streams after `position` steps. `scan` runs all steps but the last one.

    The model is left in evaluation mode.
    """
    model, state = subject.model.eval(), subject.model.init_state(streams)
    inputs = subject.test_inputs(streams, subject.case.length)
    T, is_recurrent = (
        inputs.shape[1],
        arch.have_constant_cost(model.layers),
    )
    uses_fused_attention = not is_recurrent and model.backend_for(inputs) == "fused"
    chunk = max(PREFIX_CHUNK, FUSED_PREFIX_STEPS // streams) if uses_fused_attention else PREFIX_CHUNK
    for start in range(0, position - 1, chunk):
        steps = torch.arange(start, min(start + chunk, position - 1), device=inputs.device) % T
        _, state = model.scan(inputs[:, steps], state)
    _, state = model.step(inputs[:, (position - 1) % T], state)
    return state


def burst_steps(position: int) -> int:
    """Return the number of steps to time from one copy of the state: few enough to stay near the position."""
    return max(MIN_BURST, min(MAX_BURST, position // 8))


def can_read(subject: Subject, position: int, steps: int | None = None) -> bool:
    """Return whether a model can read `position` steps, the untimed ones, and `steps` after them; None for a burst."""
    max_length = subject.model.max_length
    timed = burst_steps(position) if steps is None else steps
    return max_length is None or position + WARM_UP_STEPS + timed <= max_length


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Keep Python's garbage collector from running between timed steps."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
