"""Reports show where learning rates came from, warn of edges, and never mix tuning cases with reported ones."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

import reports
from bench.commands.find_case import named_cases
from bench.commands.output import run_document
from reports.analysis.groups import group_cases
from reports.analysis.learning_rates import rate_rows, tuning_cost
from reports.figures.learning_rates import learning_rates_figure
from reports.text.learning_rates import MAX_NAMED, edge_warning, missing_warning, sources
from results import Record, judge
from results.comparison import compare
from tests.reports import synthetic, tuned


def words(page: str) -> str:
    """Return the text of a page without tags, with single spaces."""
    text = re.sub(r"<(style|script)>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", text)).split())


@pytest.fixture(scope="module")
def made() -> list[Record]:
    return tuned.records()


def test_rows_name_the_chosen_rate_its_score_and_its_edge(made: list[Record]) -> None:
    lstm, gru = rate_rows(group_cases(tuned.run(), made), made)
    assert (lstm.arch, lstm.learning_rate, lstm.source, lstm.edge) == ("lstm", 1e-1, "tuned", "highest")
    assert (gru.arch, gru.learning_rate, gru.source, gru.edge) == ("gru", 1e-2, "tuned", "")
    assert (lstm.validation_score, gru.validation_score) == (pytest.approx(0.9), pytest.approx(0.8))
    assert [result.mean_score for result in gru.results] == [pytest.approx(score) for score in (0.3, 0.8, 0.4)]


def test_the_cost_of_tuning_is_a_share_of_all_training(made: list[Record]) -> None:
    cost = tuning_cost(made)
    assert cost is not None
    assert (cost.cases, cost.seconds, cost.share) == (12, 24.0, pytest.approx(24 / (24 + 6 * 8)))
    assert tuning_cost(synthetic.records()) is None


def test_tuning_cases_are_in_no_group_table_or_document_of_reported_cases(made: list[Record]) -> None:
    file = tuned.run()
    groups = group_cases(file, made)
    assert {seed.case.seed for group in groups for seed in group.seeds} == {0, 1, 2}
    rows = list(csv.DictReader(io.StringIO(reports.as_csv(file, made))))
    assert [(row["arch"], row["learning_rate"], row["learning_rate_source"]) for row in rows] == [
        ("gru", "0.01", "tuned"),
        ("lstm", "0.1", "tuned"),
    ]
    assert [row["seeds"] for row in rows] == ["3", "3"]
    assert "| 0.01 (tuned) |" in reports.as_markdown(file, made)
    document = json.loads(json.dumps(run_document(file, made)))
    assert {each["case"]["seed"] for each in document["records"]} == {0, 1, 2}
    assert len(document["tuning_records"]) == 12
    assert {named.record.case.seed for named in named_cases(file, made)} == {0, 1, 2}


def test_claims_are_judged_without_tuning_cases(made: list[Record]) -> None:
    from results import Claim

    claim = Claim.model_validate_json(
        json.dumps(
            {"name": "a", "text": "b", "source": "c", "what": "d", "quantity": {"metric": "accuracy"}, "at_least": 0.0}
        )
    )
    (entry,) = judge([claim], tuned.run().cases, made)
    assert len(entry.findings) == 2
    assert {finding.seeds for finding in entry.findings} == {3}


def test_a_comparison_pairs_reported_cases_and_lists_missing_tuning_cases(made: list[Record]) -> None:
    file = tuned.run()
    other = file.model_copy(update={"id": "20260102-120000-quick"})
    whole = compare((file, made), (other, made))
    assert (whole.missing, whole.failed) == ((), ())
    assert {(row.arch, row.metric) for row in whole.rows if row.metric == "accuracy"} == {
        ("lstm", "accuracy"),
        ("gru", "accuracy"),
    }
    tuning = [record for record in made if not record.case.is_reported]
    partial = compare((file, made), (other, [record for record in made if record is not tuning[0]]))
    assert [(missing.run, missing.case.purpose) for missing in partial.missing] == [("new", "tuning")]
    crashed = tuning[0].model_copy(update={"status": "crashed", "reason": "planted", "training": None})
    failing = compare((file, made), (other, [crashed, *(record for record in made if record is not tuning[0])]))
    assert [(failed.case.purpose, failed.reason) for failed in failing.failed] == [("tuning", "crashed: planted")]


def test_runs_with_different_grids_are_not_comparable(made: list[Record]) -> None:
    file = tuned.run()
    wider = {"tuning": tuned.TUNING.model_copy(update={"learning_rates": (1e-3, 1e-2, 1e-1, 1.0)})}
    new = []
    for record in made:
        if record.case.is_reported:
            case = record.case.model_copy(update=wider)
            new.append(record.model_copy(update={"case": case, "key": case.key}))
    other = file.model_copy(update={"id": "20260102-120000-quick", "cases": tuple(record.case for record in new)})
    found = compare((file, made), (other, new))
    assert {row.verdict for row in found.rows} == {"not comparable"}
    assert all(
        "tuning: 0.001, 0.01, 0.1 with 2 seeds → 0.001, 0.01, 0.1, 1 with 2 seeds" in row.reason for row in found.rows
    )
    assert found.missing == ()


def test_the_page_shows_curves_edges_sources_and_cost(made: list[Record]) -> None:
    text = words(reports.page(tuned.run(), made))
    for expected in (
        "Learning rates were chosen from 0.001, 0.01 and 0.1 per architecture, task and length, by the mean validation "
        "score of 2 seeds that are not reported.",
        "The best learning rate lies at the edge of the grid for lstm on adding at 32 (0.1, the highest)",
        "Tuning trained 12 cases in 24.0 s, 33% of all training time.",
        "at the edge: highest rate",
        "Score against learning rate",
        "a learning rate chosen by tuning",
        "0.01, chosen from 0.001, 0.01 and 0.1",
    ):
        assert expected in text, expected
    assert "6 cases" in text
    assert "1000000" not in text


def test_the_figure_marks_the_chosen_rates_and_draws_every_seed(made: list[Record]) -> None:
    groups = group_cases(tuned.run(), made)
    figure = learning_rates_figure(groups, rate_rows(groups, made))
    assert figure is not None
    assert "the best rate lies at the edge of the grid in 1 of 2 curves" in figure.alternative
    assert "gru: 0.30 at 0.001, 0.80 at 0.01, 0.40 at 0.1; 0.01 chosen" in figure.description
    seeds, means, rings = 12, 6, 2
    assert figure.svg.count("<use ") >= seeds + means + rings


def test_the_terminal_warns_in_few_lines(made: list[Record]) -> None:
    out = io.StringIO()
    reports.render_terminal(tuned.run(), made, console=Console(file=out, width=400))
    lines = [line for line in out.getvalue().splitlines() if "rate" in line.lower()]
    assert len(lines) == 2
    assert "lstm on adding at 32 (0.1, the highest)" in lines[0]
    assert "33% of all training time" in lines[1]


def test_missing_tuning_cases_are_named(made: list[Record]) -> None:
    first = next(record for record in made if not record.case.is_reported)
    left = [record for record in made if record is not first]
    rows = rate_rows(group_cases(tuned.run(), left), left)
    assert "lstm on adding at 32 (1 of 6)" in missing_warning(rows)
    assert missing_warning(rate_rows(group_cases(tuned.run(), made), made)) == ""


def test_sentences_name_few_architectures() -> None:
    made = tuned.records()
    row = rate_rows(group_cases(tuned.run(), made), made)[0]
    assert f"and {9 - MAX_NAMED} more" in edge_warning([row] * 9)
    assert edge_warning([]) == ""


def test_a_grid_of_two_rates_is_named_once(made: list[Record]) -> None:
    row = rate_rows(group_cases(tuned.run(), made), made)[0]
    assert row.edge
    two = replace(row, results=row.results[-2:])
    assert edge_warning([two] * 9) == (
        "The grid has only two learning rates, so that both lie at its edge: a wider grid may find better ones."
    )
    assert edge_warning([two, row]).startswith("The best learning rate lies at the edge of the grid for ")


def test_a_plan_with_fixed_rates_says_so() -> None:
    made = synthetic.records()
    groups = group_cases(synthetic.run(), made)
    trained = [record for record in made if record.training is not None]
    with_rates = [
        record.model_copy(
            update={
                "training": record.training.model_copy(
                    update={
                        "learning_rate": 1e-2 if record.case.arch == "gru" else 1e-3,
                        "learning_rate_found_by": "a long run" if record.case.arch == "gru" else None,
                    }
                )
            }
        )
        for record in trained
        if record.training is not None
    ]
    assert sources(rate_rows(groups, made)) == ["The plan fixes the learning rate of all architectures at 0.001."]
    found = sources(rate_rows(group_cases(synthetic.run(), with_rates), with_rates))
    assert found == [
        "The plan fixes the learning rates of all architectures, from 0.001 to 0.01.",
        "According to the plan, they were found by a long run.",
    ]
    text = words(reports.page(synthetic.run(), with_rates))
    assert "plan, found by a long run" in text
