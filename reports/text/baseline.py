"""The comparison of a run with a baseline run, formatted for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reports.analysis.groups import Group, group_cases
from reports.analysis.health import Status
from reports.analysis.leaderboard import LeaderboardRow, leaderboard_of
from reports.text.comparison import cells, headline, notes, witness_of
from results import Record, RunFile
from results.comparison import Comparison, Row, compare, rename_run, renames

GOOD_VERDICTS = ("unchanged", "improved")


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A baseline run with its records."""

    run: RunFile
    records: Sequence[Record]
    unusable: Mapping[str, str] = field(default_factory=dict)
    """Why a record cannot be used, by case key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The leaderboard rows of the baseline run and the new run for one architecture, task and length."""

    base: LeaderboardRow
    new: LeaderboardRow

    @property
    def gain(self) -> float | None:
        """The new score minus the baseline score; None if either score is missing."""
        return None if self.base.score is None or self.new.score is None else self.new.score - self.base.score

    @property
    def step_ratio(self) -> float | None:
        """The new step time divided by the baseline step time, both at the last position.

        None if a step time is missing or the baseline step time is 0. Also None if the last positions of the two runs
        differ, or if one run timed the step in a compiled loop and the other only its calls from Python.
        """
        before, after = self.base.far_step_seconds, self.new.far_step_seconds
        is_alike = self.base.far_position == self.new.far_position and not self.is_mixed
        return after / before if is_alike and before and after is not None else None

    @property
    def is_mixed(self) -> bool:
        """Whether the step was timed inside a compiled loop in one run, and only called from Python in the other."""
        timings = {row.step_timing == "compiled" for row in (self.base, self.new) if row.step_timing is not None}
        return len(timings) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRow:
    """A formatted row of the comparison."""

    case: str
    metric: str
    base: str
    new: str
    change: str
    effect: float | None
    """The change as a number, for sorting; None if it is unknown."""
    verdict: str
    reason: str
    """Why the verdict is not clear, and what CPU time and instructions say of the change; empty if there is neither."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineComparison:
    """The content of the baseline section of the page."""

    base: str
    """The run ID of the baseline."""
    verdict: str
    status: Status
    """`bad` if a row regressed. `good` if all rows are unchanged or improved, unless the comparison has no rows, or
    lists missing or newly failed cases. `warn` in all other cases."""
    notes: tuple[str, ...]
    pairs: tuple[Pair, ...]
    unpaired: tuple[str, ...]
    """Names of the leaderboard rows that only one of the two runs has."""
    rows: tuple[VerdictRow, ...]


def compare_with_baseline(
    run: RunFile,
    records: Sequence[Record],
    run_groups: Sequence[Group],
    baseline: Baseline,
    unusable: Mapping[str, str] | None = None,
) -> BaselineComparison:
    """Compare a run with its baseline run, and return the content of the baseline section.

    Args:
        run: The new run.
        records: The records of the new run.
        run_groups: The groups of the new run.
        baseline: The baseline run with its records.
        unusable: Why a record of the new run cannot be used, by case key; None if there is no such record.
    """
    comparison = compare((baseline.run, baseline.records), (run, records), unusable=(baseline.unusable, unusable or {}))
    names = renames((baseline.run, run))
    old_run, old_records, _ = rename_run(baseline.run, baseline.records, names)
    before = {_key(row): row for row in leaderboard_of(group_cases(old_run, old_records))}
    after = {_key(row): row for row in leaderboard_of(run_groups)}
    unpaired = [(key, "in this run") for key in after if key not in before]
    unpaired += [(key, "in the baseline") for key in before if key not in after]
    return BaselineComparison(
        base=baseline.run.id,
        verdict=f"Compared with {baseline.run.id}: {headline(comparison)}.",
        status=_status(comparison),
        notes=tuple(notes(comparison)),
        pairs=tuple(Pair(base=before[key], new=after[key]) for key in after if key in before),
        unpaired=tuple(f"{arch} on {task} at {length:,} ({where})" for (arch, task, length), where in unpaired),
        rows=tuple(_verdict_row(row) for row in comparison.rows),
    )


def _status(comparison: Comparison) -> Status:
    if comparison.count("regressed"):
        return "bad"
    is_clear = comparison.rows and all(row.verdict in GOOD_VERDICTS for row in comparison.rows)
    return "good" if is_clear and not (comparison.missing or comparison.failed) else "warn"


def _key(row: LeaderboardRow) -> tuple[str, str, int]:
    return row.arch, row.task, row.length


def _verdict_row(row: Row) -> VerdictRow:
    case, metric, base, new, change, _ = cells(row)
    return VerdictRow(
        case=case,
        metric=metric,
        base=base,
        new=new,
        change=change,
        effect=row.effect,
        verdict=row.verdict,
        reason="; ".join(filter(None, [row.reason, witness_of(row)])),
    )
