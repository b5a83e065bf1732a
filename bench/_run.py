"""A run: take up what is unfinished, train on all lanes, time on a quiet machine, keep every record."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from filelock import FileLock, Timeout
from rich.console import Console
from rich.text import Text
from safetensors import SafetensorError

from bench._environment import code_digest, environment
from bench._errors import UsageError
from bench._expect import Expectation
from bench._lane import Advance, Failure, Lanes
from bench._plan import TIMED, Plan, cases
from bench._plugins import Plugin, digests
from bench._progress import Progress, humanised
from bench._work import Job, TimeJob, Trained, TrainJob
from results import Case, Probe, ProbeRun, Record, Run, RunFile, Store, StoreError

WEIGHTS = "weights.safetensors"
NOT_IN_KEYS = r"[^A-Za-z0-9_=-]+"
FAILED_STATUSES = ("crashed", "timeout", "out_of_memory")
"""What a run that is taken up again tries once more."""
TIMING_LOCK = Path(tempfile.gettempdir()) / "carousel-timing.lock"
"""One timing case at a time on this machine, whichever run it belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for."""

    plan_name: str
    plan: Plan
    store: Path
    command: str
    device: str = "cpu"
    lanes: int = 1
    timeout: float | None = None
    new: bool = False
    plugins: tuple[Plugin, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A finished run."""

    run: Run
    file: RunFile
    records: list[Record]
    """In the order of the plan's cases."""

    @property
    def complete(self) -> bool:
        """Whether every case was measured as planned; a diverged model is a result, a crashed one is not."""
        measured = all(record.status in ("ok", "diverged", "inconsistent") for record in self.records)
        failed = any(ran.status == "failed" for record in self.records for ran in record.probes.values())
        return measured and not failed and len(self.records) == len(self.file.cases)


def describe(request: Request, console: Console) -> None:
    """Say what `execute` would do: what is cached, what is to run, how long it expects."""
    file = _planned(request)
    run = _unfinished(request, file)
    records = {} if run is None else run.read()[0]
    _announce(console, request, file, run, records, _expectation(request.store))


def execute(request: Request, console: Console, *, quiet: bool = False) -> Outcome:
    """Run what is left of the request's cases and keep every record as it comes.

    Raises `UsageError` for an impossible plan and `StoreError` for a store that cannot be written;
    what was recorded before stays.
    """
    planned = _planned(request)
    run = _unfinished(request, planned) or Store(request.store).create(planned)
    with _sole_writer(run):
        file = run.file()
        records, damaged = run.read()
        for damage in damaged:
            console.print(f"[yellow]set aside[/] {damage}; its case runs again")
            run.set_aside(damage)
        for case in [case for group in untimed(file, records) for case in group]:
            if not _has_weights(run, case):
                console.print(f"[yellow]lost[/] the weights of {case.key}; its case runs again")
                del records[case.key]
        expectation = _expectation(request.store)
        if not quiet:
            _announce(console, request, planned, run, records, expectation)
        _Execution(request, file, run, records, expectation).work(console, quiet)
        file = file.model_copy(update={"finished": _now()})
        run.write_file(file)
    return Outcome(run=run, file=file, records=[records[case.key] for case in file.cases if case.key in records])


