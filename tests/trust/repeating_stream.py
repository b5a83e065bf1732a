"""A compiled stream that repeats the work of every step, to plant an effect of exactly known size."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from numba import int64

from arch.kernels.runtime.jit import kernel
from arch.kernels.runtime.native import nanoseconds
from arch.kernels.simd.matvec import integers
from arch.kernels.streaming import model_step
from arch.kernels.streaming.model_step import HEADER, advance, pack_layers
from arch.kernels.streaming.record import RECORD


@kernel(int64(*[int64] * 10))
def repeating_stream(  # type: ignore[no-untyped-def]
    program_at, x_at, x_bytes, output_at, output_bytes, steps, clock, times_at, every, repetitions
):
    """Run `model_step.stream`, but run every step `repetitions` times on the same input before its clock reading.

    Each repetition continues from the state of the previous one. Its duration is therefore that of a usual step, if the
    state of the model has a fixed size.
    """
    program = integers(program_at, HEADER + integers(program_at, 1)[0] * RECORD)
    times, is_packed = integers(times_at, steps // every + 1), pack_layers(program)
    reading, left = 0, every
    if clock != 0:
        times[0] = nanoseconds(clock)
    for index in range(steps):
        for _ in range(repetitions):
            if advance(program, x_at + index * x_bytes, output_at + index * output_bytes, is_packed) != 0:
                return index
        left -= 1
        if clock != 0 and left == 0:
            reading, left = reading + 1, every
            times[reading] = nanoseconds(clock)
    return steps


@contextlib.contextmanager
def repeated_steps(repetitions: int) -> Iterator[None]:
    """Make the streams of models run every step `repetitions` times, if their first step runs in the `with` block."""
    original = model_step.run_stream

    def stream(*arguments: Any) -> Any:
        return repeating_stream(*arguments, repetitions)

    model_step.run_stream = stream
    try:
        yield
    finally:
        model_step.run_stream = original
