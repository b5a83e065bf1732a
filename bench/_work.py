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
from bench._plugins import Plugin, install
from bench._train import Report, flushes_denormals, train
from bench.probes import Subject, accuracy, gates, latency, limits, streaming
from bench.probes._memory import watch_memory
from results import Case, Measurement, Model, Probe, ProbeRun, Record

GATE_LENGTH = 64
"""Steps over which the gate compares step and scan; longer cases are compared on their beginning."""


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
class Trained:
    """A record after training, the trained weights as safetensors, and what else the probes keep, likewise."""

    record: Record
    weights: bytes = field(repr=False)
    artifacts: dict[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What the timing probes found of one case, to be added to its record."""

    measurements: tuple[Measurement, ...]
    probes: dict[Probe, ProbeRun]


def do_train(job: TrainJob, report: Report) -> Trained:
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
        measurements, lines = accuracy.measure(subject)
        if best:
            measurements += accuracy.measure_early_stopped(subject, best)
        measurements += memory.measurements("training")
        ran = ProbeRun(status="ok", seconds=time.perf_counter() - started)
        record = record.model_copy(
            update={"measurements": tuple(measurements), "lines": tuple(lines), "probes": {"accuracy": ran}}
        )
        if "gates" in job.probes:
            record, artifacts = _look_inside(record, subject)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    return Trained(record=record, weights=safetensors.torch.save(state), artifacts=artifacts)


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


def do_time(job: TimeJob) -> dict[str, Timed]:
    """Time a group, by case key. A model that fails the gate is refused and not timed."""
    install(job.plugins)
    subjects = [_load(case, weights, job.device) for case, weights in zip(job.cases, job.weights, strict=True)]
    refused: dict[str, str] = {}
    first_calls = {subject.case.key: latency.first_call(subject) for subject in subjects if "latency" in job.probes}
    for subject in subjects:
        inputs = subject.test_inputs(1, min(subject.case.length, _gate_length(subject.task)))
        if (reason := refusal(subject.model.eval(), inputs)) is not None:
            refused[subject.case.key] = reason
    fit = [subject for subject in subjects if subject.case.key not in refused]
    found: dict[str, list[Measurement]] = {subject.case.key: [] for subject in subjects}
    for key in first_calls.keys() - refused.keys():
        found[key].append(first_calls[key])
    seconds: dict[Probe, float] = {}
    backends = {
        (subject.case.key, probe): (streaming if probe == "streaming" else latency).backend_of(subject)
        for subject in fit
        for probe in job.probes
    }
    for key, measurements in limits.measure(fit, job.timing).items():
        found[key] += measurements
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
                else ProbeRun(
                    status="ok",
                    seconds=seconds[probe],
                    threads=torch.get_num_threads(),
                    flushes_denormals=flushes_denormals(),
                    backend=backends[key, probe],
                )
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
