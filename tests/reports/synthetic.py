"""A run as a bench would write it, made of numbers that are known: for tests of tables, figures and page."""

from __future__ import annotations

import math
import random

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

ARCHS = ("rnn:init=orthogonal", "lstm:forget_bias=1", "gru", "transformer")
TASKS = ("first_last", "adding", "copy_memory")
LENGTHS = (32, 128)
SEEDS = 3
POSITIONS = tuple(2**power for power in range(15))
CHANCE = {"first_last": 0.5, "adding": 0.0784, "copy_memory": 0.125}
BLIND = {"first_last": 0.75}
PROTOCOL = Protocol(steps=800, solved_after=3)
PULSE_SECONDS = 0.005

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
STEP_SECONDS = {"rnn": 33e-6, "lstm": 46e-6, "gru": 51e-6, "transformer": 70e-6}
STATE_BYTES = {"rnn": 640, "lstm": 1024, "gru": 640, "transformer": 512}

DIVERGED = ("rnn:init=orthogonal", "adding", 128, 1)
TIMEOUT = ("transformer", "copy_memory", 128, 2)
REFUSED = ("gru", "first_last", 32, 0)
MISSING = ("lstm:forget_bias=1", "copy_memory", 128, 2)


def base(specification: str) -> str:
    return specification.split(":")[0]


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


def score(one: Case, length: int) -> float:
    """Known by heart: the table's value, less with each doubling beyond the trained length, ± .03 over the seeds."""
    trained = SCORES[base(one.arch), base(one.task)][LENGTHS.index(one.length)]
    floor = max(CHANCE[base(one.task)], BLIND.get(base(one.task), 0.0))
    kept = {"transformer": 0.35, "rnn": 0.6}.get(base(one.arch), 0.8) ** math.log2(length / one.length)
    return round(min(1.0, floor + (trained - floor) * float(kept) + 0.03 * (one.seed - 1) * (trained < 0.98)), 4)


def reference_scores(one: Case) -> tuple[ReferenceScores, ...]:
    return tuple(
        ReferenceScores(length=length, chance=CHANCE[base(one.task)], memoryless_score=BLIND.get(base(one.task)))
        for length in (one.length, 2 * one.length, 4 * one.length)
    )


def step_samples(one: Case, position: int, count: int = 60) -> tuple[float, ...]:
    arch = base(one.arch)
    middle = STEP_SECONDS[arch] + (45e-9 * position if arch == "transformer" else 0.0)
    noise = random.Random(f"{one.key} {position}")
    return tuple(middle * (1 + 0.02 * one.seed) * math.exp(abs(noise.gauss(0, 0.12))) for _ in range(count))


def curve(one: Case, stopped: str) -> tuple[EvalPoint, ...]:
    final, chance = score(one, one.length), CHANCE[base(one.task)]
    noise = random.Random(one.key)
    ends = {"solved": 500, "diverged": 300}.get(stopped, 800)
    points = []
    for step in range(0, ends + 1, 50):
        share = 1 / (1 + math.exp(-(step - 250 - 40 * one.seed) / 60))
        reached = chance + (final - chance) * share + noise.gauss(0, 0.01)
        broken = stopped == "diverged" and step == ends
        points.append(
            EvalPoint(
                step=step,
                train_loss=None if broken else 1 - 0.8 * share,
                validation_loss=None if broken else 1 - 0.75 * share,
                validation_score=min(1.0, max(0.0, reached)),
            )
        )
    return tuple(points)


def record(one: Case) -> Record:
    """A sound record of a case."""
    arch = base(one.arch)
    grows = POSITIONS if arch == "transformer" else [1] * len(POSITIONS)
    measurements = [
        *(
            Measurement(metric="accuracy", at={"length": line.length}, samples=(score(one, line.length),))
            for line in reference_scores(one)
        ),
        *(
            Measurement(
                metric="forward_seconds",
                at={"batch": batch},
                samples=tuple(STEP_SECONDS[arch] * one.length * batch**0.5 * (1 + 0.01 * n) for n in range(5)),
                blocks=(Block(calibration_seconds=PULSE_SECONDS),) * 5,
            )
            for batch in (1, 32)
        ),
        *(
            Measurement(
                metric="step_seconds",
                at={"position": position},
                samples=step_samples(one, position),
                blocks=(Block(calibration_seconds=PULSE_SECONDS),),
            )
            for position in POSITIONS
        ),
        *(
            Measurement(metric="state_bytes", at={"position": position}, samples=(float(STATE_BYTES[arch] * grown),))
            for position, grown in zip(POSITIONS, grows, strict=True)
        ),
    ]
    solved = score(one, one.length) >= 0.99
    return Record(
        key=one.key,
        case=one,
        status="ok",
        model=Model(parameters=20_000 + len(arch), width=40, depth=2),
        training=training(one, "solved" if solved else "budget"),
        reference_scores=reference_scores(one),
        measurements=tuple(measurements),
        probes={
            "accuracy": ProbeRun(status="ok", seconds=0.5),
            "latency": ProbeRun(status="ok", seconds=0.5),
            "streaming": ProbeRun(status="ok", seconds=2.0),
        },
    )


def renamed(one: Case, *, arch: str, task: str | None = None) -> Record:
    """The record of a case as it would be under other names."""
    case = one.model_copy(update={"arch": arch, "task": one.task if task is None else task})
    return record(one).model_copy(update={"case": case, "key": case.key})


def training(one: Case, stopped: str) -> Training:
    points = curve(one, stopped)
    return Training(
        steps=points[-1].step,
        sequences=32 * points[-1].step,
        seconds=8.0,
        stopped=stopped,  # type: ignore[arg-type]
        threads=1,
        flushes_denormals=True,
        curve=points,
    )


def records() -> list[Record]:
    """All records of the run: one diverged, one timed out, one whose streaming was refused, one missing."""
    made = []
    for one in cases():
        place = (one.arch, one.task, one.length, one.seed)
        sound = record(one)
        if place == MISSING:
            continue
        if place == DIVERGED:
            kept = {
                "status": "diverged",
                "reason": "the loss was not finite at step 300",
                "training": training(one, "diverged"),
                "measurements": (),
                "probes": {},
            }
        elif place == TIMEOUT:
            kept = {
                "status": "timeout",
                "reason": "no answer within 120 s; the lane was replaced",
                "model": None,
                "training": None,
                "lines": (),
                "measurements": (),
                "probes": {},
            }
        elif place == REFUSED:
            reason = "scan and step differ by 3e-2 at position 7 (allowed: 1e-4)"
            kept = {
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
            kept = {}
        made.append(sound.model_copy(update=kept))
    return made
