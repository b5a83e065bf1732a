"""Timing of steps that are called from Python one at a time, with a clock reading before and after each call.

For a small model, most of this time is spent on the call and not on the step.
"""

from __future__ import annotations

from bench.machine.timer import Clock, synchronise
from bench.probes.timed_stream import WARM_UP_STEPS, TimedStream, without_garbage_collection


def time_calls(timed: TimedStream, steps: int, clock: Clock) -> list[float]:
    """Time `steps` single calls near the stream's position, and return the seconds of each call.

    Each burst of calls starts from a copy of the state, and its first calls are not timed.
    """
    stream, inputs, device = timed.stream, timed.inputs.unbind(1), timed.subject.device
    samples: list[float] = []
    with without_garbage_collection():
        while len(samples) < steps:
            stream.restore(timed.state)
            for i in range(WARM_UP_STEPS):
                stream.step(inputs[i % len(inputs)])
            synchronise(device)
            for i in range(min(timed.burst_steps, steps - len(samples))):
                x = inputs[(WARM_UP_STEPS + i) % len(inputs)]
                started = clock()
                stream.step(x)
                synchronise(device)
                samples.append((clock() - started) / 1e9)
    return samples


def run_untimed_burst(timed: TimedStream) -> None:
    """Run one untimed burst, so that the peak memory of the stream includes the memory of its steps."""
    inputs = timed.inputs.unbind(1)
    timed.stream.restore(timed.state)
    for i in range(WARM_UP_STEPS + timed.burst_steps):
        timed.stream.step(inputs[i % len(inputs)])
