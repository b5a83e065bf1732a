"""What the seeds and the test sequences of a run leave open."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.groups import Group
from reports.analysis.leaderboard import LeaderboardRow
from reports.analysis.ranking import NEARLY_EQUAL
from reports.format.numbers import plural
from results import difference_error, sequences_needed


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


def test_set_sentences(groups: Sequence[Group]) -> list[str]:
    """Return one sentence per size of test set and number of seeds for which the test sets are too small.

    Test sets are too small if their error in the difference of two mean scores can exceed `NEARLY_EQUAL`. Each sentence
    says how many sequences would be enough. Untrained groups have no scores, so they are left out.
    """
    sizes = dict.fromkeys((group.test_sequences(), len(group.seeds)) for group in groups if group.trains)
    return [
        f"Test sets of {plural(sequences, 'sequence')} leave an error of up to ±{error:.3f} in the difference of two "
        f"{'scores of a single seed' if seeds == 1 else f'means over {seeds:,} seeds'}, more than the {NEARLY_EQUAL} "
        f"that count; {sequences_needed(NEARLY_EQUAL, seeds):,} sequences would leave {NEARLY_EQUAL}."
        for sequences, seeds in sizes
        if (error := difference_error(sequences, seeds)) > NEARLY_EQUAL
    ]
