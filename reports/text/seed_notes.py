"""Notes beside the number of seeds that solved a task."""

from __future__ import annotations

from reports.analysis.leaderboard import LeaderboardRow
from reports.format.numbers import plural


def seed_notes(row: LeaderboardRow) -> list[str]:
    """Return what else is known of the seeds of a row besides how many solved the task.

    These are the seeds that use the past without solving the task, that stopped early although their test score does
    not solve it, that were still learning, and that have a score if others have none.
    """
    notes = []
    if row.evidence and row.evidence.solving < row.evidence.using:
        notes.append(f"{row.evidence.using} {'uses' if row.evidence.using == 1 else 'use'} the past")
    if row.stopped_unsolved:
        notes.append(f"{plural(row.stopped_unsolved, 'other')} stopped early")
    if row.still_learning:
        notes.append(f"{row.still_learning} still learning")
    if row.scored != row.seeds:
        notes.append(f"{row.scored} scored")
    return notes
