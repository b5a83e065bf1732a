"""Test the pandas tables: rows, columns and values."""

from __future__ import annotations

import doctest
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from results import (
    Block,
    Case,
    Environment,
    Measurement,
    Protocol,
    StoreError,
    case_frame,
    cases,
    frame,
    frames,
    load,
    sample_frame,
    samples,
)
from tests.results.examples import FIXTURES, case, record, run_file, stored
from tests.results.schema.test_tuning import tuned_case

COLUMNS = {"key", "arch", "task", "length", "seed", "status", "parameters", "metric", "samples", "count", "median"}


@pytest.mark.parametrize("reader", [load, samples, cases])
def test_damaged_records_are_omitted_with_a_warning(reader: Callable[[Path], object], tmp_path: Path) -> None:
    run, _ = stored(tmp_path / "runs", 0, 1)
    run.record_paths()[1].write_text("{}", encoding="utf-8")
    with pytest.warns(
        UserWarning, match=r"^omitted 1 of 2 records of .*; run `carousel verify .*runs` to list them$"
    ) as warned:
        reader(run.folder)
    assert warned[0].filename == __file__


def test_load_has_one_row_per_measurement() -> None:
    first, crashed = record(), record(case("gru", seed=3), status="crashed", measurements=(), model=None)
    table = frame([first, crashed, record(case("gru", seed=4), model=None)])
    assert len(table) == 6
    assert set(table.columns) == COLUMNS | {"at_length", "at_position"}
    step = table[(table["metric"] == "step_seconds") & (table["seed"] == 0)].iloc[0]
    assert (step["count"], step["median"], step["samples"]) == (3, 2e-05, (1e-05, 3e-05, 2e-05))
    assert (step["arch"], step["task"], step["length"], step["status"]) == (
        "lstm:forget_bias=1",
        "first_last",
        32,
        "ok",
    )
    assert step["parameters"] == 3_538
    assert step["at_position"] == 16
    assert step["at_length"] != step["at_length"]
    assert step["key"] == first.key
    scores = table[table["metric"] == "accuracy"].set_index(["seed", "at_length"])["median"]
    assert scores[(0, 32)] == 0.875
    assert scores[(4, 64)] == 0.625


def test_no_records_give_an_empty_table_with_its_columns() -> None:
    for table in (frame([]), frame([record(measurements=())])):
        assert len(table) == 0
        assert set(table.columns) >= COLUMNS


def test_a_run_is_loaded_by_path_and_as_latest(tmp_path: Path) -> None:
    run, records = stored(tmp_path, 0, 1)
    from results import Store

    Store(tmp_path).create(run_file("20250101-000000-older-000000"))
    for path in (run.folder, str(run.folder), tmp_path / "latest"):
        table = load(path)
        assert len(table) == 6
        assert set(table["key"]) == {each.key for each in records}


def test_a_path_without_a_run_raises_an_error(tmp_path: Path) -> None:
    stored(tmp_path, 0)
    for path in (tmp_path / "nothing", tmp_path / "20260102", tmp_path / "missing" / "latest"):
        with pytest.raises(StoreError, match="no run"):
            load(path)