class _Execution:
    """The work of one `execute`: which jobs are left, and what becomes of their results."""

    def __init__(
        self, request: Request, file: RunFile, run: Run, records: dict[str, Record], expectation: Expectation
    ) -> None:
        self.request, self.file, self.run, self.records, self.expectation = request, file, run, records, expectation
        self.timing_probes: tuple[Probe, ...] = tuple(probe for probe in file.probes if probe in TIMED)

    def work(self, console: Console, quiet: bool) -> None:
        training = untrained(self.file, self.records)
        lanes = max(1, min(self.request.lanes, len(training) or 1))
        training.sort(key=self.expectation.training_seconds, reverse=True)
        expected = expected_seconds(self.file, self.records, self.expectation, lanes)
        if not training and not self._untimed():
            return
        with (
            Lanes(lanes) as pool,
            Progress(console, lanes, expected, len(self.file.cases), quiet=quiet) as progress,
        ):
            if training:
                progress.phase("training", len(training))
                jobs: list[Job] = [
                    TrainJob(
                        case=case,
                        device=self.request.device,
                        probes=self.file.probes,
                        plugins=self.request.plugins,
                    )
                    for case in training
                ]
                self._drive(pool, jobs, progress, lanes)
            if groups := self._untimed():
                progress.phase("timing", sum(len(group) for group in groups))
                with _machine_alone(console, quiet):
                    self._drive(pool, [self._time_job(group) for group in groups], progress, lanes, alone=True)

    def _drive(self, pool: Lanes, jobs: Sequence[Job], progress: Progress, lanes: int, *, alone: bool = False) -> None:
        def started(lane: int, job: Job) -> None:
            progress.start(lane, _title(job.cases))

        def advanced(advance: Advance) -> None:
            progress.advance(advance.lane, advance.done / advance.total, f"score {advance.score:.3f}")

        timeout = self.request.timeout
        for lane, job, result in pool.work(jobs, timeout=timeout, on_start=started, on_advance=advanced, alone=alone):
            if isinstance(job, TrainJob):
                self._keep_trained(job.case, result)
                spent = self.expectation.training_seconds(job.case) / lanes
            else:
                self._keep_timed(job.cases, result)
                spent = sum(self.expectation.timing_seconds(case, self.timing_probes) for case in job.cases)
            progress.finish(lane, spent, len(job.cases))

    def _keep_trained(self, case: Case, result: Trained | Failure) -> None:
        if isinstance(result, Failure):
            self._keep(Record(key=case.key, case=case, status=result.status, reason=result.reason))
            return
        kept = {
            name: self.run.write_artifact(case.key, f"{name}.safetensors", content)
            for name, content in {"weights": result.weights, **result.artifacts}.items()
        }
        self._keep(result.record.model_copy(update={"artifacts": kept}))

    def _keep_timed(self, group: Sequence[Case], result: dict[str, object] | Failure) -> None:
        from bench._work import Timed

        for case in group:
            record = self.records[case.key]
            if isinstance(result, Failure):
                failed = ProbeRun(status="failed", reason=f"{result.status}: {result.reason}", seconds=0.0)
                probes = dict.fromkeys(self.timing_probes, failed)
                self._keep(record.model_copy(update={"probes": {**record.probes, **probes}}))
                continue
            timed = result[case.key]
            assert isinstance(timed, Timed)
            refused = [ran.reason for ran in timed.probes.values() if ran.status == "refused"]
            status = {"status": "inconsistent", "reason": refused[0]} if refused else {}
            self._keep(
                record.model_copy(
                    update={
                        "measurements": record.measurements + timed.measurements,
                        "probes": {**record.probes, **timed.probes},
                        **status,
                    }
                )
            )

    def _keep(self, record: Record) -> None:
        self.run.write(record)
        self.records[record.key] = record

    def _untimed(self) -> list[list[Case]]:
        return untimed(self.file, self.records)

    def _time_job(self, group: Sequence[Case]) -> TimeJob:
        return TimeJob(
            cases=tuple(group),
            weights=tuple((self.run.artifacts(case.key) / WEIGHTS).read_bytes() for case in group),
            probes=self.timing_probes,
            timing=self.request.plan.timing,
            device=self.request.device,
            plugins=self.request.plugins,
        )


def _has_weights(run: Run, case: Case) -> bool:
    try:
        return bool(safetensors.torch.load((run.artifacts(case.key) / WEIGHTS).read_bytes()))
    except (OSError, SafetensorError):
        return False


def untrained(file: RunFile, records: dict[str, Record]) -> list[Case]:
    """The cases that have no record yet, or one that says that they failed."""
    return [case for case in file.cases if case.key not in records or records[case.key].status in FAILED_STATUSES]


def untimed(file: RunFile, records: dict[str, Record]) -> list[list[Case]]:
    """Trained cases that lack a timing, in groups that are timed in turns: one task, length and seed."""
    timing = [probe for probe in file.probes if probe in TIMED]
    left = [
        case
        for case in file.cases
        if (record := records.get(case.key)) is not None
        and record.status == "ok"
        and any(probe not in record.probes for probe in timing)
    ]

    def group_of(case: Case) -> tuple[str, int, int]:
        return case.task, case.length, case.seed

    return [list(group) for _, group in itertools.groupby(sorted(left, key=group_of), key=group_of)]


