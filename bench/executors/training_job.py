"""Run one training job: train a case, then run the probes that need no quiet machine."""

from __future__ import annotations

import time

import torch

import arch
import tasks
from bench.errors import name_and_message
from bench.executors.jobs import TrainingResult, TrainJob
from bench.machine.memory import watch_memory
from bench.plugins.loader import install
from bench.probes.causality import causality_failure, inconsistency
from bench.probes.lookup import trained_model_probe
from bench.probes.subject import ProbeResult, Subject, Weights
from bench.training.loop import Report, train
from bench.training.model import build_model, describe_model, pack_weights
from bench.training.schedule import sequences_after
from results import TIMING_PROBES, Case, Measurement, Probe, ProbeRun, Record, Training, solved_score
from results.specs import Spec


def run_training_job(job: TrainJob, report: Report) -> TrainingResult:
    """Train and test one case, and return its record, weights and artifacts.

    `report` receives the progress of the training. If a loss or gradient is not finite, the record has the status
    `diverged`, and the case is not tested. If the model of a plugin is not causal, or if its `step` differs from its
    `scan`, the record has the status `inconsistent` and no score. Raises `PluginError` if a plugin cannot be installed.

    A case that only serves to choose a learning rate is trained and nothing else. No test data are sampled for it, and
    its record has the curve of its training but no measurements. An untrained case is neither trained nor tested: the
    result has its initial weights, and a record without training or measurements.
    """
    install(job.plugins)
    return train_and_test(job, report)


def train_and_test(job: TrainJob, report: Report) -> TrainingResult:
    """Do the work of `run_training_job` with the plugins of this process."""
    task = tasks.build(job.case.task).for_seed(job.case.seed)
    model = build_model(job.case, task).to(job.device)
    if not job.case.is_reported:
        training = train(model, task, job.case, report=report)
        return TrainingResult(record=_record_of(job.case, task, model, training), weights=b"")
    best_weights: Weights = {}
    subject = Subject(case=job.case, task=task, model=model, best_weights=best_weights)
    is_plugin = Spec.parse_stored(job.case.arch).name not in arch.built_in()
    if is_plugin and (reason := causality_failure(subject)) is not None:
        return _inconsistent(subject, reason)

    def keep_best() -> None:
        if job.case.protocol.keep_best:
            best_weights.update((name, tensor.clone()) for name, tensor in model.state_dict().items())

    if not job.case.protocol.trains:
        if is_plugin and (reason := inconsistency(subject)) is not None:
            return _inconsistent(subject, reason)
        return TrainingResult(record=_record_of(job.case, task, model, None), weights=pack_weights(model))
    with watch_memory(torch.device(job.device)) as memory:
        training = train(model, task, job.case, learning_rate=job.learning_rate, report=report, on_best=keep_best)
    if is_plugin and training.stopped != "diverged" and (reason := inconsistency(subject)) is not None:
        return _inconsistent(subject, reason)
    record = _record_of(job.case, task, model, training)
    artifacts: dict[str, bytes] = {}
    if record.status == "ok":
        started = time.perf_counter()
        result = trained_model_probe("accuracy").measure(subject)
        record = _with_result(record, "accuracy", result, ProbeRun(status="ok", seconds=time.perf_counter() - started))
        measurements = (
            *record.measurements,
            *sequences_until_solved(job.case, training, task.chance(job.case.length)),
            *memory.measurements("training"),
        )
        record = record.model_copy(update={"measurements": measurements})
        artifacts |= result.artifacts
        for probe in job.probes:
            if probe != "accuracy" and probe not in TIMING_PROBES:
                result, ran = _run_probe(probe, subject)
                record = _with_result(record, probe, result, ran)
                artifacts |= result.artifacts
    return TrainingResult(record=record, weights=pack_weights(model), artifacts=artifacts)


def sequences_until_solved(case: Case, training: Training, chance: float) -> list[Measurement]:
    """Return the number of training sequences until the first validation that reached `solved_at` of the protocol.

    The list is empty if no validation did. `chance` is the chance level at the trained length.
    """
    goal = solved_score(chance, case.protocol.solved_at)
    reached = next((point.step for point in training.curve if point.validation_score >= goal), None)
    if reached is None:
        return []
    count = float(sequences_after(case.protocol, reached))
    return [Measurement(metric="sequences_until_solved", samples=(count,))]


def _inconsistent(subject: Subject, reason: str) -> TrainingResult:
    """Return the result of a case whose score must not be shown. It has no training curve either."""
    case = subject.case
    record = Record(
        key=case.key,
        case=case,
        status="inconsistent",
        reason=reason,
        model=describe_model(case, subject.task, subject.model),
    )
    return TrainingResult(record=record, weights=pack_weights(subject.model))


def _record_of(case: Case, task: tasks.Task, model: arch.SequenceModel, training: Training | None) -> Record:
    """Return the record of a case that was trained but not tested yet, or not trained at all."""
    diverged = training is not None and training.stopped == "diverged"
    return Record(
        key=case.key,
        case=case,
        status="diverged" if diverged else "ok",
        reason=f"loss or gradient not finite at step {training.steps}" if training and diverged else None,
        model=describe_model(case, task, model),
        training=training,
    )


def _run_probe(probe: Probe, subject: Subject) -> tuple[ProbeResult, ProbeRun]:
    """Run a probe, and return its result with its status and duration.

    If the probe raises `RuntimeError` or `ValueError`, return an empty result, so that the trained case is not lost.
    """
    module = trained_model_probe(probe)
    started = time.perf_counter()
    try:
        result = module.measure(subject)
        return result, ProbeRun(status="ok", seconds=time.perf_counter() - started)
    except (RuntimeError, ValueError) as error:
        ran = ProbeRun(status="failed", reason=name_and_message(error), seconds=time.perf_counter() - started)
        return ProbeResult(measurements=[]), ran


def _with_result(record: Record, probe: Probe, result: ProbeResult, ran: ProbeRun) -> Record:
    """Return the record with the results of a probe added.

    Args:
        record: the record so far.
        probe: the probe that ran.
        result: measurements and reference scores of the probe.
        ran: status and duration of the probe.
    """
    changes = {
        "measurements": (*record.measurements, *result.measurements),
        "reference_scores": (*record.reference_scores, *result.reference_scores),
        "probes": {**record.probes, probe: ran},
    }
    return record.model_copy(update=changes)
