"""The details of every group: its configuration, and the score, training curve and step cost of each seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.analysis.groups import Group, Seed
from reports.analysis.memory_share import loss_evidence_of, score_evidence_of
from reports.analysis.streaming.step_costs import StepTiming, any_compiled, timing_of
from reports.format import numbers
from reports.text.budgets import model_sizes
from reports.text.losses import loss_name, loss_value
from results import ScoreEvidence, counter_rates, range_text
from results.comparison import value_text

CURVE_WIDTH, CURVE_HEIGHT = 320, 90
"""The size of the box around the training curves, in SVG user units."""
MAX_POINTS = 40
"""The largest number of points of a curve."""
STOPPED = {
    "budget": "at the end",
    "solved": "early, solved in validation",
    "plateaued": "early, no improvement",
    "diverged": "diverged",
}
"""How training stopped, in words. Validation has fewer sequences than the test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The training curve of one seed: validation scores as the points of an SVG polyline."""

    seed: int
    points: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedRow:
    """The formatted results of one seed."""

    seed: int
    key: str
    status: str
    reason: str
    score: str
    """The score at the trained length."""
    past: str
    """What the score at the trained length shows: `solves`, `uses` or `not shown`; a dash without a score."""
    scores: tuple[str, ...]
    """The score at each of `CaseDetails.lengths`."""
    loss: str
    """The test loss at the trained length."""
    steps: int | None
    stopped: str
    """How training stopped, such as `early, solved in validation`; empty if it is unknown."""
    convergence: str
    """How training ended, from the validation curve, such as `still learning`; empty if it is unknown."""
    training_seconds: float | None
    step_p50: tuple[str, ...]
    """The median step time in microseconds at each of `CaseDetails.positions`."""
    probes: tuple[str, ...]
    """One text per probe that did not succeed: its name, its status and the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseDetails:
    """All seeds of one architecture on one task at one length."""

    arch: str
    task: str
    length: int
    trained: bool
    """Whether the models were trained. If not, they have no scores."""
    configuration: tuple[tuple[str, str], ...]
    """Pairs of a name, such as `task`, and its value as text."""
    lengths: tuple[str, ...]
    """The test lengths, followed by the ranges of test lengths."""
    loss: str
    """The name of the test loss, with that of the best constant if it is known; empty without a loss."""
    positions: tuple[int, ...]
    step_timing: StepTiming
    """How the steps in `SeedRow.step_p50` were timed."""
    seeds: tuple[SeedRow, ...]
    curves: tuple[Curve, ...]
    last_step: int
    reference_height: float | None
    """The best score without memory, as a y coordinate in SVG user units; None without reference scores."""


def case_details(groups: Sequence[Group]) -> list[CaseDetails]:
    """Return one `CaseDetails` per group, in the order of `groups`."""
    beside_compiled = any_compiled(groups)
    return [_details(group, timing_of(group.seeds, beside_compiled=beside_compiled)) for group in groups]


def _details(group: Group, timing: StepTiming) -> CaseDetails:
    lengths = group.evaluated_lengths() if group.trains else ()
    positions = sorted({position for seed in group.seeds for position in _p50(seed, timing)})
    trained = [
        (seed.case.seed, seed.record.training.curve)
        for seed in group.seeds
        if seed.record is not None
        and seed.record.status != "inconsistent"
        and seed.record.training is not None
        and seed.record.training.curve
    ]
    last_step = max((curve[-1].step for _, curve in trained), default=0)
    reference, evidence = group.reference(), score_evidence_of(group)
    scored = [seed for seed in group.seeds if seed.score() is not None]
    shown = {} if evidence is None else dict(zip((seed.key for seed in scored), _shown(evidence), strict=True))
    return CaseDetails(
        arch=group.arch,
        task=group.task,
        length=group.length,
        trained=group.trains,
        configuration=_configuration(group),
        lengths=(*map(numbers.count, lengths), *map(range_text, group.evaluated_ranges())),
        loss=_loss_heading(group),
        positions=tuple(positions),
        step_timing=timing,
        seeds=tuple(_row(seed, group, positions, timing, shown.get(seed.key, numbers.MISSING)) for seed in group.seeds),
        curves=tuple(
            Curve(
                seed=seed,
                points=" ".join(
                    f"{CURVE_WIDTH * curve[i].step / max(last_step, 1):.0f},{_y(curve[i].validation_score):g}"
                    for i in _thinned_indices(len(curve))
                ),
            )
            for seed, curve in trained
        ),
        last_step=last_step,
        reference_height=_y(max(reference.chance, reference.memoryless_score or 0.0)) if reference else None,
    )


def _loss_heading(group: Group) -> str:
    evidence = loss_evidence_of(group)
    if evidence is None:
        return ""
    constant = "" if evidence.constant is None else f" (best constant: {loss_value(evidence.constant)})"
    return f"{loss_name(evidence.name)}{constant}"


