"""Run one timing job: time a group of trained cases. The job reads and writes no files of the store.

Weights are passed as bytes, because a worker may share no file system with the process that writes the records.
"""

from __future__ import annotations

import random
import time

import torch

import tasks
from bench.executors.jobs import TimeJob, TimingResult
from bench.machine.denormals import flushes_denormals
from bench.plugins.loader import install
from bench.probes import roofline
from bench.probes.consistency import consistency_failure
from bench.probes.lookup import timing_probe
from bench.probes.subject import Subject
from bench.training.model import build_model, load_weights
from results import Case, Measurement, Probe, ProbeRun

CONSISTENCY_LENGTH = 64
"""Maximum number of steps in the consistency check, unless the task needs more."""
MAX_STREAMS = 64
"""Maximum number of parallel streams in the consistency check, because the compiled step reads no more."""


def run_timing_job(job: TimeJob) -> dict[str, TimingResult]:
    """Time a group of cases, and return the results by case key.

    If a model fails the consistency check, its result has no measurements, and its probes are refused. Raises
    `PluginError` if a plugin cannot be installed.
    """
    install(job.plugins)
    subjects = [load_subject(case, weights, job.device) for case, weights in zip(job.cases, job.weights, strict=True)]
    probes = {probe: timing_probe(probe) for probe in job.probes}
    first_calls = {
        subject.case.key: [m for probe in probes.values() for m in probe.measure_first_call(subject)]
        for subject in subjects
    }
    failures: dict[str, str] = {}
    for subject in subjects:
        if (reason := _inconsistency(subject, job)) is not None:
            failures[subject.case.key] = reason
    consistent = [subject for subject in subjects if subject.case.key not in failures]
    measurements: dict[str, list[Measurement]] = {
        key: [] if key in failures else first_call for key, first_call in first_calls.items()
    }
    backends = {
        (subject.case.key, name): probe.backend_of(subject) for subject in consistent for name, probe in probes.items()
    }
    for key, measured in roofline.measure(consistent, job.timing).items():
        measurements[key] += measured
    order = random.Random(" ".join(subject.case.key for subject in subjects))
    seconds: dict[Probe, float] = {}
    limitations: dict[tuple[str, Probe], str | None] = {}
    for name, probe in probes.items():
        started = time.perf_counter()
        timed = probe.measure(consistent, job.timing, order) if consistent else {}
        seconds[name] = (time.perf_counter() - started) / max(1, len(consistent))
        for subject in consistent:
            key = subject.case.key
            limitations[key, name] = probe.limitation(subject, job.timing, timed[key])
            measurements[key] += timed[key]
    return {
        key: TimingResult(
            measurements=tuple(measurements[key]),
            probes={
                name: ProbeRun(status="refused", reason=failures[key], seconds=0.0)
                if key in failures
                else ProbeRun(
                    status="ok",
                    reason=limitations[key, name],
                    seconds=seconds[name],
                    threads=torch.get_num_threads(),
                    flushes_denormals=flushes_denormals(),
                    backend=backends[key, name],
                )
                for name in job.probes
            },
        )
        for key in measurements
    }


def load_subject(case: Case, weights: bytes, device: str) -> Subject:
    """Rebuild a trained model from its safetensors bytes, and return it as a `Subject` for probes."""
    task = tasks.build(case.task).for_seed(case.seed)
    model = build_model(case, task)
    load_weights(model, weights)
    return Subject(case=case, task=task, model=model.to(torch.device(device)))


def _inconsistency(subject: Subject, job: TimeJob) -> str | None:
    """Return why a model must not be timed, or None. It is checked with as many parallel streams as are timed."""
    length = min(subject.case.length, _consistency_length(subject.task))
    batches = {1, *(count for count in job.timing.streams if count <= MAX_STREAMS and "streaming" in job.probes)}
    reasons = (
        consistency_failure(subject.model.eval(), subject.test_inputs(count, length)) for count in sorted(batches)
    )
    return next(filter(None, reasons), None)


def _consistency_length(task: tasks.Task) -> int:
    return max(CONSISTENCY_LENGTH, task.min_length)
