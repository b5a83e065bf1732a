"""Every case in full: its seeds one by one, their curves, and how they were configured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.analysis.groups import Group, Seed
from reports.format import numbers

CURVE_WIDTH, CURVE_HEIGHT = 320, 90
"""Of the box that a curve is drawn in, in units of its own."""
MAX_POINTS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The validation score of one seed as the points of a polyline."""

    seed: int
    points: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedRow:
    """What came of one seed."""

    seed: int
    key: str
    status: str
    reason: str
    score: str
    """At the trained length, in the line above the table."""
    scores: tuple[str, ...]
    """By the lengths of all seeds."""
    steps: int | None
    stopped: str
    training_seconds: float | None
    step_p50: tuple[str, ...]
    """Microseconds, by the positions of all seeds."""
    probes: tuple[str, ...]
    """Probes that did not measure, each with its reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseDetails:
    """The cases of one architecture on one task at one length."""

    arch: str
    task: str
    length: int
    configuration: tuple[tuple[str, str], ...]
    lengths: tuple[int, ...]
    positions: tuple[int, ...]
    seeds: tuple[SeedRow, ...]
    curves: tuple[Curve, ...]
    last_step: int
    line_height: float | None
    """Of the line that needs no memory, in the box."""


def case_details(found: Sequence[Group]) -> list[CaseDetails]:
    """One for each group, in the order of the groups."""
    return [_drill(group) for group in found]


def _drill(group: Group) -> CaseDetails:
    lengths = group.evaluated_lengths()
    positions = sorted({position for seed in group.seeds for position in seed.step_quantiles})
    trained = [
        (seed.case.seed, seed.record.training.curve)
        for seed in group.seeds
        if seed.record is not None and seed.record.training is not None and seed.record.training.curve
    ]
    last = max((curve[-1].step for _, curve in trained), default=0)
    line = group.reference()
    return CaseDetails(
        arch=group.arch,
        task=group.task,
        length=group.length,
        configuration=_configuration(group),
        lengths=tuple(lengths),
        positions=tuple(positions),
        seeds=tuple(_row(seed, lengths, positions) for seed in group.seeds),
        curves=tuple(
            Curve(
                seed=seed,
                points=" ".join(
                    f"{CURVE_WIDTH * curve[place].step / max(last, 1):.0f},{_height(curve[place].validation_score):g}"
                    for place in _thinned(len(curve))
                ),
            )
            for seed, curve in trained
        ),
        last_step=last,
        line_height=_height(max(line.chance, line.memoryless_score or 0.0)) if line else None,
    )


def _row(seed: Seed, lengths: Sequence[int], positions: Sequence[int]) -> SeedRow:
    record = seed.record
    p50 = {position: quantiles[0] for position, quantiles in seed.step_quantiles.items()}
    training = record.training if record is not None else None
    return SeedRow(
        seed=seed.case.seed,
        key=seed.key,
        status="missing" if record is None else record.status.replace("_", " "),
        reason=(record.reason or "") if record is not None else "no record was written",
        score=numbers.score(seed.score()),
        scores=tuple(numbers.score(seed.score(length), 4) for length in lengths),
        steps=training.steps if training else None,
        stopped=training.stopped if training else "",
        training_seconds=training.seconds if training else None,
        step_p50=tuple(numbers.microseconds(p50.get(position)) for position in positions),
        probes=tuple(
            f"{name} {probe.status}" + (f": {probe.reason}" if probe.reason else "")
            for name, probe in (record.probes.items() if record is not None else ())
            if probe.status != "ok"
        ),
    )


def _configuration(group: Group) -> tuple[tuple[str, str], ...]:
    case = group.seeds[0].case
    model = next((record.model for record in group.records if record.model is not None), None)
    wanted = f"{case.params:,} parameters wanted" if case.params is not None else f"width {case.width} wanted"
    told = {
        "architecture": case.arch,
        "task": f"{case.task}, version {case.task_version}",
        "size": f"depth {case.depth}, {wanted}" + (f"; width {model.width}, {model.parameters:,} had" if model else ""),
        "protocol": ", ".join(
            f"{name}={value}"
            for name, value in case.protocol.model_dump(mode="json").items()
            if value not in (None, "none", 0, 0.0, False)
        ),
    }
    return tuple(told.items())


def _height(score: float) -> float:
    return round(CURVE_HEIGHT * (1 - min(max(score, 0.0), 1.0)), 1)


def _thinned(count: int) -> list[int]:
    """At most `MOST_POINTS` places, spread evenly, first and last among them."""
    if count <= MAX_POINTS:
        return list(range(count))
    return [round(place * (count - 1) / (MAX_POINTS - 1)) for place in range(MAX_POINTS)]
