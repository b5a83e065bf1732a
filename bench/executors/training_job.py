"""Run one training job: train a case, test it, and look inside the trained model."""

from __future__ import annotations

import time

import safetensors.torch
import torch

import arch
import tasks
from bench.executors.jobs import TrainingResult, TrainJob
from bench.machine.memory import watch_memory
from bench.plugins.loader import install
from bench.probes import Subject, accuracy, gates
from bench.training.loop import Report, train
from bench.training.model import build_model
from results import Measurement, Model, ProbeRun, Record


def run_training_job(job: TrainJob, report: Report) -> TrainingResult:
    """Train and test one case. A model whose numbers are not finite is recorded as diverged, without a score."""
    install(job.plugins)
    task = tasks.build(job.case.task)
    model = build_model(job.case, task).to(job.device)
    best: dict[str, torch.Tensor] = {}

    def keep_best() -> None:
        if job.case.protocol.keep_best:
            best.update((name, tensor.clone()) for name, tensor in model.state_dict().items())

    with watch_memory(torch.device(job.device)) as memory:
        training = train(model, task, job.case, report=report, on_best=keep_best)
    record = Record(
        key=job.case.key,
        case=job.case,
        status="diverged" if training.stopped == "diverged" else "ok",
        reason=f"loss or gradient not finite at step {training.steps}" if training.stopped == "diverged" else None,
        model=Model(
            parameters=arch.parameter_count(model),
            width=model.width,
            depth=job.case.depth,
        ),
        training=training,
    )
    artifacts: dict[str, bytes] = {}
    if record.status == "ok":
        subject = Subject(case=job.case, task=task, model=model)
        started = time.perf_counter()
        measurements, reference_scores = accuracy.measure(subject)
        if best:
            measurements += accuracy.measure_early_stopped(subject, best)
        measurements += memory.measurements("training")
        ran = ProbeRun(status="ok", seconds=time.perf_counter() - started)
        record = record.model_copy(
            update={
                "measurements": tuple(measurements),
                "reference_scores": tuple(reference_scores),
                "probes": {"accuracy": ran},
            }
        )
        if "gates" in job.probes:
            record, artifacts = _look_inside(record, subject)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    return TrainingResult(record=record, weights=safetensors.torch.save(state), artifacts=artifacts)


def _look_inside(record: Record, subject: Subject) -> tuple[Record, dict[str, bytes]]:
    """The record with what `gates` measured. Should the probe fail, the trained case is kept without it."""
    started = time.perf_counter()
    measurements: list[Measurement] = []
    artifacts: dict[str, bytes] = {}
    try:
        measurements, artifacts["traces"] = gates.measure(subject)
        ran = ProbeRun(status="ok", seconds=time.perf_counter() - started)
    except (RuntimeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        ran = ProbeRun(status="failed", reason=reason, seconds=time.perf_counter() - started)
    changes = {
        "measurements": (*record.measurements, *measurements),
        "probes": {**record.probes, "gates": ran},
    }
    return record.model_copy(update=changes), artifacts
