"""A version that trains in this process, and whose timings a test decides."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from bench.against import driver
from bench.against.version import THIS, Version
from bench.against.version_process import Description
from bench.errors import UsageError
from bench.executors.events import Events
from bench.executors.jobs import Job, JobResult, TimeJob, TimingResult
from bench.machine.provenance import HOME
from bench.plans.plan import Plan
from bench.plugins.loader import Plugin
from results import Block, Case, Environment, Measurement, ProbeRun, Record, RunFile, Store
from tests.bench.carousel import Carousel, Completed, carousel
from tests.bench.inline_executor import Inline

__all__ = ["carousel"]

MEASURED = {"latency": ("forward_seconds", "batch"), "streaming": ("step_seconds", "position")}


@dataclass(slots=True)
class Versions:
    """What a test decides about the two versions, and what they did."""

    slower: Callable[[Case], float] = lambda case: 0.0
    """Returns the relative slow-down of a case in the new version."""
    noise: Callable[[Case], float] = lambda case: 0.005
    """Returns the standard deviation of the logarithm of a process's median."""
    load: float = 0.0
    """Share of the machine's cores that other work keeps busy during a timing."""
    change: Callable[[Description], Description] = lambda described: described
    """Returns what the base says instead of what is true here."""
    prepare: bool = True
    """Whether the versions can prepare processes."""
    unknown: str | None = None
    """An architecture that the base does not know."""
    failing: Callable[[str, Job], Any] = lambda side, job: None
    """Takes a side and a job, and returns the result of the job, or None to run it."""
    timed: list[tuple[str, str]] = field(default_factory=list)
    """The side and the architecture of each timed case, in the order of time."""
    steps: list[tuple[str, ...]] = field(default_factory=list)
    """What the versions did while they were timed, each with its side."""
    commit: str = ""
    """The revision that was checked out last."""
    open: int = 0
    """Number of versions that are running."""
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))


class InlineVersion:
    """Replacement for `VersionProcess`. Timings are drawn, and jobs and results pass through JSON."""

    workers = machines = 1
    run_id = ""

    def __init__(self, versions: Versions, version: Version) -> None:
        self.versions, self.version = versions, version
        self.prepares = versions.prepare
        self.side = "new" if version is THIS or version.name.startswith("commit") else "base"

    def __enter__(self) -> Self:
        self.versions.open += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.versions.open -= 1

    def describe(self, plan: Plan, *, device: str, plugins: tuple[Plugin, ...]) -> Description:
        if self.side == "base" and self.versions.unknown in {spec for grid in plan.grids() for spec in grid.archs}:
            raise UsageError(f"{self.version.name}: unknown architecture {self.versions.unknown!r}")
        plan = Plan.model_validate(plan.model_dump())  # as a driver does
        document = plan.model_dump(mode="json", exclude_defaults=True)
        request = {"plan": document, "device": device, "plugins": driver.plugin_documents(plugins)}
        found = driver.describe(json.loads(json.dumps(request)))
        cases = tuple(Case.model_validate_json(json.dumps(case)) for case in found["cases"])
        environment = Environment.model_validate_json(json.dumps(found["environment"]))
        described = Description(
            cases=cases, environment=environment, code=found["code"], commit=found["commit"], modified=found["modified"]
        )
        return self.versions.change(described) if self.side == "base" else described

    def lacking(
        self, archs: Sequence[str], tasks: Sequence[str], *, plugins: tuple[Plugin, ...]
    ) -> tuple[frozenset[str], frozenset[str]]:
        request = {"archs": list(archs), "tasks": list(tasks), "plugins": driver.plugin_documents(plugins)}
        found = driver.lacking(json.loads(json.dumps(request)))
        unknown = [spec for spec in archs if self.side == "base" and spec == self.versions.unknown]
        return frozenset([*found["archs"], *unknown]), frozenset(found["tasks"])

    def start_preparing(self, archs: Iterable[str]) -> None:
        self.versions.steps.append(("prepare", self.side, *sorted(archs)))

    def wait_until_prepared(self, events: Events) -> None:
        self.versions.steps.append(("prepared", self.side))

    def run(self, jobs: Iterable[Job], *, timeout: float | None, fresh: bool, events: Events) -> Iterator[JobResult]:
        assert fresh
        for job in map(driver.job_of, map(driver.job_document, jobs)):
            inline = Inline()
            failure = self.versions.failing(self.side, job)
            inline.failing = lambda job, failure=failure: failure if failure is not None else self._timed(job)
            for result in inline.run([job], timeout=timeout, fresh=fresh, events=events):
                yield driver.result_of(driver.result_document(result), job)

    def _timed(self, job: Job) -> dict[str, TimingResult] | None:
        """Return drawn timings, or None for a training job."""
        if not isinstance(job, TimeJob):
            return None
        assert all(job.weights)
        self.versions.timed += [(self.side, case.arch) for case in job.cases]
        self.versions.steps.append(("time", self.side))
        return {case.key: self._timing(case, job) for case in job.cases}

    def _timing(self, case: Case, job: TimeJob) -> TimingResult:
        slower = math.log1p(self.versions.slower(case)) if self.side == "new" else 0.0
        seconds = 1e-4 * math.exp(slower + self.versions.noise(case) * self.versions.generator.standard_normal())
        metrics = [MEASURED[probe] for probe in job.probes]
        measurements = tuple(
            Measurement(
                metric=metric,
                at={at: 1},
                samples=(seconds,),
                blocks=(Block(calibration_seconds=0.01, load=self.versions.load),),
            )
            for metric, at in metrics
        )
        return TimingResult(
            measurements=measurements, probes={probe: ProbeRun(status="ok", seconds=0.1) for probe in job.probes}
        )


@pytest.fixture
def measured(carousel: Carousel) -> Carousel:
    """Return a function that runs the tiny plan with one seed against this checkout."""

    def run(*options: str) -> Completed:
        words = ("run", "tiny.toml", "--seeds", "1", "--measure", "accuracy,streaming", "--against", str(HOME))
        return carousel(*words, *options, "--store", "store")

    return run


def stored(folder: Path = Path("store")) -> dict[str, tuple[RunFile, list[Record]]]:
    """Return the two runs of a store by their side; the last ones if there are more."""
    runs = {}
    for run in Store(folder).runs():
        file = run.file()
        assert file.turns is not None
        runs[file.turns.side] = file, list(run.read()[0].values())
    return runs


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> Versions:
    """Replace both versions of a run in turns. The base is the folder of this checkout."""
    decided = Versions()
    monkeypatch.setattr("bench.against.planned.VersionProcess", lambda version, **_: InlineVersion(decided, version))
    return decided


def with_changed_environment(described: Description, **changes: Any) -> Description:
    return replace(described, environment=described.environment.model_copy(update=changes))
