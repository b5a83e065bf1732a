"""Exports of raw samples contain exact numbers and no formulas, and can be read by the tools of each format."""

from __future__ import annotations

import builtins
import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow.parquet
import pytest
from pytest_benchmark.stats import Stats

from reports import MissingLibrary, samples_as_csv, samples_as_parquet, timings_as_pytest_benchmark
from reports.format.escape import FORMULA_STARTS
from results import Measurement, Record, RunFile
from tests.results.examples import case, record, run_file

SAMPLES = (3e-05, 1.0000000000000002e-05, -2.5, 1e300, 0.1, 4e-05)


def sampled(arch: str = "lstm", **changes: Any) -> tuple[RunFile, list[Record]]:
    """Return a run and its only record, in which `SAMPLES` are the step times at one position.

    `changes` are fields of the run file.
    """
    sampled_case = case(arch)
    measured = Measurement(metric="step_seconds", at={"position": 16}, samples=SAMPLES)
    return run_file("a-run", sampled_case, **changes), [record(sampled_case, measurements=(measured,))]


def rows_of(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text), quoting=csv.QUOTE_NONNUMERIC))


def test_csv_has_one_line_per_sample_with_its_exact_value() -> None:
    rows = rows_of(samples_as_csv(*sampled()))
    assert [row["value"].hex() for row in rows] == [sample.hex() for sample in SAMPLES]
    assert [row["sample"] for row in rows] == list(range(len(SAMPLES)))
    assert {row["protocol_learning_rate"] for row in rows} == {3e-3}
    assert {row["environment_torch"] for row in rows} == {"2.13.0"}


@pytest.mark.parametrize("start", FORMULA_STARTS)
def test_csv_has_no_formulas_and_keeps_numbers(start: str) -> None:
    hostile = f'{start}cmd|"/c calc"!A1'
    run, records = sampled(hostile, plan=hostile)
    text = samples_as_csv(run, records)
    rows = rows_of(text)
    assert {row["arch"] for row in rows} == {"'" + hostile}
    assert {row["plan"] for row in rows} == {"'" + hostile}
    assert -2.5 in [row["value"] for row in rows]
    for line in csv.reader(io.StringIO(text)):
        for cell in line:
            try:
                float(cell)
            except ValueError:
                assert not cell.lstrip(" ").startswith(FORMULA_STARTS)


@pytest.mark.parametrize(
    "text",
    [
        *("12e4567", "12E4567890", "1234567890", "0123456789", "1e5", "00000000e1", "1d5", "3.10", "1_000", " 12 "),
        *("inf", "nan", "NA", "None", "null", "true", "FALSE", "1-2", "3/4", "12:30", "2026-01-02", "1,5", "50%"),
        *("'12e4567", "'"),
    ],
)
def test_csv_keeps_texts_that_look_like_other_values(text: str) -> None:
    run, records = sampled(text, plan=text, code=text, commit=text, plan_digest=text)
    table = pandas.read_csv(io.StringIO(samples_as_csv(run, records)))
    for name in ("arch", "plan", "code", "commit", "plan_digest"):
        assert set(table[name]) == {"'" + text}, name
    assert table["value"].tolist() == list(SAMPLES)


@pytest.mark.parametrize(
    "text", ["abc12e4567", "12e45g", "0x1F", "1e", "e5", "2.13.0", "none", "20260101-000000-quick-12e456", "16 32"]
)
def test_csv_leaves_other_texts_unchanged(text: str) -> None:
    run, records = sampled(plan=text)
    assert set(pandas.read_csv(io.StringIO(samples_as_csv(run, records)))["plan"]) == {text}


def test_csv_headings_are_no_formulas() -> None:
    run, (first,) = sampled()
    evil = first.model_copy(update={"measurements": (Measurement(metric="m", at={"=1+1": 3}, samples=(1.0,)),)})
    assert '"at_=1+1"' in samples_as_csv(run, [evil]).splitlines()[0]


