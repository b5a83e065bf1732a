"""streaming: what one more step costs, after so many steps have been read.

One step at a time, a clock reading around each step. A position is reached by `scan`, and a copy of the state reached
there is taken up again and again in short bursts, so that all samples belong to that position. The first steps of each
burst are not timed: they warm the copy and the code, and a cache that is just full grows in them.

At each position the models of a group take turns in random order, block by block, so that a drift of the machine
falls on all of them alike. One stream is timed at every position; at the plan's one place for it, several streams
that are stepped together as a batch are timed as well. One stream is such a batch too: where its place is one of the
positions, what was timed there stands for it.
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
from bench.probes.stream import Replayed, Stream, stream_of
from bench.probes.subject import Subject
from results import Block, Measurement

PREFIX_CHUNK, KERNEL_STEPS = 1024, 1 << 15
"""Steps of a prefix that are scanned at once, so that it takes little memory. A part of a sequence that is attended to
reads all before it, so a kernel that holds no table of pairs reads the whole: so many steps of all streams together."""
WARMING_STEPS = 4
"""After a state was copied the second step still costs 15 to 40% more than usual, the third 5%, the fifth 1%. Short
bursts hold more of such steps than long ones: were they timed, a flat cost would seem to fall with the position."""
MIN_BURST, MAX_BURST = 4, 64


@dataclass(slots=True)
class _Place:
    """One model at one position, and what was found there."""

    subject: Subject
    stream: Stream
    state: arch.State = field(repr=False)
    inputs: Sequence[Tensor] = field(repr=False)
    position: int
    samples: list[float] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)


def measure(
    subjects: Sequence[Subject],
    timing: Timing,
    order: random.Random,
    clock: Clock = time.perf_counter_ns,
    machine: Machine | None = None,
) -> dict[str, list[Measurement]]:
    """Measurements by case key: seconds of steps, bytes of state, the peak of memory, the clock's own cost."""
    machine = machine or Machine(device=subjects[0].device.type)
    overhead = Measurement(metric="clock_seconds", samples=(clock_overhead(clock),))
    found: dict[str, list[Measurement]] = {subject.case.key: [overhead] for subject in subjects}
    with torch.inference_mode():
        for position in timing.positions:
            places = []
            for one in _in_turn(subjects, order):
                if not _can_read(one, position):
                    continue
                if position < max(other for other in timing.positions if _can_read(one, other)):
                    places.append(_reach(one, position, 1))
                    continue
                with watch_memory(one.device) as memory:
                    places.append(_reach(one, position, 1))
                    _walk(places[-1])
                found[one.case.key] += memory.measurements("streaming")
            _time_in_turns(places, timing.steps, timing.blocks, order, clock, machine)
            for place in places:
                state = float(arch.state_bytes(place.state))
                found[place.subject.case.key] += [
                    _seconds("step_seconds", place, {"position": position}),
                    Measurement(metric="state_bytes", at={"position": position}, samples=(state,)),
                ]
                if position == timing.streams_position and timing.times_one_stream:
                    at = {"position": position, "streams": 1}
                    found[place.subject.case.key].append(_seconds("stream_step_seconds", place, at))
        position = timing.streams_position
        places = [
            _reach(one, position, streams)
            for one in _in_turn(subjects, order)
            if _can_read(one, position)
            for streams in timing.streams
            if streams > 1 or not timing.times_one_stream
        ]
        _time_in_turns(places, -(-timing.steps // STREAMED_SHARE), timing.blocks, order, clock, machine)
        for place in places:
            at = {"position": position, "streams": len(place.inputs[0])}
            found[place.subject.case.key].append(_seconds("stream_step_seconds", place, at))
    return found


def backend_of(subject: Subject) -> str:
    """What runs a step of one stream: `graph` where a recorded one is replayed, else `fused` or `reference`."""
    with torch.inference_mode():
        place = _reach(subject, 1, 1)
        if isinstance(place.stream, Replayed):
            return "graph"
        return subject.model.step_backend_for(place.inputs[0], place.state)


def _seconds(metric: str, place: _Place, at: dict[str, int]) -> Measurement:
    return Measurement(metric=metric, at=at, samples=tuple(place.samples), blocks=tuple(place.blocks))


def _in_turn(subjects: Sequence[Subject], order: random.Random) -> list[Subject]:
    return order.sample(subjects, len(subjects))


def _can_read(subject: Subject, position: int) -> bool:
    longest = subject.model.max_length
    return longest is None or position + WARMING_STEPS + _burst(position) <= longest


def _reach(subject: Subject, position: int, streams: int) -> _Place:
    state = _state_at(subject, position, streams)
    inputs = subject.test_inputs(streams, subject.case.length).unbind(1)
    return _Place(subject, stream_of(subject.model, inputs[0], state), state, inputs, position)


def _walk(place: _Place) -> None:
    """One burst that is not timed: what its steps hold is part of the stream's memory."""
    place.stream.take_up(place.state)
    for i in range(WARMING_STEPS + _burst(place.position)):
        place.stream.step(place.inputs[i % len(place.inputs)])


def _state_at(subject: Subject, position: int, streams: int = 1) -> arch.State:
    """The state of streams after `position` steps, all but the last of them by `scan`."""
    model, state = subject.model.eval(), subject.model.init_state(streams)
    inputs = subject.test_inputs(streams, subject.case.length)
    T, recurs = inputs.shape[1], all(isinstance(layer, arch.RecurrentLayer) for layer in model.layers)
    whole = not recurs and model.backend_for(inputs) == "fused"
    chunk = max(PREFIX_CHUNK, KERNEL_STEPS // streams) if whole else PREFIX_CHUNK
    for start in range(0, position - 1, chunk):
        steps = torch.arange(start, min(start + chunk, position - 1), device=inputs.device) % T
        _, state = model.scan(inputs[:, steps], state)
    _, state = model.step(inputs[:, (position - 1) % T], state)
    return state


def _time_in_turns(
    places: Sequence[_Place], steps: int, blocks: int, order: random.Random, clock: Clock, machine: Machine
) -> None:
    """At least `steps` steps of each place, in as many blocks as are asked for, all of one size."""
    a_block = -(-steps // blocks)
    for _ in range(blocks):
        for place in order.sample(places, len(places)):
            samples, block = machine.around(partial(_time_steps, place, a_block, clock))
            place.samples += samples
            place.blocks.append(block)


def _time_steps(place: _Place, steps: int, clock: Clock) -> list[float]:
    """Seconds of `steps` single steps, each taken near the place's position."""
    stream, inputs, device = place.stream, place.inputs, place.subject.device
    samples: list[float] = []
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        while len(samples) < steps:
            stream.take_up(place.state)
            for i in range(WARMING_STEPS):
                stream.step(inputs[i % len(inputs)])
            synchronise(device)
            for i in range(min(_burst(place.position), steps - len(samples))):
                x = inputs[(WARMING_STEPS + i) % len(inputs)]
                started = clock()
                stream.step(x)
                synchronise(device)
                samples.append((clock() - started) / 1e9)
    finally:
        if was_enabled:
            gc.enable()
    return samples


def _burst(position: int) -> int:
    """Timed steps in a row from one copy: few enough to stay near the position."""
    return max(MIN_BURST, min(MAX_BURST, position // 8))
