"""The schema of a record, which is the result of one case.

The classes are strict: they reject wrong types, unknown fields, NaN and infinity. Any change to a field's name or
meaning requires a higher `SCHEMA_VERSION` and a migration in `results/schema/migrations.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import FailFast, Field

from results.schema.base import Count, Key, Name, RelativePath, Size, Strict, Text
from results.schema.case import Budget, BudgetKind, Case
from results.schema.location import LengthRange
from results.schema.probes import Probe

SCHEMA_VERSION = 8

Status = Literal["ok", "diverged", "inconsistent", "crashed", "timeout", "out_of_memory"]
Share = Annotated[float, Field(ge=0)]
FAIL_FAST = FailFast()
"""Setting that stops the validation of a list at its first wrong element, to limit the memory for error messages."""
Moment = Annotated[float, Field(ge=0)]
"""Seconds since 1970 by the host's clock. Durations are measured with monotonic clocks instead."""


class Block(Strict):
    """The state of the machine around one block of samples. A field is None if its value is unknown."""

    calibration_seconds: Annotated[float, Field(ge=0)]
    """Duration of a fixed matrix product just before the block. It reveals changes in machine speed."""
    load: Share | None = None
    """Share of all cores' time that other processes used, over a window that ends with the block."""
    steal_share: Share | None = None
    """Share of all cores' time, over the same window, in which the hypervisor ran other virtual machines."""
    waiting_share: Share | None = None
    """Share of the block's wall time in which the measuring thread did not run: (wall - CPU) / wall."""
    switches: Count | None = None
    """Involuntary context switches during the block."""
    wall_seconds: Annotated[float, Field(ge=0)] | None = None
    """Duration of the block, with its untimed calls."""
    cpu_seconds: Annotated[float, Field(ge=0)] | None = None
    """Processor time of all threads of the process during the block."""
    instructions: Count | None = None
    """Instructions that the measuring thread retired during the block, without those of the kernel. None if the system
    does not count them for ordinary users, or if torch uses several threads."""


class Measurement(Strict):
    """Raw samples of one metric at one location.

    The samples are distributed over the blocks in order and as evenly as possible.
    """

    metric: Name
    at: dict[Name, int] = Field(default_factory=dict)
    """Location of the measurement, such as `{"length": 64}`, `{"from": 40, "to": 256}` or `{"position": 16}`."""
    samples: Annotated[tuple[float, ...], FAIL_FAST]
    blocks: Annotated[tuple[Block, ...], FAIL_FAST] = ()
    process: Count = 0
    """Index of the fresh process that took the samples. Processes are independent; blocks of one process are not."""

    @property
    def calibration_seconds(self) -> tuple[float, ...]:
        """Durations of the calibration before each block, in seconds."""
        return tuple(block.calibration_seconds for block in self.blocks)


class StrategyScore(Strict):
    """What a partial strategy for a task reaches on average at one length."""

    name: Text
    """A short label, such as `any value shown`."""
    score: float | None = None
    """The expected score; None if it is unknown."""
    loss: float | None = None
    """The expected loss: in nats for classes, a squared error for real numbers; None if it is unknown."""


class ReferenceScores(Strict):
    """Scores and losses of trivial strategies at one length or over a range, for comparison with measured ones.

    Over a range, each value is the mean over the lengths at which the case was tested.
    """

    length: Size
    """The test length, or the first length of a range."""
    last_length: Size | None = None
    """The last length of a range; None for a single length."""
    chance: float
    """Best score without reading the input: the chance level."""
    memoryless_score: float | None = None
    """Best score from the present input alone; None if this score is not above the chance level."""
    constant_loss: float | None = None
    """Mean squared error of the best answer without reading the input; None if answers are not real numbers."""
    memoryless_loss: float | None = None
    """A loss that no answer from the present input alone can beat on average; None if no such loss is known."""
    memory_floor: float | None = None
    """Best score without the memory that the task tests, but with all that needs less: on the positions that need the
    memory if the task records `memory_score`, else on all scored positions. None if no such strategy beats the best
    answer from the present input."""
    strategies: tuple[StrategyScore, ...] = ()
    """Obvious partial strategies, as the task states them. None are kept over a range."""


class EvalPoint(Strict):
    """One evaluation during training. A loss is None if it is not finite."""

    step: Count
    train_loss: float | None
    validation_loss: float | None
    validation_score: float
    fit_loss: float | None = None
    fit_score: float | None = None
    """Score on training sequences, evaluated without dropout and with fixed weights, like validation data. `fit_score`
    and `fit_loss` are None if `fit_sequences` is 0."""


