"""The leaderboard as people read it: headings and written numbers, one source for all exports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports import _numbers as written
from reports.tables import LeaderboardRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Headings with one written cell each per row. The first `names` columns hold words, the others numbers."""

    headings: tuple[str, ...]
    names: int
    rows: tuple[tuple[str, ...], ...]


def leaderboard_table(rows: Sequence[LeaderboardRow]) -> Table:
    """The leaderboard. The streamed positions stand in the headings where all rows share them, else in the cells."""
    far = {row.far_position for row in rows if row.far_position is not None}
    far_title = f" at {min(far):,}" if len(far) == 1 else ""

    def at(row: LeaderboardRow, text: str) -> str:
        return text if row.far_position is None or len(far) == 1 else f"{text} at {row.far_position:,}"

    def near(row: LeaderboardRow) -> str:
        text = written.microseconds(row.near_step_seconds)
        return text if row.near_position in (None, row.length) else f"{text} at {row.near_position:,}"

    columns: list[tuple[str, Callable[[LeaderboardRow], str]]] = [
        ("task", lambda row: row.task),
        ("length", lambda row: written.count(row.length)),
        ("architecture", lambda row: row.arch),
        ("score (95% interval)", lambda row: written.estimate(row.score, row.score_low, row.score_high)),
        ("chance", lambda row: written.score(row.chance)),
        ("blind to the past", lambda row: written.score(row.blind_to_the_past)),
        ("seeds solved", lambda row: f"{row.solved}/{row.seeds}"),
        ("seeds scored", lambda row: f"{row.scored}/{row.seeds}"),
        ("parameters", lambda row: written.count(row.parameters)),
        (f"state{far_title}", lambda row: at(row, written.size(row.state_bytes))),
        ("step p50 near the length, µs", near),
        (f"step p50{far_title}, µs", lambda row: at(row, written.microseconds(row.far_step_seconds))),
        (f"step p99{far_title}, µs", lambda row: at(row, written.microseconds(row.far_step_p99_seconds))),
    ]
    return Table(
        headings=tuple(heading for heading, _ in columns),
        names=3,
        rows=tuple(tuple(cell(row) for _, cell in columns) for row in rows),
    )


def notes(rows: Sequence[LeaderboardRow]) -> list[str]:
    """What the dashes stand for: every failed or missing seed with its reason."""
    return [f"{row.arch} on {row.task} at {row.length:,}: {problem}" for row in rows for problem in row.problems]
