"""One run beside another: what both measured, paired, and the verdicts on it where they were judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from reports import _numbers as written
from reports._series import Group, groups
from reports.tables import LeaderboardRow, leaderboard_of
from results import METRICS, Record, RunFile

FINE = ("unchanged", "improved")


class Judged(Protocol):
    """One metric of one case at one place, compared. `effect` and its bounds are shares of the base for timings and
    sizes, differences for scores; None where nothing could be said."""

    @property
    def arch(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def length(self) -> int | None: ...
    @property
    def metric(self) -> str: ...
    @property
    def at(self) -> tuple[tuple[str, int], ...]: ...
    @property
    def kind(self) -> str: ...
    @property
    def base(self) -> float | None: ...
    @property
    def new(self) -> float | None: ...
    @property
    def effect(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...
    @property
    def verdict(self) -> str: ...
    @property
    def reason(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The run that another is held against. `verdict` is one line, `notes` what a reader must know beside the rows."""

    run: RunFile
    records: Sequence[Record]
    rows: Sequence[Judged] = ()
    verdict: str = ""
    notes: Sequence[str] = ()


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

    arch: str
    place: str
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


def versus_of(found: Sequence[Group], baseline: Baseline) -> Versus:
    """The comparison of a run's groups with its baseline."""
    before = {_place(row): row for row in leaderboard_of(groups(baseline.run, baseline.records))}
    after = {_place(row): row for row in leaderboard_of(found)}
    shared = [place for place in after if place in before]
    only = [("here", place) for place in after if place not in before]
    only += [("in the baseline", place) for place in before if place not in after]
    unjudged = f"Beside {baseline.run.id}: {written.plural(len(shared), 'row')} in both, none of them judged."
    return Versus(
        base=baseline.run.id,
        verdict=baseline.verdict or unjudged,
        good=bool(baseline.rows) and all(row.verdict in FINE for row in baseline.rows),
        notes=tuple(baseline.notes),
        pairs=tuple(Pair(base=before[place], new=after[place]) for place in shared),
        unpaired=tuple(f"{arch} on {task} at {length:,} ({where})" for where, (arch, task, length) in only),
        rows=tuple(_written(row) for row in baseline.rows),
    )


def _place(row: LeaderboardRow) -> tuple[str, str, int]:
    return row.arch, row.task, row.length


def _written(row: Judged) -> WrittenRow:
    where = ", ".join(f"{name} {value:,}" for name, value in row.at)
    length = f" at {row.length:,}" if row.length is not None else ""
    return WrittenRow(
        arch=row.arch,
        place=f"{row.task}{length}",
        metric=(METRICS[row.metric].title if row.metric in METRICS else row.metric) + (f" ({where})" if where else ""),
        base=_value(row.base, row.kind),
        new=_value(row.new, row.kind),
        change=_change(row),
        effect=row.effect,
        verdict=row.verdict,
        reason=row.reason,
    )


def _value(value: float | None, kind: str) -> str:
    if value is None:
        return written.MISSING
    if kind == "timing":
        return f"{written.microseconds(value)} µs"
    return written.size(value) if kind == "size" else written.score(value)


def _change(row: Judged) -> str:
    if row.effect is None:
        return written.MISSING
    if row.kind == "score":
        told = f"{row.effect:+.3f}"
        return told if row.low is None or row.high is None else f"{told} ({row.low:+.3f} to {row.high:+.3f})"
    told = f"{row.effect:+.1%}"
    return told if row.low is None or row.high is None else f"{told} ({row.low:+.1%} to {row.high:+.1%})"