class Training(Strict):
    """Summary of the training of one case."""

    steps: Count
    sequences: Count
    seconds: float
    stopped: Literal["solved", "budget", "diverged", "plateaued"]
    threads: Size
    flushes_denormals: bool
    backend: Name = "reference"
    """Implementation of the first layer's `scan`: `reference` or `fused`."""
    curve: Annotated[tuple[EvalPoint, ...], FAIL_FAST]
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Highest learning rate of the schedule; None if the record does not say so."""
    learning_rate_source: Literal["plan", "tuned"] = "plan"
    """Whether the plan gives the learning rate, or tuning cases of the run chose it."""
    learning_rate_found_by: Text | None = None
    """The run that found the learning rate, in the words of the plan; None if the plan does not say so."""


BUDGET_TOLERANCE = 0.1
"""A model meets a budget if it has what the budget asks for, up to this share of the budget."""


class Model(Strict):
    """Size of a trained model."""

    parameters: Count
    layer_parameters: Count | None = None
    """Number of parameters in the layers, without embedding and readout; None if unknown."""
    width: Size
    depth: Size
    state_bytes: Count | None = None
    """Bytes of the state of one stream after as many steps as the case has; None if unknown."""
    step_flops: Count | None = None
    """FLOPs of one step of one stream after as many steps as the case has; None if the architecture states none."""

    def amount(self, kind: BudgetKind) -> int | None:
        """Return what the model has, in the unit of a kind of budget, or None if it is unknown."""
        amounts: dict[BudgetKind, int | None] = {
            "params": self.parameters,
            "layer_params": self.layer_parameters,
            "width": self.width,
            "state": self.state_bytes,
            "step_flops": self.step_flops,
        }
        return amounts[kind]

    def meets(self, budget: Budget) -> bool:
        """Return whether the model meets a budget within `BUDGET_TOLERANCE`, or is not known to miss it."""
        amount = self.amount(budget.kind)
        return amount is None or abs(amount - budget.amount) <= BUDGET_TOLERANCE * budget.amount


class ProbeRun(Strict):
    """Status and duration of one probe of a case."""

    status: Literal["ok", "refused", "failed"]
    reason: Text | None = None
    """Why the probe was refused or failed or, if it is `ok`, why some requested measurements are missing."""
    seconds: float
    threads: Size | None = None
    """Threads available to the measured code."""
    flushes_denormals: bool | None = None
    backend: Name | None = None
    """Implementation of the timed calls: `reference`, `fused` or, for streams only, `graph` (a CUDA graph)."""


class Span(Strict):
    """The time span in which a worker worked on a case. Spans show which jobs of a run overlapped."""

    work: Literal["training", "timing"]
    worker: Name
    """Name of the worker, such as `0` or `host0/worker0/0`. It contains no real host name."""
    began: Moment
    ended: Moment


class Record(Strict):
    """The result of one case. Training results are stored first. Timings are added later, on a quiet machine."""

    schema_version: Literal[8] = 8
    key: Key
    case: Case
    status: Status
    reason: Text | None = None
    model: Model | None = None
    training: Training | None = None
    """None if the model was not trained: by its protocol, or because the case failed before."""
    reference_scores: Annotated[tuple[ReferenceScores, ...], FAIL_FAST] = ()
    measurements: Annotated[tuple[Measurement, ...], FAIL_FAST] = ()
    probes: dict[Probe, ProbeRun] = Field(default_factory=dict)
    artifacts: dict[Name, RelativePath] = Field(default_factory=dict)
    artifact_digests: dict[Name, Name] = Field(default_factory=dict)
    """First 16 hexadecimal digits of the SHA-256 of each artifact, by name."""
    spans: Annotated[tuple[Span, ...], FAIL_FAST] = ()
    repetitions: Size = 1
    """Number of fresh processes that have timed this case; also 1 before the first timing."""

    def of(self, metric: str) -> list[Measurement]:
        """Return the measurements of one metric, one per location, with the samples of all processes merged."""
        measurements = self.by_process(metric)
        if len(measurements) < 2:
            return measurements
        by_location: dict[tuple[tuple[str, int], ...], list[Measurement]] = {}
        for measurement in measurements:
            by_location.setdefault(tuple(sorted(measurement.at.items())), []).append(measurement)
        return [_merged(group) for group in by_location.values()]

    def by_process(self, metric: str) -> list[Measurement]:
        """Return the measurements of one metric, one per location and process."""
        return [measurement for measurement in self.measurements if measurement.metric == metric]

    def reference_at(self, length: int) -> ReferenceScores | None:
        """Return the reference scores at `length` time steps, or None if the record has none at this length."""
        return self._reference(length, None)

    def reference_over(self, lengths: LengthRange) -> ReferenceScores | None:
        """Return the reference scores over a range of test lengths, or None if the record has none over this range."""
        return self._reference(*lengths)

    def _reference(self, length: int, last_length: int | None) -> ReferenceScores | None:
        where = (length, last_length)
        return next((each for each in self.reference_scores if (each.length, each.last_length) == where), None)


def _merged(group: list[Measurement]) -> Measurement:
    first = group[0]
    if len(group) == 1:
        return first
    return first.model_copy(
        update={
            "samples": tuple(sample for measurement in group for sample in measurement.samples),
            "blocks": tuple(block for measurement in group for block in measurement.blocks),
        }
    )
