"""streaming: the cost of one more step at given positions of a stream.

`scan` advances the state to a position. Short bursts of steps then start from a copy of that state, so that all samples
belong to that position. The first steps of every burst are not timed. They warm up the code and the copied state. A
full cache also grows in these steps.

If the architecture has a compiled step, the steps run in a loop of compiled code (`loop_timing`). This is the cost that
a program without Python pays. Calls from Python are timed too (`call_timing`), and they are all that an architecture
without a compiled step has.

At each position, the models of a group are timed in blocks, in a new random order each round. Drift of the machine
therefore affects all models equally. A single stream is timed at every position of the plan that the model can read.
At the plan's `streams_position`, batches of streams are timed too. If this is also a position of the single stream,
the samples of the single stream serve for a batch of one. Chunks of steps (`chunks`) and deadlines (`deadline`) start
at the same position.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch

import arch
import arch.kernels
from bench.machine.memory import watch_memory
from bench.machine.noise import Machine
from bench.machine.timer import Clock, clock_overhead
from bench.plans.plan import Timing
from bench.probes.call_timing import run_untimed_burst, time_calls
from bench.probes.chunks import fastest_form, time_chunks
from bench.probes.deadline import measure_deadline
from bench.probes.difference_timing import difference_timer
from bench.probes.loop_timing import loop_timer
from bench.probes.stream import GraphStream
from bench.probes.subject import Subject
from bench.probes.timed_stream import Series, TimedStream, can_read, open_stream, time_alternately
from results import Measurement


@dataclass(slots=True)
class _Measured:
    """The models of a group, the settings of their timings, and the measurements so far."""

    subjects: Sequence[Subject]
    timing: Timing
    order: random.Random
    clock: Clock
    machine: Machine
    reading_seconds: float | None
    """Duration of a clock reading in compiled code; None if such code cannot read the clock."""
    by_case: dict[str, list[Measurement]] = field(default_factory=dict)

    def shuffled(self, position: int, steps: int | None = None) -> Iterator[Subject]:
        """Yield the models that can read `steps` steps after a position, in a new random order; None for a burst."""
        for subject in self.order.sample(self.subjects, len(self.subjects)):
            if can_read(subject, position, steps):
                yield subject

    def add(self, timed: TimedStream, *measurements: Measurement) -> None:
        """Add measurements of a stream's model."""
        self.by_case[timed.subject.case.key] += measurements

    def time(self, series: Sequence[tuple[TimedStream, Series]]) -> list[tuple[TimedStream, Series]]:
        """Time all series alternately, and return those of which every block has samples.

        Their measurements are not added.
        """
        time_alternately([one for _, one in series], self.timing.blocks, self.order, self.machine)
        return [(timed, one) for timed, one in series if len(one.samples) >= len(one.blocks)]

    def step_series(self, timed: TimedStream, name: str, at: dict[str, int], steps: int, calls: int) -> list[Series]:
        """Return the series of a stream's steps: in compiled code and called, or only called if nothing is compiled.

        For a compiled step, the number of steps per clock reading is added to the measurements.

        Args:
            timed: the stream.
            name: name of the metric of steps in compiled code. The metric of called steps has the prefix `call_`.
            at: location of the measurement.
            steps: number of samples to take, in compiled code if possible.
            calls: number of calls to time beside steps in compiled code; 0 to time no calls.
        """
        called = partial(time_calls, timed, clock=self.clock)
        if not timed.is_compiled:
            return [Series(f"call_{name}", at, steps, called)]
        timer = (
            difference_timer(timed, self.clock)
            if self.reading_seconds is None
            else loop_timer(timed, self.reading_seconds)
        )
        spanned = timer.steps_per_sample(-(-steps // self.timing.blocks))
        self.add(timed, Measurement(metric="steps_per_reading", at=at, samples=(float(spanned),)))
        in_loop = Series(name, at, steps, timer.time)
        return [in_loop, Series(f"call_{name}", at, calls, called)] if calls else [in_loop]


def measure(
    subjects: Sequence[Subject],
    timing: Timing,
    order: random.Random,
    clock: Clock = time.perf_counter_ns,
    machine: Machine | None = None,
    reading_seconds: Callable[[], float | None] = arch.kernels.loop_clock_seconds,
) -> dict[str, list[Measurement]]:
    """Measure times of steps and chunks, sizes of weights, states and workspaces, peak memory and clock readings.

    Args:
        subjects: a group of trained models on one device.
        timing: the positions, streams, chunks and deadline, and the numbers of steps and blocks to time.
        order: generator of the random order of the models in each round.
        clock: a monotonic clock that returns nanoseconds, for calls from Python.
        machine: observes the blocks; None for a `Machine` on the device of the models.
        reading_seconds: returns the duration of a clock reading in compiled code, or None if that is impossible.

    Returns:
        Measurements by case key.
    """
    measured = _Measured(
        subjects, timing, order, clock, machine or Machine(device=subjects[0].device.type), reading_seconds()
    )
    overhead = Measurement(metric="clock_seconds", samples=(clock_overhead(clock),))
    for subject in subjects:
        weights = Measurement(metric="weight_bytes", samples=(float(subject.model.weight_bytes),))
        measured.by_case[subject.case.key] = [overhead, weights]
    with torch.inference_mode():
        for position in timing.positions:
            _measure_position(measured, position)
        _measure_batches(measured)
        _measure_chunks(measured)
        if timing.deadline_seconds is not None:
            _measure_deadlines(measured, timing.deadline_seconds)
    return measured.by_case


def limitation(subject: Subject, timing: Timing, measurements: Sequence[Measurement]) -> str | None:
    """Return why requested measurements of a model are missing, or None if there is no such reason.

    `measurements` are those that `measure` returned for the model.
    """
    with torch.inference_mode():
        is_compiled = open_stream(subject, 1, 1).is_compiled
    metrics = {measurement.metric for measurement in measurements}
    reasons = []
    if not is_compiled and subject.device.type == "cpu" and (why := _cell_obstacle(subject)) is not None:
        reasons.append(f"steps are interpreted, because the compiled cell is not used: {why}")
    if timing.deadline_seconds is not None and "late_share" not in metrics:
        if not is_compiled:
            reasons.append("no deadline was tested: the step is interpreted, and only compiled steps are tested")
        elif "loop_clock_seconds" not in metrics:
            reasons.append("no deadline was tested: compiled code cannot read the clock on this machine")
    timings = ("step_seconds", "stream_step_seconds")
    timed = {tuple(each.at.items()) for each in measurements if each.metric in timings}
    planned = [each.at for each in measurements if each.metric == "steps_per_reading"]
    if absent := [at for at in planned if tuple(at.items()) not in timed]:
        places = "; ".join(", ".join(f"{name} {value:,}" for name, value in at.items()) for at in absent)
        reasons.append(
            "compiled code cannot read the clock, and calls of more steps did not clearly take longer, so no compiled "
            f"step was timed at {places}"
        )
    return "; ".join(reasons) or None


def _cell_obstacle(subject: Subject) -> str | None:
    """Return why streams do not run the compiled cell that the first layer brings, or None if there is no reason."""
    layer = next(iter(subject.model.layers), None)
    return None if layer is None else arch.cell_obstacle(getattr(layer, "layer", layer))


def measure_first_call(subject: Subject) -> list[Measurement]:
    """Return an empty list, because only `latency` measures the first call of a model."""
    return []


def backend_of(subject: Subject) -> str:
    """Return the backend that steps one stream: `graph` for a replayed CUDA graph, else `fused` or `reference`."""
    with torch.inference_mode():
        opened = open_stream(subject, 1, 1)
        if isinstance(opened.stream, GraphStream):
            return "graph"
        return "fused" if opened.is_compiled else "reference"


def _measure_position(measured: _Measured, position: int) -> None:
    """Time one stream of each model at a position, and measure the sizes of its state and workspace."""
    timing, at = measured.timing, {"position": position}
    series: list[tuple[TimedStream, Series]] = []
    for subject in measured.shuffled(position):
        if position < max(other for other in timing.positions if can_read(subject, other)):
            timed = open_stream(subject, position, 1)
        else:
            with watch_memory(subject.device) as memory:
                timed = open_stream(subject, position, 1)
                run_untimed_burst(timed)
            measured.add(timed, *memory.measurements("streaming"))
        series += [
            (timed, one) for one in measured.step_series(timed, "step_seconds", at, timing.steps, timing.call_steps)
        ]
        sizes = {
            "state_bytes": arch.state_bytes(timed.state),
            "workspace_bytes": subject.model.workspace_bytes_for(timed.inputs[:, 0], timed.state),
            "packed_weight_bytes": subject.model.packed_weight_bytes_for(timed.inputs[:, 0], timed.state),
        }
        for metric, size in sizes.items():
            if size is not None:
                measured.add(timed, Measurement(metric=metric, at=at, samples=(float(size),)))
        if timed.is_compiled and measured.reading_seconds is not None and position == timing.positions[0]:
            samples = (measured.reading_seconds,)
            measured.add(timed, Measurement(metric="loop_clock_seconds", samples=samples))
    is_batch_of_one = position == timing.streams_position and timing.times_one_stream
    for timed, one in measured.time(series):
        measured.add(timed, one.measurement())
        if is_batch_of_one and one.metric == ("step_seconds" if timed.is_compiled else "call_step_seconds"):
            metric = one.metric.replace("step_seconds", "stream_step_seconds")
            measured.add(timed, one.measurement(metric, at | {"streams": 1}))


def _measure_batches(measured: _Measured) -> None:
    """Time batches of streams at the plan's position for them."""
    timing, position = measured.timing, measured.timing.streams_position
    series = [
        (timed, one)
        for subject in measured.shuffled(position)
        for count in timing.streams
        if count > 1 or not timing.times_one_stream
        for timed in [open_stream(subject, position, count)]
        for one in measured.step_series(
            timed, "stream_step_seconds", {"position": position, "streams": count}, timing.batch_steps, calls=0
        )
    ]
    for timed, one in measured.time(series):
        measured.add(timed, one.measurement())


def _measure_chunks(measured: _Measured) -> None:
    """Time chunks of steps of one stream at the plan's position for streams."""
    timing, position = measured.timing, measured.timing.streams_position
    series: list[tuple[TimedStream, Series]] = []
    for subject in measured.shuffled(position, steps=0) if timing.timed_chunks else ():
        timed = open_stream(subject, position, 1)
        for chunk in timing.timed_chunks:
            if can_read(subject, position, chunk):
                call = partial(time_chunks, timed, fastest_form(timed, chunk), chunk, clock=measured.clock)
                at = {"position": position, "chunk": chunk}
                series.append((timed, Series("chunk_seconds", at, timing.chunk_calls, call)))
    for timed, one in measured.time(series):
        measured.add(timed, one.measurement())


def _measure_deadlines(measured: _Measured, deadline_seconds: float) -> None:
    """Measure the late steps of each model with a compiled step, if compiled code can read the clock."""
    if measured.reading_seconds is None:
        return
    for subject in measured.shuffled(measured.timing.streams_position):
        timed = open_stream(subject, measured.timing.streams_position, 1)
        if timed.is_compiled:
            measured.add(timed, *measure_deadline(loop_timer(timed, measured.reading_seconds), deadline_seconds))
