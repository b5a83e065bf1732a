"""Timing of chunks: the time until the answer if several steps arrive at once at a stream that carries a state."""

# Shape suffixes: B streams, T time, D input channels, O outputs

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

import arch
from bench.machine.timer import Clock, synchronise
from bench.probes.timed_stream import WARM_UP_STEPS, TimedStream, without_garbage_collection

TRIAL_CALLS = 3
"""Number of untimed chunks that each form reads, to decide which form is timed."""

Form = Callable[[Tensor, list[arch.State]], tuple[Tensor, list[arch.State]]]
"""A way to read a chunk (B, T) or (B, T, D) from a state. It returns the outputs (B, T, O) and the next state."""


def fastest_form(timed: TimedStream, chunk: int) -> Form:
    """Return the form that read a chunk of so many steps fastest in an untimed trial.

    The forms are the model's `scan` and `stream`, and one call of `step` per step. The last one is the fastest for very
    small chunks.
    """
    model = timed.subject.model

    def steps(x: Tensor, state: list[arch.State]) -> tuple[Tensor, list[arch.State]]:
        outputs = []
        for x_B in torch.stack(x.unbind(1)):  # with the same strides at every step, so that the step is fast
            y_BO, state = model.step(x_B, state)
            outputs.append(y_BO)
        return torch.stack(outputs, 1), state

    forms: tuple[Form, ...] = (model.scan, model.stream, steps)
    return min(forms, key=lambda form: min(time_chunks(timed, form, chunk, TRIAL_CALLS, time.perf_counter_ns)))


def time_chunks(timed: TimedStream, form: Form, chunk: int, calls: int, clock: Clock) -> list[float]:
    """Time chunks that arrive near the stream's position, and return the seconds of each call.

    Before each timed call, the same form reads a few steps from a copy of the state.

    Args:
        timed: one stream at a position.
        form: reads the chunks.
        chunk: number of steps per chunk.
        calls: number of chunks to time.
        clock: a monotonic clock that returns nanoseconds.
    """
    device = timed.subject.device
    first, x = timed.next_inputs(WARM_UP_STEPS), timed.next_inputs(chunk, WARM_UP_STEPS)
    samples: list[float] = []
    with without_garbage_collection():
        for _ in range(calls):
            _, state = form(first, arch.copy_state(timed.state))
            synchronise(device)
            started = clock()
            form(x, state)
            synchronise(device)
            samples.append((clock() - started) / 1e9)
    return samples