def expected_seconds(file: RunFile, records: dict[str, Record], expectation: Expectation, lanes: int) -> float:
    """Expected wall-clock seconds of what is left."""
    training = untrained(file, records)
    timing = [case for group in untimed(file, records) for case in group] + training
    return sum(expectation.training_seconds(case) for case in training) / lanes + sum(
        expectation.timing_seconds(case, file.probes) for case in timing
    )


def _planned(request: Request) -> RunFile:
    """The `run.json` of a new run of this request."""
    planned, created, code = cases(request.plan), _now(), code_digest()
    moment = created.replace("-", "").replace(":", "").replace("T", "-")[:15]
    return RunFile(
        id=f"{moment}-{re.sub(NOT_IN_KEYS, '_', request.plan_name)[:60]}-{secrets.token_hex(3)}",
        plan=request.plan_name,
        plan_digest=request.plan.digest(),
        command=request.command,
        code=code,
        plugins=digests(request.plugins),
        environment=environment(request.device),
        cases=tuple(planned),
        probes=request.plan.measure,
        claims=request.plan.claims,
        lanes=request.lanes,
        created=created,
    )


def _unfinished(request: Request, file: RunFile) -> Run | None:
    """The newest unfinished run of the same cases, probes, code and environment that nobody is working on."""
    if request.new:
        return None
    for run in reversed(Store(request.store).runs()):
        try:
            other = run.file()
        except StoreError:
            continue
        if other.finished is None and _identity(other) == _identity(file) and _is_free(run):
            return run
    return None


def _identity(file: RunFile) -> tuple[object, ...]:
    """What must be equal for records of one run to belong into another."""
    return file.plan_digest, file.cases, file.probes, file.code, file.plugins, file.environment


def _announce(
    console: Console,
    request: Request,
    file: RunFile,
    run: Run | None,
    records: dict[str, Record],
    expectation: Expectation,
) -> None:
    left = {case.key for case in untrained(file, records)} | {
        case.key for group in untimed(file, records) for case in group
    }
    seconds = expected_seconds(file, records, expectation, max(1, min(request.lanes, len(left) or 1)))
    taken_up = f", taking up run {run.id}" if run is not None and run.id != file.id else ""
    console.print(
        Text.assemble(
            (request.plan_name, "bold"),
            f": {len(file.cases)} case{'s' if len(file.cases) > 1 else ''}, {len(file.cases) - len(left)} done before, "
            f"{len(left)} to run on {request.lanes} lane{'s' if request.lanes > 1 else ''}, "
            f"about {humanised(seconds)}{taken_up}",
        ),
        soft_wrap=True,
    )


def _expectation(store: Path) -> Expectation:
    """What the newest few runs of the store tell about durations."""

    def history() -> Iterator[Record]:
        for run in Store(store).runs()[-3:]:
            yield from run.read()[0].values()

    return Expectation(history())


@contextlib.contextmanager
def _sole_writer(run: Run) -> Iterator[None]:
    try:
        with FileLock(run.folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise UsageError(
            f"another process is working on run {run.id}; wait for it, or start apart with --new"
        ) from None


def _is_free(run: Run) -> bool:
    try:
        with FileLock(run.folder / ".lock", timeout=0):
            return True
    except (Timeout, OSError):
        return False


@contextlib.contextmanager
def _machine_alone(console: Console, quiet: bool) -> Iterator[None]:
    lock = FileLock(TIMING_LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not quiet:
            console.print("waiting for another run on this machine to finish its timings")
        lock.acquire()
    except OSError:
        console.print(
            f"[yellow]cannot lock[/] {TIMING_LOCK}; nothing keeps another user's run from timing beside this one"
        )
    try:
        yield
    finally:
        lock.release()


def _title(group: Iterable[Case]) -> str:
    group = list(group)
    first = group[0]
    who = first.arch.partition(":")[0] if len(group) == 1 else f"{len(group)} models"
    return f"{who} on {first.task} at {first.length}, seed {first.seed}"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
