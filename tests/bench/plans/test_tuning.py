"""Plans with a grid of learning rates, and plans with learning rates per architecture."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from bench.commands.run import RunOptions, choose_plan
from bench.commands.run_warnings import budget_warnings, rate_warnings
from bench.errors import UsageError
from bench.plans.grid import cases, reported_cases
from bench.plans.plan import Plan, load
from results import TUNING_SEED, Case, Tuning
from tests.bench.plans.test_plan import message_of
from tests.bench.tiny import TINY, write_plan

GRID = "\n[tuning]\nlearning_rates = [1e-3, 1e-2, 3e-2]\nseeds = 2\n"
RATE_OF_LSTM = """
[[override]]
archs = ["lstm"]
protocol = { learning_rate = 1e-2 }
found_by = "a long run"
"""
RATES_BY_ARCH = f"""{RATE_OF_LSTM}
[[override]]
archs = ["gru:init=orthogonal"]
protocol = {{ learning_rate = 2e-2 }}
"""


def plan_of(folder: Path, text: str) -> Plan:
    return load(str(write_plan(folder, text)))


def options(plan: Path, **changes: Any) -> RunOptions:
    """Return the options of `carousel run PLAN`, with the given changes."""
    none = {field.name: None for field in dataclasses.fields(RunOptions)}
    given = {"plan": str(plan), "archs": [], "tasks": [], "repeat": 1, "device": "cpu", "plugin_files": []}
    return RunOptions(**none | given | changes)


def test_a_grid_adds_tuning_cases_before_the_reported_ones(tmp_path: Path) -> None:
    found = cases(plan_of(tmp_path, TINY + GRID))
    tuning, reported = found[:12], found[12:]
    assert all(case.purpose == "tuning" for case in tuning)
    assert {(case.arch, case.protocol.learning_rate, case.seed) for case in tuning} == {
        (arch, rate, TUNING_SEED + number)
        for arch in ("rnn", "lstm")
        for rate in (1e-3, 1e-2, 3e-2)
        for number in range(2)
    }
    assert [(case.arch, case.seed, case.purpose) for case in reported] == [
        ("rnn", 0, "report"),
        ("lstm", 0, "report"),
        ("rnn", 1, "report"),
        ("lstm", 1, "report"),
    ]
    assert {case.protocol.learning_rate for case in reported} == {None}
    assert {key for case in reported for key in map(key_of, case.tuning_cases())} == {case.key for case in tuning}
    assert len({case.key for case in found}) == 16


def key_of(case: Case) -> str:
    return case.key


def test_more_reported_seeds_leave_the_tuning_cases_unchanged(tmp_path: Path) -> None:
    few, many = (cases(plan_of(tmp_path / str(n), TINY.replace("seeds = 2", f"seeds = {n}") + GRID)) for n in (2, 5))
    assert {case.key for case in few} < {case.key for case in many}
    assert {case.key for case in few if not case.is_reported} == {case.key for case in many if not case.is_reported}


def test_extra_grids_are_tuned_too(tmp_path: Path) -> None:
    extra = '\n[[extra]]\narchs = ["gru"]\nseeds = 1\nprotocol = { batch = 2 }\n'
    found = cases(plan_of(tmp_path, TINY + GRID + extra))
    assert [case.purpose for case in found if case.arch == "gru"] == [*["tuning"] * 6, "report"]
    assert {case.protocol.batch for case in found if case.arch == "gru"} == {2}


def test_rates_per_architecture_match_names_and_whole_specs(tmp_path: Path) -> None:
    text = TINY.replace('"rnn", "lstm"', '"rnn", "lstm", "lstm:forget_bias=2", "gru:init=orthogonal"') + RATES_BY_ARCH
    planned = reported_cases(plan_of(tmp_path, text))
    assert {(each.case.arch, each.case.protocol.learning_rate, each.rate_found_by) for each in planned} == {
        ("rnn", 1e-3, None),
        ("lstm", 1e-2, "a long run"),
        ("lstm:forget_bias=2.0", 1e-2, "a long run"),
        ("gru:init=orthogonal", 2e-2, None),
    }


def test_a_later_override_decides_which_run_found_the_rate(tmp_path: Path) -> None:
    later = "\n[[override]]\nlengths = [4]\nprotocol = { learning_rate = 3e-2 }\n"
    plan = plan_of(tmp_path, TINY.replace('"rnn", "lstm"', '"lstm", "gru:init=orthogonal"') + RATES_BY_ARCH + later)
    assert {(each.case.protocol.learning_rate, each.rate_found_by) for each in reported_cases(plan)} == {(3e-2, None)}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {("lstm", "a long run")}),
        ({"archs": ["lstm"]}, {("lstm", "a long run")}),
        ({"archs": ["lstm", "lstm:forget_bias=2"]}, {("lstm", "a long run"), ("lstm:forget_bias=2.0", None)}),
        ({"params": "2k"}, {("lstm", None)}),
        ({"state": "64B"}, {("lstm", None)}),
    ],
)
def test_a_run_found_rates_only_for_the_models_that_it_trained(
    tmp_path: Path, changes: dict[str, Any], expected: set[tuple[str, str | None]]
) -> None:
    path = write_plan(tmp_path, TINY + RATE_OF_LSTM)
    planned = reported_cases(choose_plan(options(path, **changes)))
    assert {(each.case.arch, each.rate_found_by) for each in planned if each.case.arch != "rnn"} == expected
    assert {each.case.protocol.learning_rate for each in planned if each.case.arch != "rnn"} == {1e-2}


def test_settings_without_a_tuned_rate_are_counted(tmp_path: Path) -> None:
    path = write_plan(tmp_path, TINY + RATE_OF_LSTM)
    (line,) = rate_warnings(choose_plan(options(path)))
    assert line.startswith(
        "no run has tuned the learning rates of 1 of 2 settings, such as rnn on first_last at 4, which"
    )
    assert rate_warnings(choose_plan(options(path, archs=["lstm"]))) == []
    assert rate_warnings(choose_plan(options(path, learning_rates="1e-3,1e-2"))) == []
    assert rate_warnings(plan_of(tmp_path, TINY)) == []
    guessing = '\n[[extra]]\narchs = ["gru"]\nprotocol = { optimizer = "guessing" }\n'
    assert rate_warnings(plan_of(tmp_path, TINY + RATE_OF_LSTM + guessing)) == [line]


def test_missed_budgets_are_named_before_training(tmp_path: Path) -> None:
    path = write_plan(tmp_path, TINY)
    (line,) = budget_warnings(choose_plan(options(path, archs=["transformer"], state="300B")))
    assert line == "transformer has 256 B of state, 15% under the budget of 300 B."
    assert budget_warnings(choose_plan(options(path, archs=["rnn"], state="304B"))) == []


INVALID = {
    "an empty grid": (GRID.replace("[1e-3, 1e-2, 3e-2]", "[]"), "tuning.learning_rates must not be empty"),
    "a negative rate": (GRID.replace("1e-3", "-1e-3"), "tuning.learning_rates[0] must be above 0, not -0.001"),
    "an infinite rate": (GRID.replace("1e-3", "inf"), "tuning.learning_rates[0] must be a finite number, not inf"),
    "a rate twice": (GRID.replace("1e-3", "1e-2"), "the rate 0.01 occurs more than once; give each rate once"),
    "no seeds": (GRID.replace("seeds = 2", "seeds = 0"), "tuning.seeds must be at least 1, not 0"),
    "no rates": ("\n[tuning]\nseeds = 2\n", "tuning.learning_rates is missing"),
    "an override that fixes a tuned rate": (
        GRID + '\n[[override]]\narchs = ["lstm"]\nprotocol = { learning_rate = 0.5 }\n',
        "learning_rate is 0.5 for lstm on first_last at 4, but the plan also tunes it",
    ),
    "an unknown architecture": (
        '\n[[override]]\narchs = ["gru"]\nprotocol = { batch = 2 }\n',
        "an override names the architecture 'gru', which the plan does not have",
    ),
    "a finder without a rate": (
        '\n[[override]]\nprotocol = { batch = 2 }\nfound_by = "a run"\n',
        "found_by says which run found a learning rate",
    ),
}


@pytest.mark.parametrize(("text", "expected"), INVALID.values(), ids=INVALID)
def test_an_invalid_grid_is_reported_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in message_of(write_plan(tmp_path, TINY + text))


def test_a_plan_that_fixes_and_tunes_all_rates_is_refused(tmp_path: Path) -> None:
    both = TINY.replace("batch = 4", "batch = 4\nlearning_rate = 0.25") + GRID
    expected = "learning_rate is 0.25 for rnn on first_last at 4, but the plan also tunes it: remove learning_rate"
    assert expected in message_of(write_plan(tmp_path, both))


def test_the_command_line_replaces_all_rates_of_the_plan(tmp_path: Path) -> None:
    extra = "\n[[extra]]\nlengths = [8]\nprotocol = { learning_rate = 0.125, batch = 2 }\n"
    fixed = TINY.replace("batch = 4", "batch = 4\nlearning_rate = 0.25") + RATES_BY_ARCH + extra
    path = write_plan(tmp_path, fixed.replace('"rnn", "lstm"', '"lstm", "gru:init=orthogonal"'))
    assert load(str(path)).fixes_rates
    plan = choose_plan(options(path, learning_rates="1e-2, 1e-3"))
    assert plan.tuning == Tuning(learning_rates=(1e-3, 1e-2), seeds=2)
    assert not plan.fixes_rates
    reported = reported_cases(plan)
    assert {(each.case.protocol.learning_rate, each.rate_found_by) for each in reported} == {(None, None)}
    assert {each.case.protocol.batch for each in reported if each.case.length == 8} == {2}


def test_the_command_line_changes_parts_of_the_plan_s_grid(tmp_path: Path) -> None:
    path = write_plan(tmp_path, TINY + GRID)
    assert choose_plan(options(path)).tuning == Tuning(learning_rates=(1e-3, 1e-2, 3e-2), seeds=2)
    assert choose_plan(options(path, tuning_seeds=5)).tuning == Tuning(learning_rates=(1e-3, 1e-2, 3e-2), seeds=5)
    assert choose_plan(options(path, learning_rates="0.5")).tuning == Tuning(learning_rates=(0.5,), seeds=2)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"learning_rates": ""}, "--learning-rates takes positive numbers such as 1e-3,3e-3, not ''"),
        ({"learning_rates": "1e-3,,1e-2"}, "--learning-rates takes positive numbers such as 1e-3,3e-3, not ''"),
        ({"learning_rates": "0"}, "--learning-rates takes positive numbers such as 1e-3,3e-3, not '0'"),
        ({"learning_rates": "nan"}, "--learning-rates takes positive numbers such as 1e-3,3e-3, not 'nan'"),
        ({"learning_rates": "1e400"}, "--learning-rates takes positive numbers such as 1e-3,3e-3, not '1e400'"),
        ({"learning_rates": "1e-3,0.001"}, "the rate 0.001 occurs more than once; give each rate once"),
        ({"learning_rates": "1e-3", "tuning_seeds": 0}, "--tuning-seeds must be at least 1, not 0"),
        ({"learning_rates": "1e-3", "tuning_seeds": 9999}, "--tuning-seeds: seeds must be at most 1,000, not 9999"),
        ({"tuning_seeds": 3}, "--tuning-seeds needs a grid: add --learning-rates"),
    ],
)
def test_invalid_options_are_reported_in_one_line(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_plan(options(write_plan(tmp_path), **changes))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
