"""What a record says. Everything that is read from disk passes through these models.

They are strict: a wrong type, an unknown field, NaN or infinity is refused. A change of meaning
raises `SCHEMA_VERSION`, and `results/schema/migrations.py` says how the version before is read.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import FailFast, Field

from results.schema.base import Count, Key, Name, RelativePath, Size, Strict, Text
from results.schema.case import Case

SCHEMA_VERSION = 3

Status = Literal["ok", "diverged", "inconsistent", "crashed", "timeout", "out_of_memory"]
Probe = Literal["accuracy", "latency", "streaming", "gates"]
Share = Annotated[float, Field(ge=0)]
First = FailFast()
"""Of a long list the first wrong element is told, and no other: a million complaints fill memory."""
Moment = Annotated[float, Field(ge=0)]
"""Seconds since 1970, by the clock of the host. Durations are taken from monotonic clocks instead."""


class Block(Strict):
    """What the machine did around one block of samples; None where the system does not tell."""

    calibration_seconds: Annotated[float, Field(ge=0)]
    """A fixed matrix product timed just before the block: the machine's pulse."""
    load: Share | None = None
    """Share of the machine's cores that were busy with anything else during the block."""
    steal_share: Share | None = None
    """Share of the block's time in which the hypervisor ran another machine."""
    waiting_share: Share | None = None
    """Share of the block's wall time in which the measuring thread did not run: (wall - CPU) / wall."""
    switches: Count | None = None
    """Involuntary context switches during the block."""


class Measurement(Strict):
    """Raw samples of one metric at one place, such as a length or a position in a stream.

    Where there are blocks, the samples fall into them evenly and in order.
    """

    metric: Name
    at: dict[Name, int] = Field(default_factory=dict)
    samples: Annotated[tuple[float, ...], First]
    blocks: Annotated[tuple[Block, ...], First] = ()
    process: Count = 0
    """Which fresh process measured: blocks within a process are not independent, processes are."""

    @property
    def calibration_seconds(self) -> tuple[float, ...]:
        """The machine's pulse before each block."""
        return tuple(block.calibration_seconds for block in self.blocks)


class ReferenceScores(Strict):
    """What a score must be compared with at one length."""

    length: Size
    chance: float
    memoryless_score: float | None = None


class EvalPoint(Strict):
    """One look at the validation data during training. A loss that is not finite is None."""

    step: Count
    train_loss: float | None
    validation_loss: float | None
    validation_score: float
    fit_loss: float | None = None
    fit_score: float | None = None
    """On training sequences, evaluated as validation data is: without dropout, all at one moment."""


class Training(Strict):
    """What training did."""

    steps: Count
    sequences: Count
    seconds: float
    stopped: Literal["solved", "budget", "diverged"]
    threads: Size
    flushes_denormals: bool
    backend: Name = "reference"
    curve: Annotated[tuple[EvalPoint, ...], First]


class Model(Strict):
    """The model that was measured."""

    parameters: Count
    width: Size
    depth: Size


class ProbeRun(Strict):
    """Whether a probe has measured this case, and what it cost."""

    status: Literal["ok", "refused", "failed"]
    reason: Text | None = None
    seconds: float
    threads: Size | None = None
    """Threads that the measured code could use."""
    flushes_denormals: bool | None = None
    backend: Name | None = None
    """What ran the recurrence: `reference` or `fused`; a stream's steps `reference`, or `graph` where replayed."""


class Span(Strict):
    """When a lane worked on a case: what shows that nothing ran beside a timing."""

    work: Literal["training", "timing"]
    worker: Name
    """Which lane of which host, such as `0` or `worker-1`; names no host."""
    began: Moment
    ended: Moment


class Record(Strict):
    """What one case yielded. It grows: training first, timings when the machine is quiet."""

    schema_version: Literal[3] = 3
    key: Key
    case: Case
    status: Status
    reason: Text | None = None
    model: Model | None = None
    training: Training | None = None
    reference_scores: Annotated[tuple[ReferenceScores, ...], First] = ()
    measurements: Annotated[tuple[Measurement, ...], First] = ()
    probes: dict[Probe, ProbeRun] = Field(default_factory=dict)
    artifacts: dict[Name, RelativePath] = Field(default_factory=dict)
    artifact_digests: dict[Name, Name] = Field(default_factory=dict)
    """SHA-256 of each artifact's bytes, 16 hexadecimal digits."""
    spans: Annotated[tuple[Span, ...], First] = ()
    repetitions: Size = 1
    """Fresh processes that have timed this case."""

    def of(self, metric: str) -> list[Measurement]:
        """The measurements of one metric, one a place: what fresh processes measured there is put together."""
        kept = self.by_process(metric)
        if len(kept) < 2:
            return kept
        found: dict[tuple[tuple[str, int], ...], list[Measurement]] = {}
        for measurement in kept:
            found.setdefault(tuple(sorted(measurement.at.items())), []).append(measurement)
        return [_together(same) for same in found.values()]

    def by_process(self, metric: str) -> list[Measurement]:
        """The measurements of one metric, one a place and process."""
        return [measurement for measurement in self.measurements if measurement.metric == metric]

    def reference_at(self, length: int) -> ReferenceScores | None:
        """What a score at `length` must be compared with."""
        return next((line for line in self.reference_scores if line.length == length), None)


def _together(same: list[Measurement]) -> Measurement:
    first = same[0]
    if len(same) == 1:
        return first
    return first.model_copy(
        update={
            "samples": tuple(sample for measurement in same for sample in measurement.samples),
            "blocks": tuple(block for measurement in same for block in measurement.blocks),
        }
    )
