"""The variables of the leaderboard, which is a table per task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reports.analysis.groups import Group, specifications
from reports.analysis.leaderboard import LeaderboardRow, leaderboard_of
from reports.format.numbers import count, listed, plural, short_score
from reports.html.page_data import PageData
from reports.text import learning_rates as rates_text
from reports.text.context import are_untrained
from reports.text.lengths import effective_estimate
from reports.text.losses import error_estimate, loss_value


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTable:
    """The rows of one task."""

    task: str
    references: str
    """A sentence on the reference scores at each length; empty if they are unknown."""
    rows: tuple[LeaderboardRow, ...]


def leaderboard_values(data: PageData) -> dict[str, Any]:
    """Return the variables of the leaderboard. The columns of all tables are the same."""
    rows = leaderboard_of(data.groups)
    return {
        "tables": task_tables(rows),
        "specifications": specifications(data.groups),
        "has_trained": not are_untrained(data.groups),
        "near_differs": any(row.near_position not in (None, row.length) for row in rows),
        "far": sorted({row.far_position for row in rows if row.far_position is not None}),
        "has_shares": any(row.limit_share is not None for row in rows),
        "is_called": data.is_called,
        "rate_sources": rates_text.sources(data.rate_rows),
        "single_process": _single_process(data.groups),
        "has_best_validated": any(row.early_stopped_score is not None for row in rows),
        "has_errors": any(row.loss is not None and row.loss.constant is not None for row in rows),
        "has_lengths": any(row.effective is not None for row in rows),
        "error_estimate": error_estimate,
        "loss_value": loss_value,
        "effective_estimate": effective_estimate,
    }


def task_tables(rows: Sequence[LeaderboardRow]) -> list[TaskTable]:
    """Return one table per task, in the order of `rows`."""
    by_task: dict[str, list[LeaderboardRow]] = {}
    for row in rows:
        by_task.setdefault(row.task, []).append(row)
    return [TaskTable(task=task, references=_references(own), rows=tuple(own)) for task, own in by_task.items()]


def _references(rows: Sequence[LeaderboardRow]) -> str:
    """Return the reference scores of a task: `Chance level 0.5 and memoryless baseline 0.75.`

    If they depend on the length, each length has its own.
    """
    lengths: dict[str, list[int]] = {}
    for row in rows:
        if row.chance is not None:
            parts = [f"chance level {short_score(row.chance)}"]
            if row.memoryless_score is not None:
                parts.append(f"memoryless baseline {short_score(row.memoryless_score)}")
            own = lengths.setdefault(listed(parts), [])
            own += [] if row.length in own else [row.length]
    if not lengths:
        return ""
    if len(lengths) == 1:
        return f"{next(iter(lengths)).capitalize()}."
    parts = [f"at {listed([count(each) for each in own])}: {text}" for text, own in lengths.items()]
    return f"{'; '.join(parts).capitalize()}."


def _single_process(groups: Sequence[Group]) -> str:
    """Return a sentence on the rows whose steps a single process timed; empty if there are none."""
    counts = [
        sum(max(map(len, (seed.step_noise or seed.call_noise).values()), default=0) for seed in group.seeds)
        for group in groups
    ]
    single, timed = sum(count == 1 for count in counts), sum(count > 0 for count in counts)
    if not single:
        return ""
    rows = "each row" if single == timed else f"{single:,} of {plural(timed, 'row')}"
    return f"A single process timed the steps of {rows}, so their costs do not show how much timings differ."
