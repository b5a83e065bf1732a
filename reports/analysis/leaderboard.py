"""The tables, as rows of plain values: pure functions of a run and its records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reports.analysis.groups import Group, group_cases
from reports.analysis.health import problems_of
from reports.analysis.ranking import Estimate, Rank, ranks
from reports.analysis.step_costs import StepCost, nearest, step_costs, step_costs_by_arch
from results import Interval, Record, ReferenceScores, RunFile, interval_of_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardRow:
    """One architecture on one task at one length. None where nothing was measured."""

    arch: str
    task: str
    length: int
    score: float | None
    score_low: float | None
    score_high: float | None
    rank_first: int | None
    """The best place among the architectures of its task and length that the seeds allow; None with one seed."""
    rank_last: int | None
    ties: str | None
    """Two architectures that share a letter are not told apart."""
    seed_scores: tuple[float, ...]
    chance: float | None
    memoryless_score: float | None
    seeds: int
    """Planned seeds, the failed and the missing among them."""
    solved: int
    parameters: int | None
    width: int | None
    state_bytes: float | None
    """At `far_position`."""
    near_position: int | None
    """The streamed position nearest to `length`."""
    near_step_seconds: float | None
    far_position: int | None
    far_step_seconds: float | None
    far_step_p99_seconds: float | None
    problems: tuple[str, ...]

    @property
    def scored(self) -> int:
        return len(self.seed_scores)


def leaderboard(run: RunFile, records: Sequence[Record]) -> list[LeaderboardRow]:
    """One row per task, length and architecture: tasks as planned, then the best score first, unscored rows last."""
    return leaderboard_of(group_cases(run, records))


def leaderboard_of(found: Sequence[Group]) -> list[LeaderboardRow]:
    """The leaderboard of groups that are already at hand."""
    lines = {(group.task, group.length): line for group in found if (line := group.reference()) is not None}
    places = ranks_by_setting(found)
    rows = [
        _row(group, lines.get((group.task, group.length)), places[group.task, group.length].get(group.arch))
        for group in found
    ]
    place = {task: number for number, task in enumerate(dict.fromkeys(row.task for row in rows))}
    return sorted(
        rows,
        key=lambda row: (
            place[row.task],
            row.length,
            math.inf if row.score is None else -row.score,
            math.inf if row.far_step_seconds is None else row.far_step_seconds,
        ),
    )


def streaming(run: RunFile, records: Sequence[Record]) -> dict[str, list[StepCost]]:
    """For each architecture that was streamed, what a step costs by ascending position."""
    return step_costs_by_arch(group_cases(run, records))


def ranks_by_setting(found: Sequence[Group]) -> dict[tuple[str, int], dict[str, Rank]]:
    """By task and length, the rank of every architecture with two seeds or more."""
    scores: dict[tuple[str, int], dict[str, Estimate]] = {}
    for group in found:
        place = scores.setdefault((group.task, group.length), {})
        if len(kept := group.scores()) > 1:
            place[group.arch] = Estimate.of(kept)
    return {place: ranks(estimates) for place, estimates in scores.items()}


def _row(group: Group, line: ReferenceScores | None, rank: Rank | None) -> LeaderboardRow:
    scores = group.scores()
    low = middle = high = None
    if scores:
        interval = interval_of_mean(scores)
        middle, (low, high) = interval.middle, bounds(interval, floor=0.0, ceiling=1.0)
    models = [record.model for record in group.records if record.model is not None]
    costs = step_costs(group.seeds)
    near, far = (nearest(costs, group.length), costs[-1]) if costs else (None, None)
    return LeaderboardRow(
        arch=group.arch,
        task=group.task,
        length=group.length,
        score=middle,
        score_low=low,
        score_high=high,
        rank_first=rank.first if rank else None,
        rank_last=rank.last if rank else None,
        ties=rank.ties if rank else None,
        seed_scores=tuple(scores),
        chance=line.chance if line else None,
        memoryless_score=line.memoryless_score if line else None,
        seeds=len(group.seeds),
        solved=sum(seed.solved for seed in group.seeds),
        parameters=_agreed(model.parameters for model in models),
        width=_agreed(model.width for model in models),
        state_bytes=far.state_bytes if far else None,
        near_position=near.position if near else None,
        near_step_seconds=near.p50_seconds if near else None,
        far_position=far.position if far else None,
        far_step_seconds=far.p50_seconds if far else None,
        far_step_p99_seconds=far.p99_seconds if far else None,
        problems=tuple(problem.brief for problem in problems_of(group)),
    )


def bounds(
    interval: Interval, *, floor: float = -math.inf, ceiling: float = math.inf
) -> tuple[float | None, float | None]:
    """Return the ends of an interval, clipped; (None, None) if an end is infinite."""
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return None, None
    return max(interval.low, floor), min(interval.high, ceiling)


def _agreed(values: Iterable[int]) -> int | None:
    """The seeds of a group share one model size; the largest is told should they ever not."""
    return max(values, default=None)
