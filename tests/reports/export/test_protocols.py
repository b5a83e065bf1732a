"""Exports of a run whose cases differ in their protocol say so, beside the short label and the full spec."""

from __future__ import annotations

import csv
import io

import pytest
from rich.console import Console

import reports
from results import Record, RunFile
from tests.reports import synthetic

LSTM = "lstm:forget_bias=1"
DIFFERS = {"lstm": "batch=32", "lstm batch=8": "batch=8", "gru": "batch=32", "gru batch=8": "batch=8"}


@pytest.fixture(scope="module")
def sweep() -> tuple[RunFile, list[Record]]:
    """Return a run of two architectures, most cases of which have a batch of 32, and some a batch of 8."""
    records = []
    for arch in (LSTM, "gru"):
        for length, batch in ((32, 32), (128, 32), (32, 8)):
            for seed in range(2):
                record = synthetic.record(synthetic.case(arch, "adding", length, seed))
                protocol = record.case.protocol.model_copy(update={"batch": batch})
                case = record.case.model_copy(update={"protocol": protocol})
                records.append(record.model_copy(update={"case": case, "key": case.key}))
    return synthetic.run([record.case for record in records]), records


def test_rows_say_in_what_they_differ(sweep: tuple[RunFile, list[Record]]) -> None:
    rows = list(csv.DictReader(io.StringIO(reports.as_csv(*sweep))))
    assert {row["arch"]: row["differs"] for row in rows} == DIFFERS
    assert {(row["arch_spec"], row["differs"]) for row in rows} == {
        (arch, differs) for arch in (LSTM, "gru") for differs in ("batch=32", "batch=8")
    }
    document = reports.leaderboard_document(*sweep)
    assert {row["arch"]: row["differs"] for row in document} == DIFFERS


def test_aggregates_say_in_what_they_differ(sweep: tuple[RunFile, list[Record]]) -> None:
    rows = list(csv.DictReader(io.StringIO(reports.aggregates_as("csv", *sweep))))
    shown = {row["arch"]: row["differs"] for row in rows}
    assert len(shown) > 1 and shown.items() <= DIFFERS.items()
    found = reports.aggregates_document(*sweep)["aggregates"]
    assert isinstance(found, list)
    assert {each["arch"]: each["differs"] for each in found} == shown


def test_names_in_full_have_the_usual_value_too(sweep: tuple[RunFile, list[Record]]) -> None:
    console = Console(file=io.StringIO(), width=200)
    reports.render_terminal(*sweep, console=console)
    assert isinstance(console.file, io.StringIO)
    texts = [
        console.file.getvalue().replace(" = ", ": "),
        reports.as_markdown(*sweep),
        reports.as_latex(*sweep),
        reports.paper_table(*sweep, "score"),
        reports.aggregates_as("markdown", *sweep),
    ]
    for text in texts:
        plain = text.replace(r"\allowbreak{}", "").replace("\\", "")
        assert f"lstm: {LSTM} batch=32" in plain
        assert f"lstm batch=8: {LSTM} batch=8" in plain
        assert "gru: gru batch=32" in plain
        assert "gru batch=8: " not in plain  # the label is the full name


def test_a_run_with_one_protocol_differs_in_nothing(run: RunFile, records: list[Record]) -> None:
    assert {row.differs for row in reports.leaderboard(run, records)} == {""}
