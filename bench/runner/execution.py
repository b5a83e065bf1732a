"""Execute the pending work of a run: tune learning rates, train on all workers, then time on a quiet machine.

The records of a job are stored as soon as the job has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import safetensors.torch
from safetensors import SafetensorError

from bench.executors.base import Executor
from bench.executors.jobs import Failure, Job, JobResult, TimeJob, TimingResult, TrainingResult, TrainJob
from bench.plans.grid import rates_found_by
from bench.progress.display import Progress
from bench.progress.eta import TIMING
from bench.progress.utilization import Utilization
from bench.runner.pending import Pending, TimingGroup
from bench.runner.request import Request
from results import Case, ProbeRun, Record, Run, Span, StoreError, why_no_rate

WEIGHTS = "weights.safetensors"


class Execution:
    """Runner of a run's pending work. It stores the results as records."""

    def __init__(self, request: Request, run: Run, pending: Pending) -> None:
        self.request, self.run, self.pending = request, run, pending
        self.utilization = Utilization()
        self._rates_found_by = rates_found_by(request.plan)

    def run_pending(self, executor: Executor, progress: Progress) -> None:
        """Train all untrained cases, then time all untimed ones. Store each result when its job has ended."""
        self.train(executor, progress)
        repeat = self.pending.file.repeat
        while groups := self.pending.timing_groups:
            repetition = groups[0].repetition
            progress.set_remaining(TIMING, self.pending.timing_seconds)  # without cases whose training failed
            name = "timing" if repeat == 1 else f"timing {repetition + 1} of {repeat}"
            this_round = [group for group in groups if group.repetition == repetition]
            progress.start_phase(name, sum(len(group.cases) for group in this_round))
            self.time(executor, progress, this_round)

    def train(self, executor: Executor, progress: Progress, *, side: str = "") -> None:
        """Train all untrained cases, and store each result when its job has ended.

        Tuning cases are trained first. Their validation scores then decide the learning rates of the reported cases.
        `side` is added to the names of the phases, if several runs are executed together.
        """
        self._train(executor, progress, f"tuning{side}", self.pending.untuned)
        self._apply_rates(progress)
        trainable = self.pending.trainable
        phase = "training" if any(case.protocol.trains for case in trainable) else "building models"
        self._train(executor, progress, f"{phase}{side}", trainable)

    def time(self, executor: Executor, progress: Progress, groups: Sequence[TimingGroup]) -> None:
        """Time each of the groups once, and store each result when its job has ended."""
        self._run_jobs(executor, map(self._time_job, groups), progress)

    def _train(self, executor: Executor, progress: Progress, phase: str, cases: Sequence[Case]) -> None:
        """Train cases on all workers.

        Args:
            executor: runs the jobs.
            progress: displays the progress.
            phase: name of the phase in the display.
            cases: cases to train.
        """
        if not cases:
            return
        # The longest first, so that no worker starts a long job when the others are done.
        ordered = sorted(cases, key=self.pending.estimator.training_seconds, reverse=True)
        progress.start_phase(phase, len(ordered))
        self._run_jobs(executor, [self._train_job(case) for case in ordered], progress)

    def _apply_rates(self, progress: Progress) -> None:
        """Drop records whose learning rate is not the chosen one, and fail cases for which none can be chosen."""
        for case in self.pending.outdated:
            progress.report(f"{case.key} will run again: tuning now chooses another learning rate")
            self.pending.discard_record(case)
        for case in self.pending.unchosen:
            status, reason = why_no_rate(case, self.pending.records)
            check_run_exists(self.run)
            self._write(Record(key=case.key, case=case, status=status, reason=reason))

    def _run_jobs(self, executor: Executor, jobs: Iterable[Job], progress: Progress) -> None:
        timeout, fresh = self.request.timeout, self.pending.file.repeat > 1
        for result in executor.run(jobs, timeout=timeout, fresh=fresh, events=progress):
            self.utilization.add(result)
            self._store(result)
            progress.finish(result.worker)

    def _store(self, result: JobResult) -> None:
        check_run_exists(self.run)
        if isinstance(result.job, TrainJob):
            self._store_training(result.job.case, result.result, result.span)
        else:
            for case in result.job.cases:
                self._store_timing(case, result.result, result.span)

    def _store_training(self, case: Case, result: TrainingResult | Failure, span: Span) -> None:
        if isinstance(result, Failure):
            record = Record(key=case.key, case=case, status=result.status, reason=result.reason, spans=(span,))
            self._write(record)
            return
        weights = {"weights": result.weights} if result.weights else {}
        record = self.run.with_artifacts(result.record, weights | result.artifacts)
        found_by = self._rates_found_by.get(case.key)
        training = record.training
        if training is not None and found_by is not None:
            training = training.model_copy(update={"learning_rate_found_by": found_by})
        self._write(record.model_copy(update={"spans": (span,), "training": training}))

    def _store_timing(self, case: Case, result: dict[str, TimingResult] | Failure, span: Span) -> None:
        record, timing_probes = self.pending.records[case.key], self.pending.timing_probes
        spans = (*record.spans, span)
        if isinstance(result, Failure):
            failed = ProbeRun(status="failed", reason=f"{result.status}: {result.reason}", seconds=0.0)
            probes = record.probes | dict.fromkeys(timing_probes, failed)
            self._write(record.model_copy(update={"probes": probes, "spans": spans}))
            return
        timed = result[case.key]
        repetitions = record.repetitions if any(probe in record.probes for probe in timing_probes) else 0
        refused = [ran.reason for ran in timed.probes.values() if ran.status == "refused"]
        status = {"status": "inconsistent", "reason": refused[0]} if refused else {}
        new = tuple(measurement.model_copy(update={"process": repetitions}) for measurement in timed.measurements)
        probes = {probe: _with_earlier_seconds(ran, record.probes.get(probe)) for probe, ran in timed.probes.items()}
        changes = {
            "measurements": record.measurements + new,
            "probes": record.probes | probes,
            "repetitions": repetitions + 1,
            "spans": spans,
            **status,
        }
        self._write(record.model_copy(update=changes))

    def _write(self, record: Record) -> None:
        self.run.write(record)
        self.pending.add(record)

    def _train_job(self, case: Case) -> TrainJob:
        request, probes = self.request, self.pending.file.probes
        rate = None if case.tuning is None else self.pending.chosen_rate(case)
        return TrainJob(
            case=case,
            learning_rate=rate,
            device=request.device,
            probes=probes,
            plugins=request.plugins,
            run=self.run.id,
            expected_seconds=self.pending.estimator.training_seconds(case),
        )

    def _time_job(self, group: TimingGroup) -> TimeJob:
        return TimeJob(
            cases=group.cases,
            weights=tuple((self.run.artifacts(case.key) / WEIGHTS).read_bytes() for case in group.cases),
            probes=self.pending.timing_probes,
            timing=self.request.plan.timing,
            device=self.request.device,
            plugins=self.request.plugins,
            run=self.run.id,
        )


def has_weights(run: Run, case: Case) -> bool:
    """Return whether the trained weights of a case can be read."""
    try:
        return bool(safetensors.torch.load((run.artifacts(case.key) / WEIGHTS).read_bytes()))
    except (OSError, SafetensorError):
        return False


def check_run_exists(run: Run) -> None:
    """Raise `StoreError` if the run's folder has disappeared.

    Call this before each write, because writing recreates a missing folder.
    """
    if not (run.folder / "run.json").exists():
        raise StoreError(f"the run's folder {run.folder} has disappeared: rerun to start a new run")


def _with_earlier_seconds(ran: ProbeRun, earlier: ProbeRun | None) -> ProbeRun:
    """Return `ran` with the seconds of `earlier` added. `earlier` is None if no process has run the probe before."""
    return ran if earlier is None else ran.model_copy(update={"seconds": earlier.seconds + ran.seconds})
