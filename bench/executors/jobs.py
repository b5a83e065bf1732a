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
    """Job that trains and tests one case. It also records gates if `probes` contains `gates`.

    A case that only serves to choose a learning rate is not tested.
    """

    work: ClassVar[Work] = "training"
    case: Case
    learning_rate: float | None = None
    """Rate chosen for the case; None for that of its protocol."""
    device: str = "cpu"
    probes: tuple[Probe, ...] = ("accuracy",)
    plugins: tuple[Plugin, ...] = ()
    run: str = ""
    """Id of the run, which other runs name if they wait for it; empty if it is unknown."""
    expected_seconds: float | None = None
    """Expected duration with the tests; None if it is unknown."""

    @property
    def cases(self) -> tuple[Case, ...]:
        return (self.case,)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeJob:
    """Job that times a group of trained cases. The blocks of the cases are interleaved."""

    work: ClassVar[Work] = "timing"
    cases: tuple[Case, ...]
    weights: tuple[bytes, ...] = field(repr=False)
    """Trained weights of each case, as safetensors bytes."""
    probes: tuple[Probe, ...]
    timing: Timing
    device: str = "cpu"
    plugins: tuple[Plugin, ...] = ()
    run: str = ""
    """Id of the run, as for `TrainJob`."""


Job = TrainJob | TimeJob


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """Result of a `TrainJob`."""

    record: Record
    weights: bytes = field(repr=False)
    """Checkpoint of the trained model: its weights as safetensors bytes. Empty if nothing needs them."""
    artifacts: dict[str, bytes] = field(default_factory=dict, repr=False)
    """Further safetensors files by name, such as the traces of the `gates` probe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingResult:
    """Measurements of one case in a `TimeJob`, to be added to the record of the case."""

    measurements: tuple[Measurement, ...]
    probes: dict[Probe, ProbeRun]


@dataclass(frozen=True, slots=True)
class Failure:
    """Failure of a job, in place of its result."""

    status: Literal["crashed", "timeout", "out_of_memory"]
    reason: str
    worker_exited: bool = False
    """Whether the worker process exited by itself, so that a retry may succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """A finished job, with its worker, result and time span."""

    worker: str
    job: Job
    result: Any
    """A `TrainingResult`, a dict of `TimingResult` by case key, or a `Failure`."""
    span: Span
