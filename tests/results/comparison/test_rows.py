"""The order of the rows of a comparison, and scores of the base that cannot fall."""

from __future__ import annotations

import pytest

from results import Case, Record, ReferenceScores
from results.comparison import compare
from results.comparison.floors import scores_at_floor
from results.comparison.pairing import Pair
from tests.results.planted import grid, run_of


def test_a_row_over_all_cases_comes_before_those_of_single_cases() -> None:
    """The score of one case falls by more than that of all cases, so its effect alone would put it first."""

    def worse(case: Case, _: object) -> float:
        return 0.9 + 0.01 * case.seed - (0.4 if case.arch == "lstm" and case.task == "task0" else 0.0)

    def same(case: Case, _: object) -> float:
        return 0.9 + 0.01 * case.seed

    cases = grid(tasks=2, seeds=3)
    rows = compare(run_of(cases, 1, scored=same), run_of(cases, 2, scored=worse)).rows
    for verdict in {row.verdict for row in rows}:
        pooled = [row.is_pooled for row in rows if row.verdict == verdict and row.metric == "accuracy"]
        assert pooled == sorted(pooled, reverse=True)
    assert any(row.is_pooled for row in rows)


def pair(score: float, *lengths: int, trained: int = 32, memoryless: float | None = 0.5) -> Pair:
    _, records = run_of(grid(("rnn",), tasks=1, seeds=2), 1, scored=lambda case, _: score)
    references = tuple(
        ReferenceScores(length=length, chance=0.25, memoryless_score=memoryless) for length in (32, 64, 128)
    )

    def changed(record: Record) -> Record:
        measurements = tuple(
            each for each in record.measurements if each.metric == "accuracy" and each.at["length"] in lengths
        )
        return record.model_copy(update={"measurements": measurements, "reference_scores": references})

    by_seed = {record.case.seed: changed(record) for record in records}
    case = records[0].case.model_copy(update={"length": trained})
    return Pair(case=case, base=by_seed, new=by_seed)


@pytest.mark.parametrize(
    ("score", "memoryless", "floor"),
    [(0.45, 0.5, 0.5), (0.52, 0.5, 0.5), (0.53, 0.5, None), (0.28, None, 0.25), (0.29, None, None)],
)
def test_a_score_within_a_twentieth_of_the_span_is_at_its_floor(
    score: float, memoryless: float | None, floor: float | None
) -> None:
    found = [each.floor for each in scores_at_floor([pair(score, 32, memoryless=memoryless)])]
    assert found == ([] if floor is None else [floor])


def test_the_score_at_the_trained_length_counts_or_that_at_the_shortest_one() -> None:
    assert [each.length for each in scores_at_floor([pair(0.5, 32, 64, 128, trained=64)])] == [64]
    assert [each.length for each in scores_at_floor([pair(0.5, 64, 128)])] == [64]


def test_a_case_without_scores_or_reference_scores_is_left_out() -> None:
    case = pair(0.5, 32)
    bare = {seed: record.model_copy(update={"reference_scores": ()}) for seed, record in case.base.items()}
    untested = {seed: record.model_copy(update={"measurements": ()}) for seed, record in case.base.items()}
    for records in (bare, untested):
        assert list(scores_at_floor([Pair(case=case.case, base=records, new=records)])) == []


def test_model_that_lost_its_compiled_step_is_named_as_the_reason() -> None:
    base, (file, records) = run_of(grid(tasks=1, seeds=1), 1), run_of(grid(tasks=1, seeds=1), 2)

    def interpreted(record: Record) -> Record:
        called = [
            each.model_copy(update={"metric": "call_step_seconds"}) if each.metric == "step_seconds" else each
            for each in record.measurements
        ]
        return record.model_copy(update={"measurements": tuple(called)})

    missing = compare(base, (file, [interpreted(record) for record in records])).missing
    assert {each.reason for each in missing} == {
        "step at position 16 was not measured, since the model has no compiled step",
        "step at position 128 was not measured, since the model has no compiled step",
    }