def test_parquet_has_the_same_values_with_their_types(tmp_path: Path) -> None:
    run, records = sampled()
    more = record(case(seed=1))
    path = tmp_path / "samples.parquet"
    path.write_bytes(samples_as_parquet(run, [*records, more]))
    table = pyarrow.parquet.read_table(str(path), use_threads=False).to_pydict()
    assert [value.hex() for value in table["value"][: len(SAMPLES)]] == [sample.hex() for sample in SAMPLES]
    assert table["at_position"] == [16] * len(SAMPLES) + [None, None, 16, 16, 16]
    assert table["seed"] == [0] * len(SAMPLES) + [1] * 5
    assert table["protocol_keep_best"] == [False] * (len(SAMPLES) + 5)
    assert set(table["commit"]) == {None}
    assert set(table["arch"]) == {"lstm", "lstm:forget_bias=1"}


def test_run_without_records_gives_files_without_rows() -> None:
    run, _ = sampled()
    assert rows_of(samples_as_csv(run, [])) == []
    empty = pyarrow.parquet.read_table(pyarrow.BufferReader(samples_as_parquet(run, [])), use_threads=False)
    assert empty.num_rows == 0
    assert json.loads(timings_as_pytest_benchmark(run, []))["benchmarks"] == []


def test_missing_pyarrow_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def import_without_pyarrow(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", import_without_pyarrow)
    with pytest.raises(MissingLibrary, match=r"run `pip install '\.\[parquet\]'` in a clone of Carousel"):
        samples_as_parquet(*sampled())


def test_samples_have_the_short_label_beside_the_full_name() -> None:
    run, records = sampled("lstm:forget_bias=1")
    (first, *_) = rows_of(samples_as_csv(run, records))
    assert (first["arch"], first["label"]) == ("lstm:forget_bias=1", "lstm")
    other = record(case("lstm:forget_bias=2"))
    both = [*records, other]
    table = pyarrow.parquet.read_table(pyarrow.BufferReader(samples_as_parquet(run, both)), use_threads=False)
    assert set(table.to_pydict()["label"]) == {"lstm:forget_bias=1", "lstm:forget_bias=2"}


def test_statistics_match_pytest_benchmark() -> None:
    run, (first,) = sampled()
    samples = tuple(float(value) for value in np.random.default_rng(0).lognormal(-9, 1, 41))
    measured = Measurement(metric="step_seconds", at={"position": 16}, samples=samples)
    whole = first.model_copy(update={"measurements": (measured,)})
    (benchmark,) = json.loads(timings_as_pytest_benchmark(run, [whole]))["benchmarks"]
    oracle = Stats()
    for sample in samples:
        oracle.update(sample)
    expected = oracle.as_dict()
    stats = benchmark["stats"]
    assert stats["data"] == list(samples)
    assert stats["rounds"] == 41
    for name in ("min", "max", "mean", "stddev", "median", "total", "ops"):
        assert stats[name] == pytest.approx(expected[name], rel=1e-12), name
    assert set(expected) <= set(stats)


@pytest.mark.parametrize(("commit", "expected"), [("a" * 40, "a" * 40), (None, "unversioned")])
def test_commit_of_pytest_benchmark_is_no_digest_of_code(commit: str | None, expected: str) -> None:
    run, (first,) = sampled(commit=commit, modified=commit and True, code="12e4567890")
    measured = Measurement(metric="step_seconds", at={"position": 16}, samples=(1e-5, 3e-5))
    whole = first.model_copy(update={"measurements": (measured,)})
    document = json.loads(timings_as_pytest_benchmark(run, [whole]))
    assert document["commit_info"] == {"id": expected, "time": None, "dirty": commit is not None}
    assert document["benchmarks"][0]["extra_info"]["code"] == "12e4567890"


def test_pytest_benchmark_can_compare_two_exports(tmp_path: Path) -> None:
    for name, factor in (("base", 1.0), ("new", 2.0)):
        run, (first,) = sampled()
        measured = Measurement(metric="step_seconds", at={"position": 16}, samples=(1e-5 * factor, 3e-5 * factor))
        score = Measurement(metric="accuracy", at={"length": 32}, samples=(0.9,))
        whole = first.model_copy(update={"measurements": (measured, score)})
        (tmp_path / f"{name}.json").write_text(timings_as_pytest_benchmark(run, [whole]))
    command = [sys.executable, "-m", "pytest_benchmark", "compare", "base.json", "new.json", "--csv=compared.csv"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    rows = list(csv.DictReader((tmp_path / "compared.csv").read_text().splitlines()))
    assert len(rows) == 2
    medians = sorted(float(row["median"]) for row in rows)
    assert medians == pytest.approx([2e-5, 4e-5])
    assert all("accuracy" not in row["name"] for row in rows)
