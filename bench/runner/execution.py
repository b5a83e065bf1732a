"""The work of a run: train what is untrained on all lanes, time what is untimed on a quiet machine, keep every record.

A record is written as soon as its case has ended, by the process that owns the store.
"""

from __future__ import annotations

from collections.abc import Iterable

from bench.executors.base import Executor
from bench.executors.jobs import Failure, Job, JobResult, TimeJob, TimingResult, TrainingResult, TrainJob
from bench.progress.display import Progress
from bench.progress.estimates import DurationEstimator, family
from bench.progress.eta import Sort
from bench.progress.utilization import Utilization
from bench.runner.pending import TIMINGS, WEIGHTS, Group, timing_probes, untimed, untrained
from bench.runner.request import Request
from results import Case, Probe, ProbeRun, Record, Run, RunFile, Span, StoreError


class Execution:
    """Which jobs are left, and what becomes of their results."""

    def __init__(
        self, request: Request, file: RunFile, run: Run, records: dict[str, Record], expectation: DurationEstimator
    ) -> None:
        self.request, self.file, self.run, self.records, self.expectation = request, file, run, records, expectation
        self.timing_probes: tuple[Probe, ...] = timing_probes(file)
        self.use = Utilization()

    def work(self, executor: Executor, progress: Progress) -> None:
        """Do all that is left."""
        training = sorted(untrained(self.file, self.records), key=self.expectation.training_seconds, reverse=True)
        if training:
            progress.phase("training", len(training))
            self._drive(executor, [self._train_job(case) for case in training], progress)
        while groups := untimed(self.file, self.records):
            round_ = [group for group in groups if group.repetition == groups[0].repetition]
            name = "timing" if self.file.repeat == 1 else f"timing {groups[0].repetition + 1} of {self.file.repeat}"
            left = [case for group in groups for case in group.cases]  # without those whose training failed
            progress.expect(TIMINGS, sum(self.expectation.timing_seconds(case, self.timing_probes) for case in left))
            progress.phase(name, sum(len(group.cases) for group in round_))
            self._drive(executor, map(self._time_job, round_), progress)

    def _drive(self, executor: Executor, jobs: Iterable[Job], progress: Progress) -> None:
        def started(worker: str, job: Job) -> None:
            sort: Sort = ("training", family(job.case)) if isinstance(job, TrainJob) else TIMINGS
            progress.start(worker, job.cases, sort, self._expected(job))

        for ended in executor.work(
            jobs,
            timeout=self.request.timeout,
            fresh=self.file.repeat > 1,
            on_start=started,
            on_begin=progress.begin,
            on_advance=progress.advance,
            on_wait=progress.wait,
        ):
            self.use.add(ended)
            self._keep(ended)
            progress.finish(ended.worker)

    def _expected(self, job: Job) -> float:
        if isinstance(job, TrainJob):
            return self.expectation.training_seconds(job.case)
        return sum(self.expectation.timing_seconds(case, self.timing_probes) for case in job.cases)

    def _keep(self, ended: JobResult) -> None:
        check_run_exists(self.run)
        if isinstance(ended.job, TrainJob):
            self._keep_trained(ended.job.case, ended.result, ended.span)
        else:
            for case in ended.job.cases:
                self._keep_timed(case, ended.result, ended.span)

    def _keep_trained(self, case: Case, result: TrainingResult | Failure, span: Span) -> None:
        if isinstance(result, Failure):
            record = Record(key=case.key, case=case, status=result.status, reason=result.reason, spans=(span,))
            self._write(record)
            return
        record = self.run.with_artifacts(result.record, {"weights": result.weights, **result.artifacts})
        self._write(record.model_copy(update={"spans": (span,)}))

    def _keep_timed(self, case: Case, result: dict[str, TimingResult] | Failure, span: Span) -> None:
        record = self.records[case.key]
        spans = (*record.spans, span)
        if isinstance(result, Failure):
            failed = ProbeRun(status="failed", reason=f"{result.status}: {result.reason}", seconds=0.0)
            probes = record.probes | dict.fromkeys(self.timing_probes, failed)
            self._write(record.model_copy(update={"probes": probes, "spans": spans}))
            return
        timed = result[case.key]
        before = record.repetitions if any(probe in record.probes for probe in self.timing_probes) else 0
        refused = [ran.reason for ran in timed.probes.values() if ran.status == "refused"]
        status = {"status": "inconsistent", "reason": refused[0]} if refused else {}
        measured = tuple(one.model_copy(update={"process": before}) for one in timed.measurements)
        changes = {
            "measurements": record.measurements + measured,
            "probes": record.probes
            | {probe: _added(record.probes.get(probe), ran) for probe, ran in timed.probes.items()},
            "repetitions": before + 1,
            "spans": spans,
            **status,
        }
        self._write(record.model_copy(update=changes))

    def _write(self, record: Record) -> None:
        self.run.write(record)
        self.records[record.key] = record

    def _train_job(self, case: Case) -> TrainJob:
        return TrainJob(case=case, device=self.request.device, probes=self.file.probes, plugins=self.request.plugins)

    def _time_job(self, group: Group) -> TimeJob:
        return TimeJob(
            cases=group.cases,
            weights=tuple((self.run.artifacts(case.key) / WEIGHTS).read_bytes() for case in group.cases),
            probes=self.timing_probes,
            timing=self.request.plan.timing,
            device=self.request.device,
            plugins=self.request.plugins,
        )


def check_run_exists(run: Run) -> None:
    """Raises `StoreError` where a run's folder was removed, or its disk taken away, rather than begin another there."""
    if not (run.folder / "run.json").exists():
        raise StoreError(f"{run.folder} is gone, and what was in it; the same command begins anew")


def _added(before: ProbeRun | None, ran: ProbeRun) -> ProbeRun:
    """What a probe has cost in all processes."""
    return ran if before is None else ran.model_copy(update={"seconds": before.seconds + ran.seconds})
