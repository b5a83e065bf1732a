"""Jobs that an executor runs, the events of a running job, and its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from bench.machine.lock import Work
from bench.plans.plan import Timing
from bench.plugins.loader import Plugin
from results import Case, Measurement, Probe, ProbeRun, Record, Span


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job gave no result."""

    status: Literal["crashed", "timeout", "out_of_memory"]
    reason: str
    worker_exited: bool = False
    """Whether the process ended by itself, so that another try may fare better."""


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a lane has come with its job: training steps done and in all, latest validation score."""

    worker: str
    done: int
    total: int
    score: float


@dataclass(frozen=True, slots=True)
class JobStarted:
    """A lane has taken up its job; `compiling_seconds` is what its start has spent on compiling kernels."""

    worker: str
    compiling_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class JobResult:
    """A job that has ended, where, how and when."""

    worker: str
    job: Job
    result: Any
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """Train one case, test it, and look inside where `probes` name `gates`."""

    case: Case
    device: str = "cpu"
    probes: tuple[Probe, ...] = ("accuracy",)
    plugins: tuple[Plugin, ...] = ()

    @property
    def cases(self) -> tuple[Case, ...]:
        return (self.case,)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeJob:
    """Time a group of trained cases in turns."""

    cases: tuple[Case, ...]
    weights: tuple[bytes, ...] = field(repr=False)
    probes: tuple[Probe, ...]
    timing: Timing
    device: str = "cpu"
    plugins: tuple[Plugin, ...] = ()


Job = TrainJob | TimeJob


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """A record after training, the trained weights as safetensors, and what else the probes keep, likewise."""

    record: Record
    weights: bytes = field(repr=False)
    artifacts: dict[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingResult:
    """What the timing probes found of one case, to be added to its record."""

    measurements: tuple[Measurement, ...]
    probes: dict[Probe, ProbeRun]


def work_of(job: Job) -> Work:
    """What a job does to its machine."""

    return "training" if isinstance(job, TrainJob) else "timing"
