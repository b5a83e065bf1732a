"""A seed that stopped early by its validation but fails the test is told apart from one that solves the task."""

from __future__ import annotations

import re

import pytest

import reports
from reports.analysis.groups import group_cases
from reports.analysis.leaderboard import leaderboard_of
from reports.html.case_details import case_details
from reports.text.sampling import seed_notes
from results import Record
from tests.reports import synthetic


def stopped_records(*scores: float) -> list[Record]:
    """Return one record per test score; training of each stopped early because validation solved the task."""
    made = []
    for seed, score in enumerate(scores):
        case = synthetic.case("gru", "adding", 32, seed)
        record = synthetic.record(case)
        measurements = tuple(
            each.model_copy(update={"samples": (score,)}) if each.metric == "accuracy" else each
            for each in record.measurements
        )
        made.append(
            record.model_copy(update={"measurements": measurements, "training": synthetic.training(case, "solved")})
        )
    return made


@pytest.mark.parametrize(
    ("scores", "solved", "notes"),
    [
        ((1.0, 0.999, 0.995), 3, []),
        ((1.0, 0.999, 0.97), 2, ["3 use the past", "1 other stopped early"]),
        ((0.98, 0.97, 0.96), 0, ["3 use the past", "3 others stopped early"]),
    ],
)
def test_seeds_that_stopped_early_without_solving_the_test_are_counted(
    scores: tuple[float, ...], solved: int, notes: list[str]
) -> None:
    records = stopped_records(*scores)
    (row,) = leaderboard_of(group_cases(synthetic.run([record.case for record in records]), records))
    assert (row.solved, row.stopped_unsolved, seed_notes(row)) == (solved, len(scores) - solved, notes)


def test_details_and_leaderboard_of_the_page_agree() -> None:
    records = stopped_records(1.0, 0.999, 0.97)
    run = synthetic.run([record.case for record in records])
    (details,) = case_details(group_cases(run, records))
    assert [(seed.stopped, seed.convergence, seed.past) for seed in details.seeds] == [
        ("early, solved in validation", "solved", "solves"),
        ("early, solved in validation", "solved", "solves"),
        ("early, solved in validation only", "solved in validation", "uses"),
    ]
    page = reports.page(run, records)
    (cell,) = re.findall(r"<td[^>]*>(2/3.*?)</td>", page)
    assert "1 other stopped early" in cell
