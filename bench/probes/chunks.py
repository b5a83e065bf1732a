"""Timing of chunks: the time until the answer if several steps arrive at once at a stream that carries a state."""

# Shape suffixes: B streams, T time, D input channels, O outputs

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

import arch
from bench.machine.timer import Clock, synchronise
from bench.probes.timed_stream import WARM_UP_STEPS, TimedStream, without_garbage_collection

TRIAL_CALLS = 3
"""Number of untimed chunks that each form reads, to decide which form is timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A way to read a chunk from a state."""

    read: Callable[[Any, list[arch.State]], tuple[Any, list[arch.State]]]
    """Function of the inputs and the state. It returns the outputs and the next state."""
    by_step: bool = False
    """Whether the inputs are a tuple of tensors (B,) or (B, D), one per step. Otherwise, they are one tensor."""

    def inputs(self, x: Tensor) -> Any:
        """Return the inputs (B, T) or (B, T, D) as `read` needs them."""
        return tuple(step.clone() for step in x.unbind(1)) if self.by_step else x


def forms_of(model: arch.SequenceModel) -> tuple[Form, ...]:
    """Return the ways to read a chunk: the model's `scan` and `stream`, and one call of `step` per step.

    The last one is the fastest for very small chunks. The input of a step arrives as a tensor of its own, and its
    output is used as it is. So a chunk of one step is a called step.
    """

    def steps(x_by_step: tuple[Tensor, ...], state: list[arch.State]) -> tuple[list[Tensor], list[arch.State]]:
        outputs = []
        for x in x_by_step:
            y_BO, state = model.step(x, state)
            outputs.append(y_BO)
        return outputs, state

    return Form(read=model.scan), Form(read=model.stream), Form(read=steps, by_step=True)


def fastest_form(timed: TimedStream, chunk: int) -> Form:
    """Return the form that read a chunk of so many steps fastest in an untimed trial."""
    return min(
        forms_of(timed.subject.model),
        key=lambda form: min(time_chunks(timed, form, chunk, TRIAL_CALLS, time.perf_counter_ns)),
    )


def time_chunks(timed: TimedStream, form: Form, chunk: int, calls: int, clock: Clock) -> list[float]:
    """Time chunks that arrive near the stream's position, and return the seconds of each call.

    Before each timed call, the same form reads a few steps from a copy of the state. An untimed call comes before all
    others, because the first chunk of a size may need memory or code that later ones find ready.

    Args:
        timed: one stream at a position.
        form: reads the chunks.
        chunk: number of steps per chunk.
        calls: number of chunks to time.
        clock: a monotonic clock that returns nanoseconds.
    """
    device = timed.subject.device
    first, x = form.inputs(timed.next_inputs(WARM_UP_STEPS)), form.inputs(timed.next_inputs(chunk, WARM_UP_STEPS))
    samples: list[float] = []
    with without_garbage_collection():
        for _ in range(1 + calls):
            _, state = form.read(first, arch.copy_state(timed.state))
            synchronise(device)
            started = clock()
            form.read(x, state)
            synchronise(device)
            samples.append((clock() - started) / 1e9)
    return samples[1:]
