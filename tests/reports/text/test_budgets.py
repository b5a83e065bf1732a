"""Reports name the budget, the size of each model, and every model that misses the budget."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

import reports
from reports.analysis.groups import group_cases
from reports.format.numbers import amount
from reports.text.budgets import budget, missed_budgets, model_sizes
from results import Model, Record, RunFile
from tests.reports import synthetic


def by_state(arch: str, length: int, state_bytes: int | None, **changes: Any) -> Record:
    """Return the record of a case with a state budget of 4 KiB, and with a model of another state."""
    case = synthetic.case(arch, "adding", length, 0).model_copy(update={"params": None, "state": 4096})
    case = case.model_copy(update=changes)
    model = Model(parameters=20_000, width=40, depth=2, state_bytes=state_bytes, step_flops=48_000)
    return synthetic.record(case).model_copy(update={"model": model})


def a_run(*records: Record) -> tuple[RunFile, list[Record]]:
    return synthetic.run([record.case for record in records]), list(records)


def test_amounts_have_the_unit_of_their_budget() -> None:
    kinds = {"params": 20_000, "width": 40, "state": 4096, "step_flops": 40_000}
    assert [amount(kind, number) for kind, number in kinds.items()] == [
        "20,000 parameters",
        "width 40",
        "4 KiB of state",
        "40,000 FLOPs per step",
    ]


def test_an_architecture_that_misses_its_budget_is_named_with_what_it_has() -> None:
    run = a_run(by_state("gru", 32, 5325), by_state("lstm", 32, 4096), by_state("rnn", 32, 3276))
    assert missed_budgets(group_cases(*run)) == [
        "gru has 5.2 KiB of state, 30% over the budget of 4 KiB.",
        "rnn has 3.2 KiB of state, 20% under the budget of 4 KiB.",
    ]


def test_settings_are_named_if_the_architecture_meets_the_budget_elsewhere() -> None:
    run = a_run(by_state("gru", 32, 4096), by_state("gru", 128, 8192))
    assert missed_budgets(group_cases(*run)) == [
        "gru has 8 KiB of state on adding at 128, 100% over the budget of 4 KiB."
    ]


@pytest.mark.parametrize("state_bytes", [4096, 4505, 3687, None])
def test_a_tenth_is_no_miss_and_neither_is_an_unknown_size(state_bytes: int | None) -> None:
    assert missed_budgets(group_cases(*a_run(by_state("gru", 32, state_bytes)))) == []


def test_a_missed_budget_of_flops_or_parameters_is_named_too() -> None:
    flops = by_state("gru", 32, 4096, state=None, step_flops=40_000)
    params = by_state("lstm", 32, 4096, state=None, params=10_000)
    assert missed_budgets(group_cases(*a_run(flops))) == [
        "gru has 48,000 FLOPs per step, 20% over the budget of 40,000 FLOPs per step."
    ]
    assert missed_budgets(group_cases(*a_run(params))) == [
        "lstm has 20,000 parameters, 100% over the budget of 10,000 parameters."
    ]


def test_budgets_and_sizes_are_described() -> None:
    groups = group_cases(*a_run(by_state("gru", 32, 4096), by_state("gru", 128, 8192)))
    assert budget(groups) == "4 KiB of state, 2 layers"
    assert model_sizes(groups) == {"gru": "width 40, 20,000 parameters, 4.0–8.0 KiB of state, 48,000 FLOPs per step"}
    assert model_sizes(group_cases(synthetic.run(), synthetic.records()))["gru"] == "width 40, 20,003 parameters"


def test_every_output_names_missed_budgets(capsys: pytest.CaptureFixture[str]) -> None:
    run = a_run(by_state("gru", 32, 5325), by_state("lstm", 32, 4096))
    sentence = "gru has 5.2 KiB of state, 30% over the budget of 4 KiB."
    reports.render_terminal(*run)
    assert sentence in capsys.readouterr().out
    assert sentence in reports.page(*run)
    assert "requested 4 KiB of state; actual width 40" in reports.page(*run)
    assert f"Missed budgets:\n\n- {sentence}" in reports.as_markdown(*run)
    assert sentence.replace("%", r"\%") in reports.as_latex(*run)
    rows = {row["arch"]: row for row in csv.DictReader(io.StringIO(reports.as_csv(*run)))}
    assert (rows["gru"]["budget"], rows["gru"]["budget_amount"]) == ("state", "4096")
    assert float(rows["gru"]["budget_excess"]) == pytest.approx(0.3, abs=1e-3)
    assert float(rows["lstm"]["budget_excess"]) == 0.0
    assert (rows["gru"]["trained_state_bytes"], rows["gru"]["trained_step_flops"]) == ("5325", "48000")


def test_cases_of_different_budgets_are_in_different_groups() -> None:
    records = [by_state("gru", 32, 4096), by_state("gru", 32, 4096, state=None, step_flops=40_000)]
    assert [group.arch for group in group_cases(*a_run(*records))] == [
        "gru depth 2, 4 KiB of state",
        "gru depth 2, 40,000 FLOPs per step",
    ]
