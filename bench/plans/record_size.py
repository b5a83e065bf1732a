"""Whether what a plan measures of one case fits into a record: said before anything is trained, not after.

A record may hold so many values and so many strings (`results/store/document.py`). What it will hold follows
from the plan: the samples and blocks of each timing in each process, and the looks at validation data.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.errors import UsageError
from bench.plans.plan import STREAMED_SHARE, Plan
from bench.training.schedule import total_steps
from results import Block, Case, EvalPoint, Measurement, Protocol, Record
from results.store import MAX_QUOTES, MAX_VALUES

FULL = 0.9
"""Share of a record that timings and training may take: the rest of it is scores, lines, traces and names."""
CLOCKED = 3
"""A forward pass of one sequence and of a batch, and a training step."""
BESIDE_A_POSITION = 5
"""The size of the state; the FLOPs and bytes of a step, and how fast the machine can do and move them."""
BESIDE_ALL = 10
"""The first call, the clock's own cost, peaks of memory, FLOPs of whole sequences, likewise by process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    """What a part of a record takes, in commas and quotation marks of its file."""

    values: int
    quotes: int


def _size(text: str) -> _Size:
    return _Size(values=text.count(",") + 1, quotes=text.count('"'))


BLOCK = _size(Block(calibration_seconds=1, load=0, steal_share=0, waiting_share=0, switches=0).model_dump_json())
MEASUREMENT = _size(Measurement(metric="m", at={"position": 1, "streams": 1}, samples=()).model_dump_json())
POINT = _size(EvalPoint(step=1, train_loss=0, validation_loss=0, validation_score=0).model_dump_json())


def check_record_size(plan: Plan, cases: list[Case], repeat: int) -> None:
    """Raises `UsageError` where a case's record would be too large to be stored."""
    timed = timed_bytes(plan, repeat)
    if (share := _share(timed)) > FULL:
        timing = plan.timing
        raise UsageError(
            f"the plan's timings would fill {share / FULL:.1f} times what a record can hold: {len(timing.positions)} "
            f"positions of {timing.steps:,} steps in {timing.blocks:,} blocks, in {repeat:,} "
            f"process{'es' if repeat > 1 else ''}; ask for fewer positions, steps or blocks, or a smaller --repeat"
        )
    for protocol in {case.protocol for case in cases}:
        looks = _looks(protocol)
        trained = _Size(values=timed.values + looks * POINT.values, quotes=timed.quotes + looks * POINT.quotes)
        if (share := _share(trained)) > FULL:
            raise UsageError(
                f"{looks:,} looks at validation data with the plan's timings would fill {share / FULL:.1f} times what "
                f"a record can hold; evaluate_every is {protocol.evaluate_every:,} steps: let it be more"
            )


def timed_bytes(plan: Plan, repeat: int) -> _Size:
    """Estimate what the timing probes add to a record."""
    timing, samples, blocks, measurements = plan.timing, 0, 0, BESIDE_ALL
    if "latency" in plan.measure:
        samples += CLOCKED * timing.blocks
        blocks += CLOCKED * timing.blocks
        measurements += CLOCKED
    if "streaming" in plan.measure:
        alone = int(timing.times_one_stream)  # it has the samples of the position
        batched = len(timing.streams) - alone
        places = ((len(timing.positions) + alone, timing.steps), (batched, -(-timing.steps // STREAMED_SHARE)))
        for count, steps in places:
            samples += count * -(-steps // timing.blocks) * timing.blocks
            blocks += count * timing.blocks
            measurements += count
        measurements += BESIDE_A_POSITION * len(timing.positions)
    return _Size(
        values=repeat * (samples + blocks * BLOCK.values + measurements * MEASUREMENT.values),
        quotes=repeat * (blocks * BLOCK.quotes + measurements * MEASUREMENT.quotes),
    )


def _looks(protocol: Protocol) -> int:
    return -(-total_steps(protocol) // protocol.evaluate_every)


def _share(size: _Size) -> float:
    return max(size.values / MAX_VALUES, size.quotes / MAX_QUOTES[Record])
