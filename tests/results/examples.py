"""Example documents for the tests of `results`, with known values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from results import (
    Block,
    Case,
    Environment,
    EvalPoint,
    Measurement,
    Model,
    ProbeRun,
    Protocol,
    Record,
    ReferenceScores,
    RunFile,
    Store,
    Training,
)

FIXTURES = Path(__file__).parent / "fixtures"
DEADLINE = {"position": 128, "deadline_ns": 50_000}
METRICS_OF_4: list[tuple[str, dict[str, int], tuple[float, ...]]] = [
    ("call_step_seconds", {"position": 16}, (2e-05, 4e-05, 3e-05)),
    ("steps_per_reading", {"position": 16}, (1.0,)),
    ("stream_step_seconds", {"position": 128, "streams": 8}, (6e-05, 8e-05, 7e-05)),
    ("chunk_seconds", {"position": 128, "chunk": 16}, (2e-4, 4e-4, 3e-4)),
    ("late_share", DEADLINE, (0.125,)),
    ("worst_step_seconds", DEADLINE, (5e-4,)),
    ("deadline_steps", DEADLINE, (4096.0,)),
    ("loop_clock_seconds", {}, (2.5e-08,)),
    ("weight_bytes", {}, (14_152.0,)),
    ("workspace_bytes", {"position": 16}, (128.0,)),
]
METRICS_OF_5 = [*METRICS_OF_4, ("packed_weight_bytes", {"position": 16}, (28_304.0,))]
METRICS_OF_6 = [*METRICS_OF_5, ("sequences_until_solved", {}, (800.0,))]
NEW_METRICS: dict[str, list[tuple[str, dict[str, int], tuple[float, ...]]]] = {
    "schema-4": METRICS_OF_4,
    "schema-5": METRICS_OF_5,
    "schema-6": METRICS_OF_6,
    "schema-7": METRICS_OF_6,
    "schema-8": METRICS_OF_6,
}
"""The measurements of the fixtures whose metrics are new since version 4."""


def case(arch: str = "lstm:forget_bias=1", *, seed: int = 0, length: int = 32) -> Case:
    """Return an example case."""
    protocol = Protocol(steps=100, batch=8, learning_rate=3e-3)
    return Case(arch=arch, task="first_last", length=length, width=16, seed=seed, protocol=protocol)


def record(of: Case | None = None, **changes: Any) -> Record:
    """Return an example record of a case, with the fields in `changes` replaced."""
    of = of or case()
    whole = Record(
        key=of.key,
        case=of,
        status="ok",
        model=Model(parameters=3_538, width=16, depth=2),
        training=Training(
            steps=100,
            sequences=800,
            seconds=2.5,
            stopped="budget",
            threads=1,
            flushes_denormals=True,
            learning_rate=3e-3,
            curve=(EvalPoint(step=100, train_loss=None, validation_loss=0.25, validation_score=0.75),),
        ),
        reference_scores=(
            ReferenceScores(length=32, chance=0.5, memoryless_score=0.75),
            ReferenceScores(length=64, chance=0.5),
        ),
        measurements=(
            Measurement(metric="accuracy", at={"length": 32}, samples=(0.875,)),
            Measurement(metric="accuracy", at={"length": 64}, samples=(0.625,)),
            Measurement(
                metric="step_seconds",
                at={"position": 16},
                samples=(1e-05, 3e-05, 2e-05),
                blocks=(Block(calibration_seconds=0.001),),
            ),
        ),
        probes={"accuracy": ProbeRun(status="ok", seconds=0.5)},
        artifacts={"weights": f"artifacts/{of.key}/weights.safetensors"},
    )
    return Record.model_validate(whole.model_copy(update=changes).model_dump())


def run_file(id: str = "20260102-030405-quick-abc123", *cases: Case, **changes: Any) -> RunFile:
    """Return an example run file, with the fields in `changes` replaced."""
    whole = RunFile(
        id=id,
        plan="quick",
        plan_digest="0123456789",
        command="carousel run quick",
        code="9876543210",
        environment=Environment(
            cpu="a processor",
            cores=2,
            memory_bytes=1 << 34,
            system="Linux",
            python="3.11.0",
            torch="2.13.0",
            device="cpu",
            packages={"numpy": "2.0.0"},
        ),
        cases=cases or (case(),),
        probes=("accuracy",),
        workers=2,
        created="2026-01-02T03:04:05Z",
    )
    return whole.model_copy(update=changes)


def stored(store: Path, *seeds: int) -> tuple[Any, list[Record]]:
    """Create a run with one record per seed, and return the run with its records."""
    records = [record(case(seed=seed)) for seed in seeds]
    run = Store(store).create(run_file("20260102-030405-quick-abc123", *(each.case for each in records)))
    for each in records:
        run.write(each)
    return run, records
