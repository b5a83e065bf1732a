"""`carousel check` and `carousel compare` on files of pytest-benchmark."""

from __future__ import annotations

import csv
import io
import json
import math
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest

from results import Store
from tests.bench.carousel import Carousel, carousel
from tests.results.benchmarks.files import LONG, SORT, document, write
from tests.results.examples import run_file

__all__ = ["carousel"]


def names_with(result: str) -> list[tuple[str | None, str | None]]:
    """Return the class names and names of the tests in `junit.xml` with a result, such as `failure`."""
    tests = ElementTree.parse("junit.xml").getroot().iter("testcase")
    return [(test.get("classname"), test.get("name")) for test in tests if test.find(result) is not None]


@pytest.fixture
def base(carousel: Carousel) -> str:
    return write(Path("base"), "x", [document(draw) for draw in range(6)])


@pytest.fixture
def slow(carousel: Carousel) -> str:
    return write(Path("slow"), "x", [document(10 + draw, slower={SORT: math.log(1.3)}) for draw in range(6)])


@pytest.fixture
def same(carousel: Carousel) -> str:
    return write(Path("same"), "x", [document(20 + draw) for draw in range(6)])


def test_a_pattern_a_folder_and_a_file_name_files(carousel: Carousel, base: str, same: str) -> None:
    by_pattern = carousel("check", base, same)
    assert (by_pattern.code, by_pattern.err) == (0, "")
    assert by_pattern.out.startswith("passed: 0 regressed, 0 improved, 0 inconclusive, 3 unchanged of 3 comparisons")
    by_folder = carousel("check", "base", "same")
    named = by_folder.out.replace("base base, new same", f"base {base}, new {same}")
    assert named.replace("compare base same", f"compare {shlex.join([base, same])}") == by_pattern.out
    by_file = carousel("check", "base/x-0.json", "same/x-0.json")
    assert by_file.code == 0
    assert "3 inconclusive (to decide: 4 more files per side)" in by_file.out
    assert carousel("check", "base/x-0.json", "same/x-0.json", "--strict").code == 1


def test_a_slow_down_fails_in_every_output(carousel: Carousel, base: str, slow: str) -> None:
    ended = carousel("check", base, slow, "--junit", "junit.xml", "--summary", "summary.md")
    assert ended.code == 1
    assert ended.out.startswith("failed: 1 regressed")
    assert f"{SORT}: time" in ended.out
    assert names_with("failure") == [("test_b.py", f"benchmark_seconds {SORT}: benchmark_seconds")]
    assert SORT in Path("summary.md").read_text(encoding="utf-8")
    found = json.loads(carousel("check", base, slow, "--json").out)
    assert (found["exit_code"], found["failing"], found["base"]) == (1, [f"{SORT}: benchmark_seconds"], base)
    rows = csv.DictReader(io.StringIO(carousel("compare", base, slow, "--format", "csv").out))
    assert {row["benchmark"]: row["verdict"] for row in rows}[SORT] == "regressed"


def test_fail_on_sets_the_threshold(carousel: Carousel, base: str, slow: str) -> None:
    assert carousel("check", base, slow, "--fail-on", "benchmark:5%").code == 1
    assert carousel("check", base, slow, "--fail-on", "benchmark:200%").code == 0
    assert carousel("check", base, slow, "--fail-on", "accuracy").code == 5


def test_another_machine_exits_with_4_unless_allowed(carousel: Carousel, base: str) -> None:
    new = write(Path("new"), "x", [document(30 + draw, node="another") for draw in range(6)])
    ended = carousel("check", base, new)
    assert ended.code == 4
    assert "host: runner → another" in ended.out
    assert carousel("check", base, new, "--allow", "host").code == 0
    wrong = carousel("check", base, new, "--allow", "torch")
    assert (wrong.code, len(wrong.err.splitlines())) == (2, 1)
    assert "choose from host, cpu, cores" in wrong.err
    write(Path("new"), "x", [document(40)])
    mixed = carousel("check", base, new)
    assert (mixed.code, len(mixed.err.splitlines())) == (4, 1)
    assert "differ in host" in mixed.err


def test_a_missing_benchmark_exits_with_3(carousel: Carousel, base: str) -> None:
    fewer = [document(50 + draw) for draw in range(6)]
    for each in fewer:
        del each["benchmarks"][1]
    new = write(Path("new"), "x", fewer)
    ended = carousel("check", base, new, "--junit", "junit.xml")
    assert ended.code == 3
    assert f"missing in new: not in new/x-0.json and 5 more: {LONG}" in ended.out
    assert names_with("error") == [("test_b.py", LONG)]
    formats = {name: carousel("compare", base, new, "--format", name) for name in ("csv", "json", "markdown", "latex")}
    assert [name for name, shown in formats.items() if "sum" not in shown.out or shown.err] == []
    assert json.loads(formats["json"].out)["missing"][0]["benchmark"] == LONG


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["base/x-0.json"], 2, "for both BASE and NEW"),
        (["latest", "base"], 2, "base names files and latest a run"),
        (["base", "new.json"], 2, "no file new.json; write it with `pytest --benchmark-json=new.json`"),
        (["base", "new*"], 2, "no file matches 'new*'"),
        (["base", "base"], 2, "have the same timings"),
        (["base", "tiny.toml"], 2, "tiny.toml is no JSON file of pytest-benchmark"),
        (["base", "carousel-runs"], 2, "base names files and carousel-runs a run"),
    ],
)
def test_a_mistake_is_one_line(carousel: Carousel, base: str, words: list[str], code: int, expected: str) -> None:
    Store(Path("carousel-runs")).create(run_file("20260101-000000-quick-abc123"))
    ended = carousel("check", *words)
    assert (ended.code, len(ended.err.splitlines())) == (code, 1), ended
    assert expected in ended.err
