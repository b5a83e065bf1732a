"""What a lane does: train a case, or time a group of trained ones. Nothing here touches the store.

Weights travel as bytes, so that a lane needs no disk in common with the one who keeps the records.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import safetensors.torch
import torch

import arch
import tasks
from bench._build import build_model
from bench._gate import refusal
from bench._plan import Timing
from bench._train import Report, train
from bench.probes import Subject, accuracy, latency, streaming
from results import Case, Measurement, Model, Probe, ProbeRun, Record

GATE_LENGTH = 64
"""Steps over which the gate compares step and scan; longer cases are compared on their beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """Train one case and test it."""

    case: Case
    device: str = "cpu"

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


Job = TrainJob | TimeJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A record after training, and the trained weights as safetensors."""

    record: Record
    weights: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What the timing probes found of one case, to be added to its record."""

    measurements: tuple[Measurement, ...]
    probes: dict[Probe, ProbeRun]


def do_train(job: TrainJob, report: Report) -> Trained:
    """Train and test one case. A model whose numbers are not finite is recorded as diverged, without a score."""
    task = tasks.build(job.case.task)
    model = build_model(job.case, task).to(job.device)
    training = train(model, task, job.case, report=report)
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
    if record.status == "ok":
        started = time.perf_counter()
        measurements, lines = accuracy.measure(Subject(case=job.case, task=task, model=model))
        ran = ProbeRun(status="ok", seconds=time.perf_counter() - started)
        record = record.model_copy(
            update={"measurements": tuple(measurements), "lines": tuple(lines), "probes": {"accuracy": ran}}
        )
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    return Trained(record=record, weights=safetensors.torch.save(state))


def do_time(job: TimeJob) -> dict[str, Timed]:
    """Time a group, by case key. A model that fails the gate is refused and not timed."""
    subjects = [_load(case, weights, job.device) for case, weights in zip(job.cases, job.weights, strict=True)]
    refused: dict[str, str] = {}
    for subject in subjects:
        inputs = subject.test_inputs(1, min(subject.case.length, _gate_length(subject.task)))
        if (reason := refusal(subject.model.eval(), inputs)) is not None:
            refused[subject.case.key] = reason
    fit = [subject for subject in subjects if subject.case.key not in refused]
    found: dict[str, list[Measurement]] = {subject.case.key: [] for subject in subjects}
    seconds: dict[Probe, float] = {}
    order = random.Random(" ".join(subject.case.key for subject in subjects))
    for probe in job.probes:
        started = time.perf_counter()
        measured = _measure(probe, fit, job.timing, order) if fit else {}
        seconds[probe] = (time.perf_counter() - started) / max(1, len(fit))
        for key, measurements in measured.items():
            found[key] += measurements
    return {
        key: Timed(
            measurements=tuple(found[key]),
            probes={
                probe: ProbeRun(status="refused", reason=refused[key], seconds=0.0)
                if key in refused
                else ProbeRun(status="ok", seconds=seconds[probe])
                for probe in job.probes
            },
        )
        for key in found
    }


def _measure(
    probe: Probe, subjects: Sequence[Subject], timing: Timing, order: random.Random
) -> dict[str, list[Measurement]]:
    if probe == "latency":
        return latency.measure(subjects, timing, order)
    assert probe == "streaming"
    return streaming.measure(subjects, timing, order)


def _load(case: Case, weights: bytes, device: str) -> Subject:
    task = tasks.build(case.task)
    model = build_model(case, task)
    model.load_state_dict(safetensors.torch.load(weights))
    return Subject(case=case, task=task, model=model.to(torch.device(device)))


def _gate_length(task: tasks.Task) -> int:
    return max(GATE_LENGTH, task.min_length)
