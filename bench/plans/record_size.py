"""Estimate the size of a record before a run starts, so that an oversized plan is refused before training.

`results/store/document.py` limits the values and strings of a record. The estimate follows from the plan. It counts
the samples and blocks of each timing in each process, and the evaluations during training.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.errors import UsageError
from bench.plans.plan import Plan
from bench.training.schedule import total_steps
from results import Block, Case, EvalPoint, Measurement, Protocol, Record
from results.store import MAX_QUOTES, MAX_VALUES

FULL = 0.9
"""Share of a record available to timings and evaluations. The rest holds scores, names and digests."""
LATENCY_TIMINGS = 3
"""Number of latency timings: forward pass of one sequence, forward pass of a batch, and training step."""
VALUES_PER_POSITION = 8
"""Number of measurements counted per position besides timings. Probes take at most seven: steps per clock reading,
sizes of state, workspace and packed weights, step FLOPs, step bytes and read rate."""
OTHER_MEASUREMENTS = 16
"""Estimated number of other measurements per process, such as first call, clock overheads, peak memory, size of the
weights, results of a deadline and FLOPs of whole sequences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Size of a part of a record: the numbers of values and quotation marks, which the store limits."""

    values: int
    quotes: int


def _size(text: str) -> Size:
    return Size(values=text.count(",") + 1, quotes=text.count('"'))


BLOCK = _size(Block(calibration_seconds=1).model_dump_json())  # absent values are written too, as null
MEASUREMENT = _size(Measurement(metric="m", at={"position": 1, "streams": 1}, samples=()).model_dump_json())
POINT = _size(EvalPoint(step=1, train_loss=0, validation_loss=0, validation_score=0).model_dump_json())


def check_record_size(plan: Plan, cases: list[Case], repeat: int) -> None:
    """Raise `UsageError` if the estimated record of a case is too large to store.

    Args:
        plan: The plan, whose timings are counted.
        cases: The cases of the plan, whose evaluations are counted.
        repeat: Number of processes in which every timing is repeated.
    """
    timed = timing_size(plan, repeat)
    if (share := _share(timed)) > FULL:
        timing = plan.timing
        raise UsageError(
            f"the timings need {share / FULL:.1f} times the space of a record: {len(timing.positions)} positions of "
            f"{timing.steps:,} steps in {timing.blocks:,} blocks, in {repeat:,} process{'es' if repeat > 1 else ''}; "
            "use fewer positions, steps or blocks, or a smaller --repeat"
        )
    for protocol in {case.protocol for case in cases}:
        count = _evaluations(protocol)
        total = Size(values=timed.values + count * POINT.values, quotes=timed.quotes + count * POINT.quotes)
        if (share := _share(total)) > FULL:
            raise UsageError(
                f"{count:,} evaluations and the timings need {share / FULL:.1f} times the space of a record; "
                f"raise evaluate_every, which is {protocol.evaluate_every:,} steps"
            )


def timing_size(plan: Plan, repeat: int) -> Size:
    """Return the estimated size of all measurements that `repeat` timing processes add to a record."""
    timing, samples, blocks, measurements = plan.timing, 0, 0, OTHER_MEASUREMENTS
    if "latency" in plan.measure:
        samples += LATENCY_TIMINGS * timing.blocks
        blocks += LATENCY_TIMINGS * timing.blocks
        measurements += LATENCY_TIMINGS
    if "streaming" in plan.measure:
        single = int(timing.times_one_stream)  # one stream at a timed position has all samples of that position
        batched = len(timing.streams) - single
        chunks = len(timing.timed_chunks)
        groups = (
            (len(timing.positions) + single, timing.steps),
            (len(timing.positions), timing.call_steps),
            (batched, timing.batch_steps),
            (chunks, timing.chunk_calls),
        )
        for count, steps in groups:
            samples += count * -(-steps // timing.blocks) * timing.blocks
            blocks += count * timing.blocks
            measurements += count
        measurements += VALUES_PER_POSITION * len(timing.positions) + batched  # the batches' steps per clock reading
    return Size(
        values=repeat * (samples + blocks * BLOCK.values + measurements * MEASUREMENT.values),
        quotes=repeat * (blocks * BLOCK.quotes + measurements * MEASUREMENT.quotes),
    )


def _evaluations(protocol: Protocol) -> int:
    return -(-total_steps(protocol) // protocol.evaluate_every)


def _share(size: Size) -> float:
    return max(size.values / MAX_VALUES, size.quotes / MAX_QUOTES[Record])
