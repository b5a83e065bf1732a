"""Compare files of pytest-benchmark: units, verdicts, and what makes benchmarks not comparable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from results.benchmarks import BenchmarkError, BenchmarkRun, benchmark_run, read_pytest_benchmark
from results.comparison import Comparison, compare_benchmarks
from tests.results.benchmarks.files import LONG, SHORT, SORT, document, write


def side(folder: Path, name: str, documents: Sequence[dict[str, Any]]) -> BenchmarkRun:
    write(folder, name, documents)
    paths = [folder / f"{name}-{index}.json" for index in range(len(documents))]
    return benchmark_run(name, [read_pytest_benchmark(path) for path in paths])


def verdicts(comparison: Comparison) -> dict[str, str]:
    return {row.benchmark: row.verdict for row in comparison.rows}


def test_a_planted_slow_down_regresses_and_the_rest_is_unchanged(tmp_path: Path) -> None:
    base = side(tmp_path, "base", [document(draw) for draw in range(6)])
    new = side(tmp_path, "new", [document(10 + draw, slower={SORT: math.log(1.2)}) for draw in range(6)])
    found = compare_benchmarks(base, new)
    assert verdicts(found) == {SORT: "regressed", SHORT: "unchanged", LONG: "unchanged"}
    worst = found.rows[0]
    assert worst.benchmark == SORT and worst.units == (6, 6)
    assert worst.effect == pytest.approx(0.2, abs=0.06)
    assert worst.low is not None and worst.high is not None and worst.low < 0.2 < worst.high
    assert verdicts(compare_benchmarks(new, base))[SORT] == "improved"


def test_one_file_per_side_decides_nothing_however_many_rounds(tmp_path: Path) -> None:
    base = side(tmp_path, "base", [document(0, rounds=500)])
    new = side(tmp_path, "new", [document(1, rounds=500, slower={SORT: 1.0})])
    found = compare_benchmarks(base, new)
    assert set(verdicts(found).values()) == {"inconclusive"}
    assert {(row.reason, row.additional_units) for row in found.rows} == {("too few: 1 against 1 process", 4)}


def test_only_the_first_rounds_of_the_shortest_process_count(tmp_path: Path) -> None:
    longer = document(1, rounds=4)
    for each in longer["benchmarks"]:
        each["stats"]["data"] = [1.0, 2.0, 3.0, 100.0, 100.0, 100.0, 100.0]
    shorter = document(0, rounds=3)
    base, new = side(tmp_path, "base", [shorter]), side(tmp_path, "new", [longer])
    assert [row.new for row in compare_benchmarks(base, new).rows] == [pytest.approx(2.0)] * 3


def test_alternating_versions_are_not_unstable_because_both_drift(tmp_path: Path) -> None:
    """The machine becomes 4% slower per minute, and the version itself is slower in one benchmark only."""

    def measured(name: str, minutes: Sequence[int], slower: float) -> BenchmarkRun:
        drift = dict.fromkeys((SORT, SHORT, LONG), 0.04)
        documents = [
            document(minute, noise=0.001, slower={each: rate * minute for each, rate in drift.items()})
            for minute in minutes
        ]
        for content in documents:
            data = content["benchmarks"][2]["stats"]["data"]
            content["benchmarks"][2]["stats"]["data"] = [math.exp(slower) * each for each in data]
        return side(tmp_path, name, documents)

    in_turns = compare_benchmarks(measured("a", range(0, 12, 2), 0.0), measured("b", range(1, 12, 2), 0.9))
    one_by_one = compare_benchmarks(measured("c", range(6), 0.0), measured("d", range(6, 12), 0.0))
    assert verdicts(in_turns)[SORT] == "regressed"
    assert {(row.verdict, row.reason[:8]) for row in one_by_one.rows} == {("inconclusive", "unstable")}


def test_another_machine_is_not_comparable_unless_allowed(tmp_path: Path) -> None:
    base = side(tmp_path, "base", [document(draw) for draw in range(5)])
    elsewhere = side(tmp_path, "new", [document(9 + draw, node="b", python_version="3.13.0") for draw in range(5)])
    found = compare_benchmarks(base, elsewhere)
    assert set(verdicts(found).values()) == {"not comparable"}
    assert [str(each) for each in found.differences] == ["host: runner → b", "python: CPython 3.11.7 → CPython 3.13.0"]
    allowed = compare_benchmarks(base, elsewhere, allow=frozenset({"host", "python"}))
    assert set(verdicts(allowed).values()) == {"unchanged"}
    assert [each.field for each in allowed.allowed] == ["host", "python"]


def test_another_timer_affects_its_benchmark_only(tmp_path: Path) -> None:
    other = [document(9 + draw) for draw in range(5)]
    for each in other:
        each["benchmarks"][2]["options"]["timer"] = "process_time"
    base, new = side(tmp_path, "base", [document(draw) for draw in range(5)]), side(tmp_path, "new", other)
    found = compare_benchmarks(base, new)
    assert verdicts(found) == {SORT: "not comparable", SHORT: "unchanged", LONG: "unchanged"}
    assert found.rows[0].reason == "timer: perf_counter → process_time"
    assert "not comparable" not in verdicts(compare_benchmarks(base, new, allow=frozenset({"timer"}))).values()


def test_missing_and_additional_benchmarks_are_listed(tmp_path: Path) -> None:
    lacking, more = [document(draw) for draw in range(5)], [document(9 + draw) for draw in range(5)]
    del more[0]["benchmarks"][0]
    for each in more:
        each["benchmarks"][-1]["fullname"] = "test_b.py::test_new"
    found = compare_benchmarks(side(tmp_path, "base", lacking), side(tmp_path, "new", more))
    assert [(each.case, each.run) for each in found.missing] == [(SHORT, "new"), (SORT, "new")]
    assert "new-0.json" in found.missing[0].reason and "and 4 more" in found.missing[1].reason
    assert found.added == 1
    assert {row.benchmark: row.units for row in found.rows} == {SHORT: (5, 4), LONG: (5, 5)}


def test_a_file_of_the_base_is_no_file_of_the_new_version(tmp_path: Path) -> None:
    base = side(tmp_path, "base", [document(draw) for draw in range(5)])
    with pytest.raises(BenchmarkError, match="same timings"):
        compare_benchmarks(base, base)
