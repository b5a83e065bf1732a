"""Numbers of sequences until a task is solved, if some seeds never solve it."""

from __future__ import annotations

import pytest

from results import Record
from tests.results.claims.test_judge import case, claim, judged, scored


def sequences_until_solved(*counts: int | None) -> list[Record]:
    """Return one record per seed: the number of sequences until it solved its task, or none if it never did."""
    records = []
    for seed, count in enumerate(counts):
        record = scored(case(seed=seed), *([] if count is None else [count]), metric="sequences_until_solved")
        records.append(record)
    return records


@pytest.mark.parametrize(
    ("bounds", "counts", "robust"),
    [
        ({"at_most": 10_000}, (1_000, 1_050, 1_100), True),
        ({"at_most": 10_000}, (1_000, 1_050, 1_100, None), False),
        ({"at_least": 100}, (1_000, 1_050, 1_100, None), True),
        ({"at_least": 5_000}, (1_000, 1_050, 1_100, None), False),
        ({"at_least": 100, "at_most": 10_000}, (1_000, 1_050, 1_100, None), False),
    ],
)
def test_a_mean_over_the_seeds_that_solve_a_task_is_only_a_lower_bound(
    bounds: dict[str, float], counts: tuple[int | None, ...], robust: bool
) -> None:
    limits = {"at_least": None} | bounds
    entry = judged(claim(quantity={"metric": "sequences_until_solved"}, **limits), sequences_until_solved(*counts))
    assert entry.findings[0].unsolved == counts.count(None)
    assert entry.settled == robust
