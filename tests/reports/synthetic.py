"""A synthetic run with known numbers, for tests of tables, figures and the page."""

from __future__ import annotations

import math
import random
from functools import cache

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
    Training,
)
from results.specs import Spec

ARCHS = ("rnn:init=orthogonal", "lstm:forget_bias=1", "gru", "transformer")
TASKS = ("first_last", "adding", "copy_memory")
LENGTHS = (32, 128)
SEEDS = 3
POSITIONS = tuple(2**power for power in range(15))
CHANCE = {"first_last": 0.5, "adding": 0.0784, "copy_memory": 0.125}
MEMORYLESS = {"first_last": 0.75}
PROTOCOL = Protocol(steps=800, solved_after=3)
CALIBRATION_SECONDS = 0.005

SCORES = {
    ("rnn", "first_last"): (0.97, 0.76),
    ("rnn", "adding"): (0.35, 0.09),
    ("rnn", "copy_memory"): (0.32, 0.13),
    ("lstm", "first_last"): (0.985, 0.95),
    ("lstm", "adding"): (0.96, 0.71),
    ("lstm", "copy_memory"): (0.55, 0.14),
    ("gru", "first_last"): (0.99, 0.96),
    ("gru", "adding"): (0.998, 0.9),
    ("gru", "copy_memory"): (0.91, 0.4),
    ("transformer", "first_last"): (0.98, 0.97),
    ("transformer", "adding"): (0.9, 0.6),
    ("transformer", "copy_memory"): (0.999, 0.999),
}
"""Mean scores over seeds at the trained lengths `LENGTHS`, by architecture and task."""
STEP_SECONDS = {"rnn": 33e-6, "lstm": 46e-6, "gru": 51e-6, "transformer": 70e-6}
"""Seconds of a step inside a compiled loop."""
CALL_SECONDS = 8e-6
"""Seconds that a call from Python adds to a step."""
CHUNKS = (1, 4, 16, 64, 256)
STREAMS = (1, 8, 64)
PROBED_POSITION = 128
"""The position of chunks, streams and deadlines."""
DEADLINE_NS = 60_000
STATE_BYTES = {"rnn": 640, "lstm": 1024, "gru": 640, "transformer": 512}

DIVERGED = ("rnn:init=orthogonal", "adding", 128, 1)
TIMEOUT = ("transformer", "copy_memory", 128, 2)
REFUSED = ("gru", "first_last", 32, 0)
MISSING = ("lstm:forget_bias=1", "copy_memory", 128, 2)


def base(specification: str) -> str:
    return Spec.parse_stored(specification).name


def case(arch: str, task: str, length: int, seed: int) -> Case:
    return Case(arch=arch, task=task, length=length, params=20_000, seed=seed, protocol=PROTOCOL)


def cases() -> list[Case]:
    return [
        case(arch, task, length, seed)
        for task in TASKS
        for length in LENGTHS
        for arch in ARCHS
        for seed in range(SEEDS)
    ]


def run(planned: list[Case] | None = None, **changes: object) -> RunFile:
    fields: dict[str, object] = {
        "id": "20260101-120000-quick",
        "plan": "quick",
        "plan_digest": "0123456789",
        "command": "carousel run quick",
        "code": "0123456789",
        "environment": Environment(
            cpu="Imagined CPU at 2.0 GHz",
            cores=2,
            memory_bytes=8 * 2**30,
            system="Linux",
            python="3.11.7",
            torch="2.13.0",
            device="cpu",
        ),
        "cases": tuple(cases() if planned is None else planned),
        "probes": ("accuracy", "latency", "streaming"),
        "workers": 2,
        "created": "2026-01-01T12:00:00+00:00",
        "finished": "2026-01-01T12:04:10+00:00",
    }
    return RunFile(**(fields | changes))  # type: ignore[arg-type]


def score(case: Case, length: int) -> float:
    """Return the score of a case at a test length.

    At the trained length, the mean over seeds is the score in `SCORES`. With each doubling of the length, this mean
    approaches the best score without memory. Scores vary by ± 0.03 over seeds if the mean in `SCORES` is below 0.98.
    """
    trained = SCORES[base(case.arch), base(case.task)][LENGTHS.index(case.length)]
    floor = max(CHANCE[base(case.task)], MEMORYLESS.get(base(case.task), 0.0))
    remaining = {"transformer": 0.35, "rnn": 0.6}.get(base(case.arch), 0.8) ** math.log2(length / case.length)
    return round(min(1.0, floor + (trained - floor) * float(remaining) + 0.03 * (case.seed - 1) * (trained < 0.98)), 4)