def _shown(evidence: ScoreEvidence) -> list[str]:
    """Return what the score of each seed shows, in the words of `SeedRow.past`."""
    return [
        "solves" if solves else "uses" if uses else "not shown"
        for uses, solves in zip(evidence.uses, evidence.solves, strict=True)
    ]


def _row(seed: Seed, group: Group, positions: Sequence[int], timing: StepTiming, past: str) -> SeedRow:
    """Return the formatted results of a seed.

    Args:
        seed: The seed, with or without a record.
        group: The group of the seed, which determines the columns with scores.
        positions: The positions in the stream of the columns with step times.
        timing: How the steps of the group were timed.
        past: What the score at the trained length shows.
    """
    record, p50 = seed.record, _p50(seed, timing)
    training = record.training if record is not None else None
    return SeedRow(
        seed=seed.case.seed,
        key=seed.key,
        status="missing" if record is None else record.status.replace("_", " "),
        reason=(record.reason or "") if record is not None else "no record was written",
        score=numbers.score(seed.score()),
        past=past,
        scores=(
            *(numbers.score(seed.score(length), 4) for length in group.evaluated_lengths()),
            *(numbers.score(seed.range_scores.get(lengths), 4) for lengths in group.evaluated_ranges()),
        ),
        loss=loss_value(None if seed.loss is None else seed.loss[1]),
        steps=training.steps if training else None,
        stopped=STOPPED[training.stopped] + " only" * seed.stopped_unsolved if training else "",
        convergence=_convergence(seed),
        training_seconds=training.seconds if training else None,
        step_p50=tuple(numbers.microseconds(p50.get(position)) for position in positions),
        probes=tuple(
            f"{name} {probe.status}" + (f": {probe.reason}" if probe.reason else "")
            for name, probe in (record.probes.items() if record is not None else ())
            if probe.status != "ok" or probe.reason
        ),
    )


def _convergence(seed: Seed) -> str:
    """Return how training ended. A seed whose test score does not solve the task is solved in validation at most."""
    kind = seed.convergence or ""
    is_contradicted = kind == "solved" and seed.score() is not None and not seed.solved
    return "solved in validation" if is_contradicted else kind


def _p50(seed: Seed, timing: StepTiming) -> dict[int, float]:
    """Return the median step time in seconds by position."""
    quantiles = seed.step_quantiles if timing == "compiled" else seed.call_quantiles
    return {position: row[0] for position, row in quantiles.items()}


def _configuration(group: Group) -> tuple[tuple[str, str], ...]:
    case = group.seeds[0].case
    size = f"depth {case.depth}"
    if case.budget is not None:
        size += f", requested {numbers.amount(case.budget.kind, case.budget.amount)}"
    if actual := model_sizes([group]).get(group.arch):
        size += f"; actual {actual}"
    protocol = {
        name: value
        for name, value in case.protocol.model_dump(mode="json").items()
        if value not in (None, "none", 0, 0.0, False)
    }
    return (
        ("architecture", case.arch),
        ("task", f"{case.task}, version {case.task_version}"),
        ("size", size),
        ("learning rate", _rate(group)),
        *_timed_blocks(group),
        (
            "protocol",
            ", ".join(f"{n}={value_text(v)}" for n, v in protocol.items()) if case.protocol.trains else "untrained",
        ),
    )


def _timed_blocks(group: Group) -> list[tuple[str, str]]:
    """Return the CPU time and the instructions of the timed blocks, as far as they are known."""
    blocks = [block for record in group.records for each in record.measurements for block in each.blocks]
    known = counter_rates([block for block in blocks if block.wall_seconds is not None])
    parts = [f"CPU time {known['cpu_seconds']:.1%} of the wall time"] if "cpu_seconds" in known else []
    if "instructions" in known:
        parts.append(f"{known['instructions'] / 1e9:.2f} instructions per ns")
    return [("timed blocks", f"{', '.join(parts)}; medians of {numbers.plural(len(blocks), 'block')}")] if parts else []


def _rate(group: Group) -> str:
    case = group.seeds[0].case
    if not case.protocol.trains:
        return "none, because the models are untrained"
    if case.protocol.optimizer == "guessing":
        return "none, because weights are guessed"
    tuning = case.tuning
    rates = numbers.listed([f"{rate:g}" for rate in group.learning_rates] or [numbers.MISSING])
    if tuning is not None:
        return f"{rates}, chosen from {numbers.listed([f'{rate:g}' for rate in tuning.learning_rates])}"
    return f"{rates}, given by the plan" + (f", found by {group.rate_found_by}" if group.rate_found_by else "")


def _y(score: float) -> float:
    """Return the y coordinate of a score in SVG user units, clipped to the box."""
    return round(CURVE_HEIGHT * (1 - min(max(score, 0.0), 1.0)), 1)


def _thinned_indices(count: int) -> list[int]:
    """Return at most `MAX_POINTS` evenly spread indices below `count`, including the first and the last."""
    if count <= MAX_POINTS:
        return list(range(count))
    return [round(i * (count - 1) / (MAX_POINTS - 1)) for i in range(MAX_POINTS)]
