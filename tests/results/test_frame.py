"""The table for pandas: one row a measurement, and the values that the records hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from results import StoreError, frame, load
from tests.results.examples import case, record, run_file, stored

COLUMNS = {"key", "arch", "task", "length", "seed", "status", "parameters", "metric", "samples", "count", "median"}


def test_one_row_a_measurement_with_its_values() -> None:
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


def test_a_run_is_loaded_by_path_and_as_the_latest(tmp_path: Path) -> None:
    run, records = stored(tmp_path, 0, 1)
    from results import Store

    Store(tmp_path).create(run_file("20250101-000000-older-000000"))
    for path in (run.folder, str(run.folder), tmp_path / "latest"):
        table = load(path)
        assert len(table) == 6
        assert set(table["key"]) == {each.key for each in records}


def test_a_path_without_a_run_is_one_line(tmp_path: Path) -> None:
    stored(tmp_path, 0)
    for path in (tmp_path / "nothing", tmp_path / "20260102", tmp_path / "missing" / "latest"):
        with pytest.raises(StoreError, match="no run"):
            load(path)