def reference_scores(case: Case) -> tuple[ReferenceScores, ...]:
    return tuple(
        ReferenceScores(length=length, chance=CHANCE[base(case.task)], memoryless_score=MEMORYLESS.get(base(case.task)))
        for length in (case.length, 2 * case.length, 4 * case.length)
    )


def step_samples(case: Case, position: int, count: int = 60) -> tuple[float, ...]:
    arch = base(case.arch)
    middle = STEP_SECONDS[arch] + (45e-9 * position if arch == "transformer" else 0.0)
    noise = random.Random(f"{case.key} {position}")
    return tuple(middle * (1 + 0.02 * case.seed) * math.exp(abs(noise.gauss(0, 0.12))) for _ in range(count))


def curve(case: Case, stopped: str) -> tuple[EvalPoint, ...]:
    final, chance = score(case, case.length), CHANCE[base(case.task)]
    noise = random.Random(case.key)
    last_step = {"solved": 500, "diverged": 300}.get(stopped, 800)
    points = []
    for step in range(0, last_step + 1, 50):
        share = 1 / (1 + math.exp(-(step - 150 - 20 * case.seed) / 30))
        reached = chance + (final - chance) * share + noise.gauss(0, 0.01)
        not_finite = stopped == "diverged" and step == last_step
        points.append(
            EvalPoint(
                step=step,
                train_loss=None if not_finite else 1 - 0.8 * share,
                validation_loss=None if not_finite else 1 - 0.75 * share,
                validation_score=min(1.0, max(0.0, reached)),
            )
        )
    return tuple(points)


@cache
def record(case: Case) -> Record:
    """Return the record of a case that succeeded, with measurements at all positions."""
    arch = base(case.arch)
    state_factors = POSITIONS if arch == "transformer" else [1] * len(POSITIONS)
    measurements = [
        *(
            Measurement(metric="accuracy", at={"length": n}, samples=(score(case, n),))
            for n in (reference.length for reference in reference_scores(case))
        ),
        *(
            Measurement(
                metric="forward_seconds",
                at={"batch": batch},
                samples=tuple(STEP_SECONDS[arch] * case.length * batch**0.5 * (1 + 0.01 * n) for n in range(5)),
                blocks=(Block(calibration_seconds=CALIBRATION_SECONDS),) * 5,
            )
            for batch in (1, 32)
        ),
        *(
            Measurement(
                metric="step_seconds",
                at={"position": position},
                samples=step_samples(case, position),
                blocks=(Block(calibration_seconds=CALIBRATION_SECONDS),),
            )
            for position in POSITIONS
        ),
        *(
            Measurement(
                metric="call_step_seconds",
                at={"position": position},
                samples=tuple(CALL_SECONDS + seconds for seconds in step_samples(case, position, count=20)),
                blocks=(Block(calibration_seconds=CALIBRATION_SECONDS),),
            )
            for position in POSITIONS
        ),
        *streaming_extras(case),
        *(
            Measurement(metric="state_bytes", at={"position": position}, samples=(float(STATE_BYTES[arch] * factor),))
            for position, factor in zip(POSITIONS, state_factors, strict=True)
        ),
    ]
    solved = score(case, case.length) >= 0.99
    return Record(
        key=case.key,
        case=case,
        status="ok",
        model=Model(parameters=20_000 + len(arch), width=40, depth=2),
        training=training(case, "solved" if solved else "budget"),
        reference_scores=reference_scores(case),
        measurements=tuple(measurements),
        probes={
            "accuracy": ProbeRun(status="ok", seconds=0.5),
            "latency": ProbeRun(status="ok", seconds=0.5),
            "streaming": ProbeRun(status="ok", seconds=2.0),
        },
    )


