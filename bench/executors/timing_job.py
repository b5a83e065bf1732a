"""What a lane does: train a case, or time a group of trained ones. Nothing here touches the store.

Weights travel as bytes, so that a lane needs no disk in common with the one who keeps the records.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import safetensors.torch
import torch

import tasks
from bench.executors.jobs import TimeJob, TimingResult
from bench.machine.denormals import flushes_denormals
from bench.plans.plan import Timing
from bench.plugins.loader import install
from bench.probes import Subject, latency, roofline, streaming
from bench.probes.consistency import refusal
from bench.training.model import build_model
from results import Case, Measurement, Probe, ProbeRun

CONSISTENCY_LENGTH = 64
"""Steps over which the gate compares step and scan; longer cases are compared on their beginning."""


def run_timing_job(job: TimeJob) -> dict[str, TimingResult]:
    """Time a group, by case key. A model that fails the gate is refused and not timed."""
    install(job.plugins)
    subjects = [load_subject(case, weights, job.device) for case, weights in zip(job.cases, job.weights, strict=True)]
    refused: dict[str, str] = {}
    first_calls = {subject.case.key: latency.first_call(subject) for subject in subjects if "latency" in job.probes}
    for subject in subjects:
        inputs = subject.test_inputs(1, min(subject.case.length, _consistency_length(subject.task)))
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
    for key, measurements in roofline.measure(fit, job.timing).items():
        found[key] += measurements
    order = random.Random(" ".join(subject.case.key for subject in subjects))
    for probe in job.probes:
        started = time.perf_counter()
        measured = _measure(probe, fit, job.timing, order) if fit else {}
        seconds[probe] = (time.perf_counter() - started) / max(1, len(fit))
        for key, measurements in measured.items():
            found[key] += measurements
    return {
        key: TimingResult(
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


def load_subject(case: Case, weights: bytes, device: str) -> Subject:
    """Rebuild a trained model from its safetensors bytes."""
    task = tasks.build(case.task)
    model = build_model(case, task)
    model.load_state_dict(safetensors.torch.load(weights))
    return Subject(case=case, task=task, model=model.to(torch.device(device)))


def _consistency_length(task: tasks.Task) -> int:
    return max(CONSISTENCY_LENGTH, task.min_length)
