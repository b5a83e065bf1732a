"""Results of jobs record threads, backend, denormals and memory, but no names of people, hosts or paths."""

from __future__ import annotations

import getpass
import platform
from pathlib import Path

import pytest
import safetensors.torch
import torch

import tasks
from bench.executors.jobs import TimeJob, TrainJob
from bench.executors.timing_job import run_timing_job
from bench.executors.training_job import run_training_job
from bench.machine.denormals import flushes_denormals
from results import Case, Probe
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline
from tests.bench.tiny import TIMING, subject, tiny_case

__all__ = ["carousel", "inline"]

PROBES: tuple[Probe, ...] = ("latency", "streaming")
ROOFLINE_METRICS = {
    "forward_flops",
    "train_step_flops",
    "step_flops",
    "step_bytes",
    "matmul_flops_per_second",
    "fma_flops_per_second",
    "read_bytes_per_second",
}


def timing_job(case: Case, probe: Probe) -> TimeJob:
    trained = subject(case.arch).model.state_dict()
    weights = safetensors.torch.save({name: tensor.contiguous() for name, tensor in trained.items()})
    return TimeJob(cases=(case.model_copy(update={"depth": 2}),), weights=(weights,), probes=(probe,), timing=TIMING)


@pytest.mark.parametrize(
    ("arch", "probe", "backend"),
    [
        ("lstm:backend=fused", "latency", "fused"),
        ("lstm:backend=reference", "latency", "reference"),
        ("lstm:backend=fused", "streaming", "fused"),
        ("lstm:backend=reference", "streaming", "reference"),
        ("transformer", "latency", "fused"),
        ("transformer:backend=reference", "streaming", "reference"),
    ],
)
def test_each_probe_records_its_backend_and_threads(arch: str, probe: Probe, backend: str) -> None:
    (result,) = run_timing_job(timing_job(tiny_case(arch), probe)).values()
    ran = result.probes[probe]
    assert (ran.status, ran.backend, ran.threads) == ("ok", backend, torch.get_num_threads())
    assert ran.flushes_denormals is flushes_denormals()


def test_exactly_the_timed_metrics_have_blocks() -> None:
    for probe in PROBES:
        (result,) = run_timing_job(timing_job(tiny_case("gru"), probe)).values()
        with_blocks = {m.metric for m in result.measurements if m.blocks}
        without = {m.metric for m in result.measurements if not m.blocks}
        assert (
            with_blocks
            == {
                "latency": {"forward_seconds", "train_step_seconds"},
                "streaming": {"step_seconds", "call_step_seconds", "stream_step_seconds", "chunk_seconds"},
            }[probe]
        )
        own = {
            "latency": {"first_call_seconds"},
            "streaming": {
                *("clock_seconds", "loop_clock_seconds", "steps_per_reading"),
                *(
                    "weight_bytes",
                    "state_bytes",
                    "workspace_bytes",
                    "packed_weight_bytes",
                    "streaming_peak_bytes",
                    "streaming_added_bytes",
                ),
            },
        }
        assert without == own[probe] | ROOFLINE_METRICS
        assert all(len(m.samples) % len(m.blocks) == 0 for m in result.measurements if m.blocks)


def test_training_stores_the_reference_scores_of_every_tested_length() -> None:
    record = run_training_job(TrainJob(case=tiny_case(evaluate_at=("1x", "2x"))), lambda *_: None).record
    task = tasks.build(record.case.task)
    assert [score.length for score in record.reference_scores] == [4, 8]
    assert [score.chance for score in record.reference_scores] == [task.chance(4), task.chance(8)]


def test_training_records_its_peak_memory() -> None:
    record = run_training_job(TrainJob(case=tiny_case()), lambda *_: None).record
    (peak,), (added,) = (record.of(f"training_{kind}_bytes")[0].samples for kind in ("peak", "added"))
    assert 0 <= added < peak


def test_stored_files_name_no_person_host_or_path(
    carousel: Carousel, inline: Inline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Give the user, the host and paths recognisable names. Check that no stored JSON file contains the names."""
    monkeypatch.setattr(platform, "node", lambda: "zebra-host")
    monkeypatch.setattr("socket.gethostname", lambda: "zebra-host")
    monkeypatch.setattr(getpass, "getuser", lambda: "zebra-user")
    for variable in ("USER", "LOGNAME", "USERNAME", "HOME", "HOSTNAME"):
        monkeypatch.setenv(variable, str(tmp_path / "zebra"))
    plan = (tmp_path / "tiny.toml").rename(tmp_path / "zebra-plan.toml").rename(tmp_path / "own.toml")
    completed = carousel("run", str(plan), "-q", "--store", str(tmp_path / "zebra-store"))
    assert completed.code == 0
    files = sorted((tmp_path / "zebra-store").rglob("*.json"))
    assert len(files) == 1 + 4
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert "zebra" not in text
        assert str(tmp_path) not in text
        assert str(Path(__file__).resolve().parents[3]) not in text
