"""Every export spells a kind of value in one way."""

from __future__ import annotations

import csv
import io
import json

import pytest

import reports
from reports.analysis.groups import group_cases
from reports.export import comparison_as_csv
from reports.html.case_details import case_details
from results import Record, RunFile
from results.comparison import compare
from tests.reports import synthetic

COUNTS = ("state_bytes", "step_flops", "step_bytes", "weight_bytes")


def columns_of(text: str) -> dict[str, set[object]]:
    """Return the distinct values of each column. Whatever has no quotes must be a number."""
    rows = list(csv.DictReader(io.StringIO(text), quoting=csv.QUOTE_NONNUMERIC))
    return {name: {row[name] for row in rows} - {""} for name in rows[0]}


@pytest.fixture(scope="module")
def small() -> tuple[RunFile, list[Record]]:
    """Return a run of two architectures on one task."""
    cases = [synthetic.case(arch, "adding", 32, seed) for arch in ("lstm:forget_bias=1", "gru") for seed in range(2)]
    return synthetic.run(cases, commit="c0ffee", modified=True), [synthetic.record(case) for case in cases]


@pytest.fixture(scope="module")
def swept() -> tuple[RunFile, list[Record]]:
    """Return a run of one architecture under two protocols, which differ in a truth value and in a list."""
    records = []
    for changes in ({}, {"keep_best": True, "evaluate_at": ("1x", 64)}):
        for seed in range(2):
            record = synthetic.record(synthetic.case("lstm:forget_bias=1", "adding", 32, seed))
            protocol = record.case.protocol.model_copy(update=changes)
            case = record.case.model_copy(update={"protocol": protocol})
            records.append(record.model_copy(update={"case": case, "key": case.key}))
    return synthetic.run([record.case for record in records]), records


def test_truth_values_are_true_and_false_in_every_csv(small: tuple[RunFile, list[Record]]) -> None:
    texts = (
        reports.as_csv(*small),
        reports.samples_as_csv(*small),
        reports.aggregates_as("csv", *small),
        comparison_as_csv(compare(small, small)),
    )
    found = set()
    for text in texts:
        for name, values in columns_of(text).items():
            if truths := {value for value in values if str(value).lower() in ("true", "false")}:
                assert values == truths <= {"True", "False"}, name
                found.add(name)
    assert found == {"trained", "undecided", "score_shows_past", "modified", "protocol_keep_best"}


def test_json_has_truth_values_and_whole_counts(small: tuple[RunFile, list[Record]]) -> None:
    rows = json.loads(json.dumps(reports.leaderboard_document(*small)))
    assert {type(row["score_shows_past"]) for row in rows} == {bool}
    assert {type(row[name]) for row in rows for name in COUNTS if row[name] is not None} == {int}


def test_counts_have_no_decimal_point(small: tuple[RunFile, list[Record]]) -> None:
    rows = list(csv.DictReader(io.StringIO(reports.as_csv(*small))))
    counts = [row[name] for row in rows for name in (*COUNTS, "trained_state_bytes", "parameters")]
    assert any(counts) and all(count == "" or count.isdecimal() for count in counts)


def test_a_setting_has_one_spelling_in_all_output(swept: tuple[RunFile, list[Record]]) -> None:
    settings = "evaluate_at=1x,64 keep_best=True"
    differs = {row.differs for row in reports.leaderboard(*swept)}
    assert settings in differs
    samples = columns_of(reports.samples_as_csv(*swept))
    assert {"1x,64"} < samples["protocol_evaluate_at"]
    assert samples["protocol_keep_best"] == {"True", "False"}
    conditions = columns_of(comparison_as_csv(compare(swept, swept)))["condition"]
    assert settings.replace(" ", ", ") in conditions
    shown = [dict(details.configuration)["protocol"] for details in case_details(group_cases(*swept))]
    assert any(settings.split()[0] in text for text in shown)
    assert settings in reports.as_markdown(*swept).replace("\\", "")
    assert settings in reports.as_latex(*swept).replace("\\allowbreak{}", "").replace("\\", "")
