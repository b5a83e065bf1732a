"""Tests of the probes: `PROBES` lists all of them, and each yields the metrics that `METRICS` assigns to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from bench.executors.jobs import TimeJob, TrainJob
from bench.executors.timing_job import run_timing_job
from bench.executors.training_job import run_training_job
from bench.probes import deadline
from results import PROBES, TIMING_PROBES, Measurement, Probe, Record, metrics_of
from tests.bench.tiny import TIMING, tiny_case

HOME = Path(__file__).resolve().parents[3]
CASE = tiny_case("lstm", length=8, keep_best=True)
MEMORY_OF_TRAINING = {"training_peak_bytes", "training_added_bytes"}
"""Metrics that the training job itself measures."""
ROOFLINE = {
    "forward_flops",
    "matmul_flops_per_second",
    "fma_flops_per_second",
    "read_bytes_per_second",
    "step_bytes",
    "step_flops",
    "train_step_flops",
}
"""Metrics that every timing job measures."""


def names_of(measurements: tuple[Measurement, ...]) -> set[str]:
    return {measurement.metric for measurement in measurements}


def train(*probes: Probe) -> tuple[Record, bytes]:
    result = run_training_job(TrainJob(case=CASE, probes=probes), lambda *_: None)
    return result.record, result.weights


def test_table_lists_the_stored_vocabulary() -> None:
    assert tuple(sorted(PROBES)) == tuple(sorted(get_args(Probe)))
    assert sorted(TIMING_PROBES) == ["latency", "streaming"]


@pytest.mark.parametrize("probe", sorted(PROBES.keys() - TIMING_PROBES))
def test_training_job_yields_the_metrics_of_its_probes(probe: Probe) -> None:
    record, _ = train("accuracy", probe)
    listed = metrics_of("accuracy") | metrics_of(probe)
    assert set(record.probes) == {"accuracy", probe}
    assert names_of(record.measurements) - MEMORY_OF_TRAINING == listed - {"mse"}  # the task has classes


@pytest.mark.parametrize("probe", sorted(TIMING_PROBES))
def test_timing_job_yields_the_metrics_of_its_probe(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check a timing with a deadline and with so many streams that they are called from Python."""
    monkeypatch.setattr(deadline, "MAX_STEPS", 10)
    _, weights = train("accuracy")
    timing = TIMING.model_copy(update={"deadline_seconds": 1e-3, "streams": (1, 65)})
    job = TimeJob(cases=(CASE,), weights=(weights,), probes=(probe,), timing=timing)
    (result,) = run_timing_job(job).values()
    assert set(result.probes) == {probe}
    assert names_of(result.measurements) - ROOFLINE == metrics_of(probe)


def test_training_job_ignores_timing_probes() -> None:
    record, _ = train("accuracy", *sorted(TIMING_PROBES))
    assert set(record.probes) == {"accuracy"}


def test_training_job_records_the_reference_scores_of_every_length() -> None:
    record, _ = train("accuracy")
    lengths = [measurement.at["length"] for measurement in record.of("accuracy")]
    assert [scores.length for scores in record.reference_scores] == lengths != []


def test_importing_the_lookup_does_not_load_torch() -> None:
    code = "import sys, bench.probes.lookup; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=HOME, check=False).returncode == 0
