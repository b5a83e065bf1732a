"""streaming: what one more step costs, after so many steps have been read.

One stream, one step at a time, a clock reading around each step. A position is reached by `scan`,
and a copy of the state reached there is taken up again and again in short bursts, so that all
samples belong to that position. The first step of each burst is not timed: it warms the copy, and a
cache that is just full grows in it.
"""

from __future__ import annotations

import gc
import itertools
import random
import statistics
import time
from collections.abc import Sequence

import torch

import arch
from bench._plan import Timing
from bench.probes._subject import Clock, Subject, pulse
from results import Block, Measurement

PREFIX_CHUNK = 1024
LONGEST_BURST = 64
CLOCK_READINGS = 1001


def measure(
    subjects: Sequence[Subject], timing: Timing, order: random.Random, clock: Clock = time.perf_counter_ns
) -> dict[str, list[Measurement]]:
    """Measurements by case key: seconds of single steps and bytes of state at each position, the clock's own cost."""
    overhead = Measurement(metric="clock_seconds", samples=(clock_overhead(clock),))
    found: dict[str, list[Measurement]] = {subject.case.key: [overhead] for subject in subjects}
    for position in timing.positions:
        for subject in order.sample(subjects, len(subjects)):
            longest = subject.model.max_length
            if longest is not None and position + _burst(position) + 1 > longest:
                continue
            at = {"position": position}
            with torch.inference_mode():
                state = _state_at(subject, position)
                beat = pulse()
                samples = _time_steps(subject, state, position, timing.steps, clock)
            found[subject.case.key] += [
                Measurement(metric="step_seconds", at=at, samples=samples, blocks=(Block(pulse_seconds=beat),)),
                Measurement(metric="state_bytes", at=at, samples=(float(arch.state_bytes(state)),)),
            ]
    return found


def clock_overhead(clock: Clock) -> float:
    """Median seconds between two readings of the clock with nothing between them."""
    readings = [clock() for _ in range(CLOCK_READINGS)]
    return statistics.median(after - before for before, after in itertools.pairwise(readings)) / 1e9


def _state_at(subject: Subject, position: int) -> arch.State:
    """The state of one stream after `position` steps, all but the last of them by `scan`."""
    model, state = subject.model.eval(), subject.model.init_state(1)
    inputs = subject.test_inputs(1, subject.case.length)
    repeats = -(-position // inputs.shape[1])
    stream = inputs.repeat(1, repeats, *[1] * (inputs.dim() - 2))[:, :position]
    for chunk in stream[:, :-1].split(PREFIX_CHUNK, dim=1):
        if chunk.shape[1]:
            _, state = model.scan(chunk, state)
    _, state = model.step(stream[:, -1], state)
    return state


def _time_steps(subject: Subject, state: arch.State, position: int, steps: int, clock: Clock) -> tuple[float, ...]:
    """Seconds of `steps` single steps, each taken near `position`."""
    model, inputs = subject.model, subject.test_inputs(1, subject.case.length).unbind(1)
    samples: list[float] = []
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        while len(samples) < steps:
            _, running = model.step(inputs[0], arch.copy_state(state))
            for i in range(min(_burst(position), steps - len(samples))):
                x = inputs[(i + 1) % len(inputs)]
                started = clock()
                _, running = model.step(x, running)
                _synchronise(subject.device)
                samples.append((clock() - started) / 1e9)
    finally:
        if was_enabled:
            gc.enable()
    return tuple(samples)


def _burst(position: int) -> int:
    """Timed steps in a row from one copy: few enough to stay near the position."""
    return max(1, min(LONGEST_BURST, position // 8))


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
