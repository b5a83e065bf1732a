"""Read files of pytest-benchmark: a stored one, one that the installed version writes, and damaged ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from results.benchmarks import BenchmarkError, MixedFiles, benchmark_run, read_pytest_benchmark
from tests.results.benchmarks.files import FIXTURE, LONG, SHORT, SORT, document, write

BENCHMARKS = """
import pytest
@pytest.mark.parametrize("n", [10, 1000])
def test_sum(benchmark, n):
    benchmark.pedantic(sum, args=(range(n),), rounds=7, iterations=3)
"""


def test_a_stored_file_is_read() -> None:
    found = read_pytest_benchmark(FIXTURE)
    assert {name: len(seconds) for name, seconds in found.seconds.items()} == {SHORT: 20, LONG: 20, SORT: 20}
    assert dict(found.environment) == {
        "host": "runner",
        "cpu": "AMD EPYC",
        "cores": "2",
        "system": "Linux",
        "python": "CPython 3.11.7",
    }
    assert found.commit is None
    assert found.settings[SORT] == {"timer": "perf_counter", "disable gc": "False", "warmup": "False"}


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--benchmark-json=new.json", "--benchmark-save=new"])
def test_a_file_of_the_installed_version_is_read(tmp_path: Path, option: str) -> None:
    (tmp_path / "test_sums.py").write_text(BENCHMARKS)
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", option, "--benchmark-save-data"]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}  # of pytest-xdist
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, env=variables)
    (path,) = tmp_path.rglob("*.json")
    found = read_pytest_benchmark(path)
    assert {name: len(seconds) for name, seconds in found.seconds.items()} == {
        "test_sums.py::test_sum[10]": 7,
        "test_sums.py::test_sum[1000]": 7,
    }
    assert all(found.environment.values())


def _without_data(content: dict[str, Any]) -> None:
    del content["benchmarks"][1]["stats"]["data"]


def _with(*path: str | int, value: object) -> Callable[[dict[str, Any]], None]:
    def change(content: Any) -> None:
        for part in path[:-1]:
            content = content[part]
        content[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_without_data, "save it with --benchmark-save-data"),
        (_with("benchmarks", 0, "stats", "data", value=[]), "save it with --benchmark-save-data"),
        (_with("benchmarks", 0, "stats", "data", value=[1.0, -1.0]), "benchmarks.0.stats.data.1"),
        (_with("benchmarks", 0, "stats", "data", value=[float("nan")]), "benchmarks.0.stats.data.0"),
        (_with("benchmarks", 0, "stats", "data", value="1.0"), "benchmarks.0.stats.data"),
        (_with("benchmarks", 0, "fullname", value=""), "benchmarks.0.fullname"),
        (_with("datetime", value="yesterday"), "datetime is 'yesterday'"),
        (_with("machine_info", value=None), "machine_info"),
    ],
)
def test_an_unusable_file_is_refused_with_the_reason(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], expected: str
) -> None:
    content = document(0)
    change(content)
    path = tmp_path / "new.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(BenchmarkError) as refused:
        read_pytest_benchmark(path)
    assert expected in str(refused.value) and str(path) in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", "\x00", "[" * 100_000, '{"benchmarks": 1e999}', "\ud800"])
def test_any_other_file_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "new.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(BenchmarkError, match="no JSON file of pytest-benchmark"):
        read_pytest_benchmark(path)
    with pytest.raises(BenchmarkError, match="cannot read"):
        read_pytest_benchmark(tmp_path)


ASV_FILES = {
    "the results of a commit": {
        "commit_hash": "ab" * 20,
        "env_name": "virtualenv-py3.12",
        "params": {"machine": "runner", "num_cpu": "8"},
        "result_columns": ["result", "params", "version"],
        "results": {"time_sort": [[0.1], [], "1"]},
        "version": 2,
    },
    "a machine": {"arch": "x86_64", "cpu": "x", "machine": "runner", "num_cpu": "8", "ram": "32", "version": 1},
    "the list of benchmarks": {
        "time_sort": {"code": "def time_sort(): ...", "param_names": [], "type": "time"},
        "version": 2,
    },
}


@pytest.mark.parametrize("kind", ASV_FILES)
def test_a_file_of_asv_is_refused_with_what_to_use_instead(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "runner.json"
    path.write_text(json.dumps(ASV_FILES[kind]), encoding="utf-8")
    with pytest.raises(BenchmarkError) as refused:
        read_pytest_benchmark(path)
    assert str(refused.value) == (
        f"{path} is a file of asv, whose results are not read; compare two commits with `asv compare`, or run the "
        "benchmarks with pytest-benchmark: `pytest --benchmark-json=FILE`"
    )


def test_entries_of_one_name_are_joined(tmp_path: Path) -> None:
    content = document(0)
    content["benchmarks"].append(content["benchmarks"][0])
    write(tmp_path, "new", [content])
    assert len(read_pytest_benchmark(tmp_path / "new-0.json").seconds[SHORT]) == 40


def test_files_of_one_side_must_agree_and_differ_in_their_timings(tmp_path: Path) -> None:
    write(tmp_path, "base", [document(0), document(1, node="another"), document(0)])
    first, elsewhere, copy = (read_pytest_benchmark(tmp_path / f"base-{index}.json") for index in range(3))
    with pytest.raises(MixedFiles, match=r"differ in host: runner in .*base-0\.json, another in .*base-1\.json"):
        benchmark_run("base", [first, elsewhere])
    joined = benchmark_run("base", [elsewhere, first], frozenset({"host"}))
    assert [each.file for each in joined.processes] == [first.file, elsewhere.file]
    assert joined.environment()["host"] == "runner and another"
    with pytest.raises(BenchmarkError, match="have the same timings"):
        benchmark_run("base", [first, copy])


def test_commits_must_agree_within_a_side(tmp_path: Path) -> None:
    documents = [document(0), document(1)]
    documents[1]["commit_info"]["id"] = "abc"
    write(tmp_path, "base", documents)
    both = [read_pytest_benchmark(tmp_path / f"base-{index}.json") for index in range(2)]
    with pytest.raises(MixedFiles, match="--allow commit"):
        benchmark_run("base", both)
    assert len(benchmark_run("base", both, frozenset({"commit"})).processes) == 2
