"""The lines beside every score: the best answer that does not look lands on `chance`, and no higher."""

import pytest

from bench.validation import lengths_of, memoryless_score
from tasks import Task
from tests.tasks.specs import of_every_task

SEQUENCES = 20_000
DEVIATIONS = 4.5
"""Normal deviations; wide enough that the hundred or so comparisons of this file all hold when nothing is wrong."""
ANSWERS_LOST = 0.004
"""What choosing the best answers from a finite sample may cost: thousands of cells for the text's pairs of letters."""


@of_every_task()
def test_the_best_answers_that_do_not_look_score_chance(task: Task) -> None:
    for length in two_lengths(task):
        score, deviation = memoryless_score(task, length, sees_the_present=False, sequences=SEQUENCES)
        assert score == pytest.approx(task.chance(length), abs=DEVIATIONS * deviation + 1 / SEQUENCES)


@of_every_task()
def test_the_best_answers_from_the_present_score_what_is_declared(task: Task) -> None:
    for length in two_lengths(task):
        score, deviation = memoryless_score(task, length, sees_the_present=True, sequences=SEQUENCES)
        declared = task.memoryless_score(length)
        margin = DEVIATIONS * deviation + 1 / SEQUENCES
        assert score <= (task.chance(length) if declared is None else declared) + margin
        if declared is not None:
            assert score >= declared - margin - ANSWERS_LOST


def two_lengths(task: Task) -> list[int]:
    """The smallest length, where edges show, and one of the other parity where there is one."""
    return lengths_of(task)[:2]