def test_samples_has_one_row_per_sample_with_process_block_and_case(tmp_path: Path) -> None:
    run, _ = stored(tmp_path)
    first = record()
    blocks = (Block(calibration_seconds=0.1, load=0.5), Block(calibration_seconds=0.2))
    timed = Measurement(
        metric="step_seconds", at={"position": 16}, samples=(1.0, 2.0, 3.0, 4.0), blocks=blocks, process=3
    )
    table = sample_frame(run.file(), [first, record(case(seed=1), measurements=(timed,))])
    assert len(table) == 5 + 4
    last = table[table["seed"] == 1]
    assert list(last["value"]) == [1.0, 2.0, 3.0, 4.0]
    assert list(last["sample"]) == [0, 1, 2, 3]
    assert list(last["block"]) == [0, 0, 1, 1]
    assert list(last["block_calibration_seconds"]) == [0.1, 0.1, 0.2, 0.2]
    assert list(last["block_load"])[:2] == [0.5, 0.5]
    assert set(last["process"]) == {3}
    assert set(last["unit"]) == {"s"}
    identity = {*Case.model_fields, *(f"protocol_{name}" for name in Protocol.model_fields)} - {"protocol", "tuning"}
    assert identity <= set(table.columns)
    assert {f"environment_{name}" for name in Environment.model_fields} <= set(table.columns)
    row = table.iloc[0]
    assert (row["run"], row["environment_cpu"], row["protocol_learning_rate"]) == (run.id, "a processor", 3e-3)
    assert (row["protocol_evaluate_at"], row["environment_packages"]) == ("1x,2x,4x", '{"numpy": "2.0.0"}')


def test_samples_are_assigned_to_blocks_evenly_and_in_order() -> None:
    blocks = tuple(Block(calibration_seconds=float(number)) for number in range(3))
    measured = Measurement(metric="step_seconds", samples=(0.0,) * 7, blocks=blocks)
    table = sample_frame(run_file(), [record(measurements=(measured,))])
    assert list(table["block"]) == [0, 0, 0, 1, 1, 2, 2]


def test_integers_stay_integers_with_missing_values_and_large_ones_become_text() -> None:
    far = Measurement(metric="accuracy", at={"length": 10**30}, samples=(0.5,))
    table = sample_frame(run_file(), [record(), record(case(seed=1), measurements=(far,))])
    assert list(table["at_length"].dropna()) == ["32", "64", str(10**30)]
    assert list(table["at_position"].dropna()) == [16, 16, 16]
    assert table["at_position"].dtype == "Int64"


def test_no_samples_give_an_empty_table() -> None:
    table = sample_frame(run_file(), [record(measurements=())])
    assert len(table) == 0
    assert {"run", "key", "metric", "value"} <= set(table.columns)


def test_cases_has_one_row_per_planned_case() -> None:
    timed = Measurement(metric="step_seconds", at={"position": 16}, samples=(1.0, 5.0, 9.0, 100.0, 2.0))
    scored = Measurement(metric="accuracy", at={"length": 32}, samples=(0.5, 0.75))
    first = record(measurements=(timed, scored))
    table = case_frame(run_file("a", case(), case(seed=1)), {first.key: first})
    assert list(table["status"]) == ["ok", "missing"]
    assert (table["step_seconds position=16"][0], table["accuracy length=32"][0]) == (5.0, 0.625)
    assert (table["train_steps"][0], table["stopped"][0], table["seed"][1]) == (100, "budget", 1)
    assert table["convergence"][0] == "still learning"


def test_tuned_cases_have_their_rate_and_tuning_cases_have_no_row() -> None:
    tuned = tuned_case(1e-3, 3e-3)
    tuning = [record(each) for each in tuned.tuning_cases()]
    training = record(tuned).training
    assert training is not None
    first = record(tuned, training=training.model_copy(update={"learning_rate_source": "tuned"}))
    file = run_file("a", *(each.case for each in tuning), tuned, case())
    table = case_frame(file, {each.key: each for each in (first, *tuning)})
    row, fixed = table.iloc[0], table.iloc[1]
    assert (row["learning_rate"], row["learning_rate_source"]) == (3e-3, "tuned")
    assert (row["tuning_learning_rates"], row["tuning_seeds"]) == ("0.001,0.003", 2)
    assert fixed["tuning_learning_rates"] != row["tuning_learning_rates"]
    assert list(table["seed"]) == [0, 0]


def test_the_docstring_examples_are_correct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(FIXTURES / "schema-6", tmp_path / "carousel-runs")
    monkeypatch.chdir(tmp_path)
    ran = doctest.testmod(frames, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert ran.failed == 0
    assert ran.attempted >= 9
