"""Jobs that an executor runs, and their results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from bench.machine.lock import Work
from bench.plans.plan import Timing
from bench.plugins.loader import Plugin
from results import Case, Measurement, Probe, ProbeRun, Record, Span


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """Train one case, test it, and record its gates if `probes` contains `gates`."""

    work: ClassVar[Work] = "training"
    case: Case
    device: str = "cpu"
    probes: tuple[Probe, ...] = ("accuracy",)
    plugins: tuple[Plugin, ...] = ()

    @property
    def cases(self) -> tuple[Case, ...]:
        return (self.case,)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeJob:
    """Time a group of trained cases, alternating between them."""

    work: ClassVar[Work] = "timing"
    cases: tuple[Case, ...]
    weights: tuple[bytes, ...] = field(repr=False)
    """Trained weights of each case, as safetensors bytes."""
    probes: tuple[Probe, ...]
    timing: Timing
    device: str = "cpu"
    plugins: tuple[Plugin, ...] = ()


Job = TrainJob | TimeJob


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """Result of a `TrainJob`."""

    record: Record
    weights: bytes = field(repr=False)
    """Trained weights, as safetensors bytes."""
    artifacts: dict[str, bytes] = field(default_factory=dict, repr=False)
    """Further safetensors files by name, such as the traces of the `gates` probe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingResult:
    """Measurements of one case in a `TimeJob`, to be added to its record."""

    measurements: tuple[Measurement, ...]
    probes: dict[Probe, ProbeRun]


@dataclass(frozen=True, slots=True)
class Failure:
    """Reason why a job has no result."""

    status: Literal["crashed", "timeout", "out_of_memory"]
    reason: str
    worker_exited: bool = False
    """Whether the worker process exited by itself, so that a retry may succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """A job that has ended: where, when, and with what result."""

    worker: str
    job: Job
    result: Any
    """`TrainingResult`, `TimingResult` by case key, or `Failure`."""
    span: Span
