"""The stated chance and memoryless baseline of every task, compared with measured scores."""

import pytest

from bench.validation import lengths_to_check, measure_reference_score
from tasks import Task
from tests.tasks.specs import for_every_task

SEQUENCES = 20_000
DEVIATIONS = 4.5
"""Tolerance in standard errors. It is so large that hundreds of comparisons all pass if nothing is wrong."""
SELECTION_LOSS = 0.004
"""Largest loss of score from choosing the best answers on a finite sample.

A text has thousands of different pairs of characters, so some pairs are rare in the sample.
"""

SLOW = (
    "chaotic_series",
    "chaotic_series:system=lorenz,horizon=40",
    "recall:preset=compositional,noise=5",
    "recall:preset=fuzzy",
    "recall:preset=overwriting",
)
"""Specs whose samples take long to draw or to compare."""


@for_every_task(slow=SLOW)
def test_stated_chance_matches_the_measured_score(task: Task) -> None:
    for length in two_lengths(task):
        score, deviation = measure_reference_score(task, length, sees_input=False, sequences=SEQUENCES)
        assert score == pytest.approx(task.chance(length), abs=DEVIATIONS * deviation + 1 / SEQUENCES)


@for_every_task(slow=SLOW)
def test_stated_memoryless_baseline_matches_the_measured_score(task: Task) -> None:
    for length in two_lengths(task):
        score, deviation = measure_reference_score(task, length, sees_input=True, sequences=SEQUENCES)
        stated = task.memoryless_score(length)
        margin = DEVIATIONS * deviation + 1 / SEQUENCES
        assert score <= (task.chance(length) if stated is None else stated) + margin
        if stated is not None:
            assert score >= stated - margin - SELECTION_LOSS


def two_lengths(task: Task) -> list[int]:
    """Return the two shortest lengths to check. They are edge cases. Usually one is odd and the other even."""
    return lengths_to_check(task)[:2]