def streaming_extras(case: Case) -> list[Measurement]:
    """Return timings of chunks, streams and a deadline, sizes on a device, and the limits of the machine.

    In a chunk of n steps, each takes 1 / √n of a single step. A quarter of the cost is shared by all streams.
    """
    arch = base(case.arch)
    seconds, at = STEP_SECONDS[arch] * (1 + 0.02 * case.seed), {"position": PROBED_POSITION}
    deadline = at | {"deadline_ns": DEADLINE_NS}
    return [
        *(
            Measurement(metric="chunk_seconds", at=at | {"chunk": chunk}, samples=(seconds * chunk**0.5,) * 3)
            for chunk in CHUNKS
        ),
        *(
            Measurement(
                metric="stream_step_seconds",
                at=at | {"streams": streams},
                samples=(seconds * (0.25 + 0.75 * streams),) * 3,
            )
            for streams in STREAMS
        ),
        Measurement(metric="late_share", at=deadline, samples=(0.001 * (case.seed + 1),)),
        Measurement(metric="worst_step_seconds", at=deadline, samples=(2 * seconds,)),
        Measurement(metric="deadline_steps", at=deadline, samples=(1e6,)),
        Measurement(metric="weight_bytes", samples=(4.0 * (20_000 + len(arch)),)),
        *(
            Measurement(metric=metric, at={"position": position}, samples=(value,))
            for position in POSITIONS
            for metric, value in (
                ("workspace_bytes", 4096.0),
                ("packed_weight_bytes", 16384.0),
                ("step_flops", 40e3),
                ("step_bytes", 80e3),
            )
        ),
        Measurement(metric="matmul_flops_per_second", at={"batch": 1, "rows": 1}, samples=(8e9,)),
        *(
            Measurement(metric="read_bytes_per_second", at={"position": position}, samples=(10e9,))
            for position in POSITIONS
        ),
    ]


def interpreted(record: Record) -> Record:
    """Return a record as of an architecture without a compiled step: steps were timed only as calls from Python."""
    probes = record.probes | {"streaming": record.probes["streaming"].model_copy(update={"backend": "reference"})}
    return called(record).model_copy(update={"probes": probes})


def called(record: Record) -> Record:
    """Return a record as migrated from a version that timed only calls from Python."""
    new = {"step_seconds", "stream_step_seconds", "chunk_seconds", "late_share", "worst_step_seconds"}
    new |= {"deadline_steps", "weight_bytes", "workspace_bytes", "packed_weight_bytes"}
    kept = tuple(measurement for measurement in record.measurements if measurement.metric not in new)
    return record.model_copy(update={"measurements": kept})


def renamed(case: Case, *, arch: str, task: str | None = None) -> Record:
    """Return the record of a case under another architecture name and, unless `task` is None, another task name."""
    other = case.model_copy(update={"arch": arch, "task": case.task if task is None else task})
    return record(case).model_copy(update={"case": other, "key": other.key})


def training(case: Case, stopped: str) -> Training:
    points = curve(case, stopped)
    return Training(
        steps=points[-1].step,
        sequences=32 * points[-1].step,
        seconds=8.0,
        stopped=stopped,  # type: ignore[arg-type]
        threads=1,
        flushes_denormals=True,
        curve=points,
    )


def sound_records() -> list[Record]:
    """Return the records of all cases, none of which failed."""
    return [record(case) for case in cases()]


def records() -> list[Record]:
    """Return the records of all cases except `MISSING`. The cases `DIVERGED`, `TIMEOUT` and `REFUSED` failed."""
    made = []
    for case in cases():
        identity = (case.arch, case.task, case.length, case.seed)
        sound = record(case)
        if identity == MISSING:
            continue
        if identity == DIVERGED:
            changes = {
                "status": "diverged",
                "reason": "the loss was not finite at step 300",
                "training": training(case, "diverged"),
                "measurements": (),
                "probes": {},
            }
        elif identity == TIMEOUT:
            changes = {
                "status": "timeout",
                "reason": "no result within 120 s",
                "model": None,
                "training": None,
                "reference_scores": (),
                "measurements": (),
                "probes": {},
            }
        elif identity == REFUSED:
            reason = "scan and step differ by 3e-2 at position 7 (allowed: 1e-4)"
            changes = {
                "status": "inconsistent",
                "reason": reason,
                "measurements": tuple(sound.of("accuracy")),
                "probes": sound.probes
                | {
                    "latency": ProbeRun(status="refused", reason=reason, seconds=0.0),
                    "streaming": ProbeRun(status="refused", reason=reason, seconds=0.1),
                },
            }
        else:
            changes = {}
        made.append(sound.model_copy(update=changes))
    return made
