"""One run beside another: what both measured, paired, and the verdicts on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.analysis.groups import Group, group_cases
from reports.analysis.leaderboard import LeaderboardRow, leaderboard_of
from reports.text.comparison import cells, headline, notes
from results import Record, RunFile
from results.comparison import Row, compare

FINE = ("unchanged", "improved")


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The run that another is held against."""

    run: RunFile
    records: Sequence[Record]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A row of the leaderboard in both runs."""

    base: LeaderboardRow
    new: LeaderboardRow

    @property
    def gain(self) -> float | None:
        """What was gained in score."""
        return None if self.base.score is None or self.new.score is None else self.new.score - self.base.score

    @property
    def step_ratio(self) -> float | None:
        """The new cost of a step over the old; None where the two were not measured at one position."""
        before, after = self.base.far_step_seconds, self.new.far_step_seconds
        same = self.base.far_position == self.new.far_position
        return after / before if same and before and after is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenRow:
    """A judged row as the page shows it."""

    case: str
    metric: str
    base: str
    new: str
    change: str
    effect: float | None
    verdict: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Versus:
    """What the page says of two runs."""

    base: str
    verdict: str
    good: bool
    notes: tuple[str, ...]
    pairs: tuple[Pair, ...]
    unpaired: tuple[str, ...]
    """What one of the two runs alone has."""
    rows: tuple[WrittenRow, ...]


def versus_of(run: RunFile, records: Sequence[Record], found: Sequence[Group], baseline: Baseline) -> Versus:
    """The comparison of a run, whose groups are at hand, with its baseline."""
    comparison = compare((baseline.run, baseline.records), (run, records))
    before = {_place(row): row for row in leaderboard_of(group_cases(baseline.run, baseline.records))}
    after = {_place(row): row for row in leaderboard_of(found)}
    only = [("in this run", place) for place in after if place not in before]
    only += [("in the baseline", place) for place in before if place not in after]
    return Versus(
        base=baseline.run.id,
        verdict=f"Against {baseline.run.id}: {headline(comparison)}.",
        good=bool(comparison.rows)
        and all(row.verdict in FINE for row in comparison.rows)
        and not (comparison.missing or comparison.failed),
        notes=tuple(notes(comparison)),
        pairs=tuple(Pair(base=before[place], new=after[place]) for place in after if place in before),
        unpaired=tuple(f"{arch} on {task} at {length:,} ({where})" for where, (arch, task, length) in only),
        rows=tuple(_written(row) for row in comparison.rows),
    )


def _place(row: LeaderboardRow) -> tuple[str, str, int]:
    return row.arch, row.task, row.length


def _written(row: Row) -> WrittenRow:
    case, metric, base, new, change, _ = cells(row)
    return WrittenRow(
        case=case,
        metric=metric,
        base=base,
        new=new,
        change=change,
        effect=row.effect,
        verdict=row.verdict,
        reason=row.reason,
    )
