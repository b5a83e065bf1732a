"""Partial strategies that explain scores: found if every seed is close, and named in findings and tables."""

from __future__ import annotations

import csv
import io
import json

import pytest
from rich.console import Console

import reports
from bench.commands.output import run_document
from reports.analysis.groups import group_cases
from reports.analysis.strategies import explaining_strategy, strategies_of_seeds
from reports.text.conclusions import conclusions
from results import Record, StrategyScore
from tests.reports import planted, synthetic

STRATEGIES = (
    StrategyScore(name="one addend", score=0.3, loss=0.08),
    StrategyScore(name="counts", score=0.31),
    StrategyScore(name="a forecast", loss=0.01),
)


def scored(scores: list[float]) -> list[Record]:
    """Return planted records of one architecture with these scores and with partial strategies."""
    made = planted.records("lstm", 0.5, state=640, microseconds=2, spread=[score - 0.5 for score in scores])
    return [
        record.model_copy(
            update={
                "reference_scores": tuple(
                    each.model_copy(update={"strategies": STRATEGIES}) for each in record.reference_scores
                )
            }
        )
        for record in made
    ]


@pytest.mark.parametrize(
    ("scores", "explained"),
    [
        ([0.29, 0.3, 0.31], ("one addend", 0.3)),
        ([0.31, 0.31, 0.32], ("counts", 0.31)),
        ([0.3, 0.3, 0.5], None),  # one seed knows more
        ([0.2, 0.2, 0.2], None),
    ],
)
def test_a_strategy_explains_scores_that_are_all_close_to_it(
    scores: list[float], explained: tuple[str, float] | None
) -> None:
    records = scored(scores)
    (group,) = group_cases(synthetic.run([record.case for record in records]), records)
    assert group.scores() == pytest.approx(scores)
    assert explaining_strategy(group) == explained


@pytest.mark.parametrize(
    ("scores", "explained"),
    [
        ([0.08, 0.3, 0.5], {("one addend", 0.3): 1}),
        ([0.07, 0.3, 0.32], {("one addend", 0.3): 1, ("counts", 0.31): 1}),
        ([0.3, 0.3, 1.0], {("one addend", 0.3): 2}),
        ([0.08, 0.08, 0.5], {}),  # neither chance nor half of the answers is a strategy
    ],
)
def test_each_seed_has_the_strategy_that_is_nearest_to_its_score(
    scores: list[float], explained: dict[tuple[str, float], int]
) -> None:
    records = scored(scores)
    (group,) = group_cases(synthetic.run([record.case for record in records]), records)
    assert strategies_of_seeds(group) == explained


def test_a_seed_that_solves_the_task_needs_no_strategy() -> None:
    """A strategy can score nearly as well as a solution."""
    near = StrategyScore(name="nearly all", score=0.995)
    records = [
        record.model_copy(
            update={
                "reference_scores": tuple(
                    each.model_copy(update={"strategies": (near,)}) for each in record.reference_scores
                )
            }
        )
        for record in scored([1.0, 1.0, 1.0])
    ]
    (group,) = group_cases(synthetic.run([record.case for record in records]), records)
    assert explaining_strategy(group) == ("nearly all", 0.995)
    assert strategies_of_seeds(group) == {}


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (
            [0.3, 0.08, 0.07],
            "lstm (0.15, 0.07 to 0.30): 1 of 3 seeds scores as “one addend” does (0.3) and 2 are not clearly above the "
            "chance level (0.078).",
        ),
        (
            [0.3, 0.3, 1.0],
            "lstm (0.53, 0.30 to 1.00): 1 of 3 seeds solves the task and 2 score as “one addend” does (0.3).",
        ),
        (
            [1.0, 0.7, 0.29],
            "lstm (0.66, 0.29 to 1.00): 1 of 3 seeds solves the task, 1 uses some of the past and 1 scores as “one "
            "addend” does (0.3).",
        ),
        ([0.3, 0.3, 0.42], "lstm (0.34, 2 of 3 seeds score as “one addend” does (0.3)) uses some of the past."),
        ([0.42, 0.42, 0.42], "lstm (0.42) uses some of the past."),
    ],
)
def test_findings_name_the_strategy_of_single_seeds(scores: list[float], words: str) -> None:
    records = scored(scores)
    (sentence, *_) = conclusions(group_cases(synthetic.run([record.case for record in records]), records))
    assert sentence == f"adding at 32: {words}"


def test_findings_and_tables_name_the_strategy() -> None:
    records = scored([0.29, 0.3, 0.31])
    run = synthetic.run([record.case for record in records])
    (sentence, *_) = conclusions(group_cases(run, records))
    assert "lstm (0.30, as “one addend” scores (0.3)) uses some of the past" in sentence
    console = Console(width=200, record=True, file=io.StringIO())
    reports.render_terminal(run, records, console=console)
    shown = console.export_text()
    assert "  one addend" in shown and "  a forecast" not in shown
    (row,) = run_document(run, records)["leaderboard"]
    assert json.loads(json.dumps(row))["strategies"][0] == {"name": "one addend", "score": 0.3, "loss": 0.08}
    (line,) = csv.DictReader(io.StringIO(reports.as_csv(run, records)))
    assert line["strategies"] == "one addend 0.3; counts 0.31"
