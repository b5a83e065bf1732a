"""Synthetic runs that are equal up to noise, except for the changes that a test plants."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from results import Block, Case, Environment, Measurement, Model, ProbeRun, Protocol, Record, RunFile

CALIBRATION_SECONDS = 0.005
PROTOCOL = Protocol(steps=100)
Slower = Callable[[Case, str], float]
"""Function that returns the slow-down of a metric of a case, as the logarithm of the ratio of durations."""
Scored = Callable[[Case, np.random.Generator], float]
"""Function that returns the score of a case."""


def nothing(case: Case, metric: str) -> float:
    """Return 0: no case and no metric is slower."""
    return 0.0


def solved(case: Case, generator: np.random.Generator) -> float:
    """Return a score that depends on the seed only."""
    return 0.9 + 0.1 * case.seed / 10


def case_of(arch: str, task: str = "first_last", length: int = 32, seed: int = 0, **changes: Any) -> Case:
    return Case(
        **{"arch": arch, "task": task, "length": length, "seed": seed, "width": 16, "protocol": PROTOCOL} | changes
    )


def grid(
    archs: Sequence[str] = ("rnn", "lstm"), tasks: int = 2, lengths: Sequence[int] = (32,), seeds: int = 2
) -> list[Case]:
    """Return the cases of a plan.

    `grid(("rnn", "lstm", "gru", "transformer"), 3, (32, 128), 3)` is as large as the main grid of plan `quick`.

    Args:
        archs: Architectures.
        tasks: Number of tasks.
        lengths: Trained lengths, in time steps.
        seeds: Number of seeds per grid point.
    """
    return [
        case_of(arch, f"task{task}", length, seed)
        for arch in archs
        for task in range(tasks)
        for length in lengths
        for seed in range(seeds)
    ]


def run_of(
    cases: Iterable[Case],
    draw: int,
    *,
    processes: int = 6,
    noise: float = 0.05,
    slower: Slower = nothing,
    scored: Scored = solved,
    positions: Sequence[int] = (16, 128),
    samples: int = 3,
    calibration: float = CALIBRATION_SECONDS,
    **environment: Any,
) -> tuple[RunFile, list[Record]]:
    """Return a run file and its records.

    Timings are log-normal over processes. The seeds of a process share its noise.

    Args:
        cases: Cases of the run.
        draw: Seed of the noise; it is part of the run's id.
        processes: Number of fresh processes per timing.
        noise: Standard deviation of the logarithm of timings over processes.
        slower: Function that returns the slow-down of a metric of a case.
        scored: Function that returns the score of a case.
        positions: Positions of the streaming measurements, in steps.
        samples: Number of samples per timing and process.
        calibration: Duration of every calibration, in seconds.
        **environment: Fields of the environment that differ from the defaults.
    """
    cases = list(cases)
    generator = np.random.default_rng(draw)
    locations = [("forward_seconds", "batch", 1), ("forward_seconds", "batch", 32), ("train_step_seconds", "batch", 32)]
    locations += [("step_seconds", "position", position) for position in positions]
    shared: dict[tuple[object, ...], np.ndarray[Any, Any]] = {}
    records = []
    for case in cases:
        measurements = [
            Measurement(metric="accuracy", at={"length": times * case.length}, samples=(scored(case, generator),))
            for times in (1, 2, 4)
        ]
        for metric, kind, value in locations:
            group = (case.arch, case.task, case.length, metric, value)
            if group not in shared:
                shared[group] = noise * generator.standard_normal(processes)
            for process in range(processes):
                middle = 1e-4 * math.exp(shared[group][process] + slower(case, metric))
                measurements.append(
                    Measurement(
                        metric=metric,
                        at={kind: value},
                        samples=tuple(middle * (1 + 0.01 * (i - samples // 2)) for i in range(samples)),
                        blocks=(Block(calibration_seconds=calibration),),
                        process=process,
                    )
                )
        measurements.append(Measurement(metric="state_bytes", at={"position": 16}, samples=(512.0,)))
        records.append(
            Record(
                key=case.key,
                case=case,
                status="ok",
                model=Model(parameters=1000, width=16, depth=2),
                measurements=tuple(measurements),
                probes={probe: ProbeRun(status="ok", seconds=1.0) for probe in ("accuracy", "latency", "streaming")},
                repetitions=processes,
            )
        )
    file = RunFile(
        id=f"20260101-00000{draw % 10}-planted-{draw:06d}",
        plan="planted",
        plan_digest="0123456789",
        command="carousel run planted",
        code="9876543210",
        environment=Environment(
            **{
                "cpu": "a processor",
                "cores": 2,
                "memory_bytes": 1 << 34,
                "system": "Linux",
                "python": "3.11.0",
                "torch": "2.13.0",
                "device": "cpu",
                "host": "abc",
                "threads": 1,
            }
            | environment
        ),
        cases=tuple(cases),
        probes=("accuracy", "latency", "streaming"),
        workers=2,
        repeat=processes,
        created="2026-01-02T03:04:05Z",
        finished="2026-01-02T03:05:05Z",
    )
    return file, records
