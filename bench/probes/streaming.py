"""streaming: the cost of one more step at given positions of a stream.

Steps run one at a time, with a clock reading before and after each step. `scan` advances the state to a position. Short
bursts of steps then start from a copy of that state, so that all samples belong to that position. The first steps of
every burst are not timed. They warm up the code and the copied state. A full cache also grows in these steps.

At each position, the models of a group are timed in blocks, in a new random order each round. Drift of the machine
therefore affects all models equally. A single stream is timed at every position of the plan that the model can read.
At the plan's `streams_position`, batches of streams are timed too. If this is also a position of the single stream,
the samples of the single stream serve for a batch of one.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

import arch
from bench.machine.memory import watch_memory
from bench.machine.noise import Machine
from bench.machine.timer import Clock, clock_overhead, synchronise
from bench.plans.plan import STREAMED_SHARE, Timing
from bench.probes.stream import GraphStream, Stream, stream_of
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


@dataclass(slots=True)
class _TimedStream:
    """A batch of streams of one model at one position, and its samples so far."""

    subject: Subject
    stream: Stream
    state: arch.State = field(repr=False)
    """The state at the position, from which every burst starts."""
    inputs: Sequence[Tensor] = field(repr=False)
    """Inputs of the steps, each (B,) or (B, D) for B streams."""
    position: int
    """Number of steps before each burst."""
    samples: list[float] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)

    @property
    def burst_steps(self) -> int:
        """Number of timed steps per burst."""
        return _burst_steps(self.position)

    def step(self, index: int) -> None:
        """Run one step on input number `index`. After the last input, the inputs start again from the first input."""
        self.stream.step(self.inputs[index % len(self.inputs)])


def measure(
    subjects: Sequence[Subject],
    timing: Timing,
    order: random.Random,
    clock: Clock = time.perf_counter_ns,
    machine: Machine | None = None,
) -> dict[str, list[Measurement]]:
    """Measure step times, state sizes, peak memory and the duration of a clock reading.

    Args:
        subjects: a group of trained models on one device.
        timing: the positions, the numbers of streams, and the numbers of steps and blocks to time.
        order: generator of the random order of the models in each round.
        clock: a monotonic clock that returns nanoseconds.
        machine: observes the blocks; None for a `Machine` on the device of the models.

    Returns:
        Measurements by case key.
    """
    machine = machine or Machine(device=subjects[0].device.type)
    overhead = Measurement(metric="clock_seconds", samples=(clock_overhead(clock),))
    measurements: dict[str, list[Measurement]] = {subject.case.key: [overhead] for subject in subjects}
    with torch.inference_mode():
        for position in timing.positions:
            timed_streams = []
            for subject in _shuffled(subjects, order):
                if not _can_read(subject, position):
                    continue
                if position < max(other for other in timing.positions if _can_read(subject, other)):
                    timed_streams.append(_open_stream(subject, position, 1))
                    continue
                with watch_memory(subject.device) as memory:
                    timed_streams.append(_open_stream(subject, position, 1))
                    run_untimed_burst(timed_streams[-1])
                measurements[subject.case.key] += memory.measurements("streaming")
            _time_interleaved(timed_streams, timing.steps, timing.blocks, order, clock, machine)
            for timed in timed_streams:
                state_bytes = float(arch.state_bytes(timed.state))
                measurements[timed.subject.case.key] += [
                    _measurement("step_seconds", timed, {"position": position}),
                    Measurement(metric="state_bytes", at={"position": position}, samples=(state_bytes,)),
                ]
                if position == timing.streams_position and timing.times_one_stream:
                    at = {"position": position, "streams": 1}
                    measurements[timed.subject.case.key].append(_measurement("stream_step_seconds", timed, at))
        position = timing.streams_position
        timed_streams = [
            _open_stream(subject, position, count)
            for subject in _shuffled(subjects, order)
            if _can_read(subject, position)
            for count in timing.streams
            if count > 1 or not timing.times_one_stream
        ]
        _time_interleaved(timed_streams, -(-timing.steps // STREAMED_SHARE), timing.blocks, order, clock, machine)
        for timed in timed_streams:
            at = {"position": position, "streams": len(timed.inputs[0])}
            measurements[timed.subject.case.key].append(_measurement("stream_step_seconds", timed, at))
    return measurements


def measure_first_call(subject: Subject) -> list[Measurement]:
    """Return an empty list, because only `latency` measures the first call of a model."""
    return []


def backend_of(subject: Subject) -> str:
    """Return the backend that steps one stream: `graph` for a replayed CUDA graph, else `fused` or `reference`."""
    with torch.inference_mode():
        opened = _open_stream(subject, 1, 1)
        if isinstance(opened.stream, GraphStream):
            return "graph"
        return subject.model.step_backend_for(opened.inputs[0], opened.state)


def _measurement(metric: str, timed: _TimedStream, at: dict[str, int]) -> Measurement:
    return Measurement(metric=metric, at=at, samples=tuple(timed.samples), blocks=tuple(timed.blocks))


def _shuffled(subjects: Sequence[Subject], order: random.Random) -> list[Subject]:
    return order.sample(subjects, len(subjects))


def _can_read(subject: Subject, position: int) -> bool:
    """Return whether a model can read `position` steps and one burst after them."""
    max_length = subject.model.max_length
    return max_length is None or position + WARM_UP_STEPS + _burst_steps(position) <= max_length


def _open_stream(subject: Subject, position: int, streams: int) -> _TimedStream:
    """Return a batch of `streams` streams that has advanced to `position` and is ready to be timed."""
    state = state_at(subject, position, streams)
    inputs = subject.test_inputs(streams, subject.case.length).unbind(1)
    return _TimedStream(subject, stream_of(subject.model, inputs[0], state), state, inputs, position)


def run_untimed_burst(timed: _TimedStream) -> None:
    """Run one untimed burst, so that the peak memory of the stream includes the memory of its steps."""
    timed.stream.restore(timed.state)
    for i in range(WARM_UP_STEPS + timed.burst_steps):
        timed.step(i)


def state_at(subject: Subject, position: int, streams: int = 1) -> arch.State:
    """Return the state of a batch of streams after `position` steps. `scan` runs all steps but the last one.

    The model is left in evaluation mode.
    """
    model, state = subject.model.eval(), subject.model.init_state(streams)
    inputs = subject.test_inputs(streams, subject.case.length)
    T, is_recurrent = inputs.shape[1], all(isinstance(layer, arch.RecurrentLayer) for layer in model.layers)
    uses_fused_attention = not is_recurrent and model.backend_for(inputs) == "fused"
    chunk = max(PREFIX_CHUNK, FUSED_PREFIX_STEPS // streams) if uses_fused_attention else PREFIX_CHUNK
    for start in range(0, position - 1, chunk):
        steps = torch.arange(start, min(start + chunk, position - 1), device=inputs.device) % T
        _, state = model.scan(inputs[:, steps], state)
    _, state = model.step(inputs[:, (position - 1) % T], state)
    return state


def _time_interleaved(
    timed_streams: Sequence[_TimedStream], steps: int, blocks: int, order: random.Random, clock: Clock, machine: Machine
) -> None:
    """Time at least `steps` steps of each stream, in `blocks` blocks of equal size.

    Args:
        timed_streams: the streams to time; their samples and blocks are extended.
        steps: smallest number of timed steps per stream.
        blocks: number of blocks per stream.
        order: generator of the random order of the streams in each round.
        clock: a monotonic clock that returns nanoseconds.
        machine: observes the blocks.
    """
    steps_per_block = -(-steps // blocks)
    for _ in range(blocks):
        for timed in order.sample(timed_streams, len(timed_streams)):
            samples, block = machine.observe(partial(time_steps, timed, steps_per_block, clock))
            timed.samples += samples
            timed.blocks.append(block)


def time_steps(timed: _TimedStream, steps: int, clock: Clock) -> list[float]:
    """Time `steps` single steps near the stream's position, and return the seconds of each step."""
    stream, inputs, device = timed.stream, timed.inputs, timed.subject.device
    samples: list[float] = []
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        while len(samples) < steps:
            stream.restore(timed.state)
            for i in range(WARM_UP_STEPS):
                timed.step(i)
            synchronise(device)
            for i in range(min(timed.burst_steps, steps - len(samples))):
                x = inputs[(WARM_UP_STEPS + i) % len(inputs)]
                started = clock()
                stream.step(x)
                synchronise(device)
                samples.append((clock() - started) / 1e9)
    finally:
        if was_enabled:
            gc.enable()
    return samples


def _burst_steps(position: int) -> int:
    """Return the number of steps to time from one copy of the state: few enough to stay near the position."""
    return max(MIN_BURST, min(MAX_BURST, position // 8))
