"""Test `run --dry-run`, which lists cases, `run --set`, which changes the protocol, and `list plans NAME --toml`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.errors import OK, USAGE
from bench.executors.jobs import Job
from bench.plans.plan import load, names, path_of
from results import Store
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline
from tests.bench.tiny import GRID, TINY

__all__ = ["carousel", "inline"]

OVERRIDE = """
[[override]]
archs = ["lstm"]
protocol = { learning_rate = 2e-2 }
found_by = "run x"
"""


@pytest.fixture
def plan(carousel: Carousel) -> Path:
    """Return the file of the tiny plan, which the test may change, in the current folder."""
    path = Path("own.toml")
    path.write_text(TINY + OVERRIDE)
    return path


def listed(carousel: Carousel, *options: str) -> list[dict[str, Any]]:
    done = carousel("run", "own.toml", "--dry-run", "--json", *options)
    assert done.code == OK, done.err
    rows: list[dict[str, Any]] = json.loads(done.out)
    return rows


def test_the_cases_are_listed_in_one_row_per_setting(carousel: Carousel, plan: Path) -> None:
    out = carousel("run", "own.toml", "--dry-run").out
    rows = [line.split() for line in out.splitlines() if line.startswith(("rnn", "lstm"))]
    assert [row[:3] for row in rows] == [["rnn", "first_last", "4"], ["lstm", "first_last", "4"]]
    assert "1 layer, 4 wide" in out and "0 of 2" in out
    assert not Path("carousel-runs").exists()


def test_a_document_has_what_the_table_has(carousel: Carousel, plan: Path) -> None:
    rnn, lstm = listed(carousel)
    assert (rnn["arch"], rnn["length"], rnn["width"], rnn["depth"], rnn["seeds"]) == ("rnn", 4, 4, 1, [0, 1])
    assert (lstm["learning_rate"], lstm["done"], lstm["differs"]) == (0.02, 0, "")
    assert lstm["seconds"] > 0


def test_settings_that_look_alike_say_what_differs(carousel: Carousel, plan: Path) -> None:
    plan.write_text(TINY + '\n[[extra]]\narchs = ["lstm"]\nprotocol = { steps = 3 }\n')
    assert [row["differs"] for row in listed(carousel)] == ["", "", "steps=3"]
    assert "steps=3" in carousel("run", "own.toml", "--dry-run").out


def test_tuned_cases_list_their_rates_and_count_the_tuning(carousel: Carousel, plan: Path) -> None:
    fixed = listed(carousel)
    plan.write_text(TINY + GRID)
    tuned = listed(carousel)
    assert tuned[0]["learning_rate"] == [1e-3, 1e-2]
    assert tuned[0]["seconds"] > fixed[0]["seconds"]
    assert "best of 2" in carousel("run", "own.toml", "--dry-run").out


def test_cases_that_are_done_take_no_time(carousel: Carousel, plan: Path, inline: Inline) -> None:
    started: list[str] = []

    def stop_at_the_third(job: Job) -> None:
        started.append(job.cases[0].arch)
        if len(started) == 3:
            raise KeyboardInterrupt

    inline.failing = stop_at_the_third
    carousel("run", "own.toml", "--measure", "accuracy")
    rows = {row["arch"]: row for row in listed(carousel, "--measure", "accuracy")}
    done, other = started[0], started[2]
    assert (rows[done]["done"], rows[done]["seconds"], rows[other]["done"]) == (2, 0, 0)
    assert rows[other]["seconds"] > 0


def test_set_replaces_fields_everywhere(carousel: Carousel, plan: Path, inline: Inline) -> None:
    words = ("--set", "steps=2", "--set", "learning_rate=3e-3", "--set", "evaluate_at=1x,8", "--measure", "accuracy")
    carousel("run", "own.toml", *words)
    file = Store(Path("carousel-runs")).latest().file()
    assert {case.protocol.steps for case in file.cases} == {2}
    assert {case.protocol.learning_rate for case in file.cases} == {3e-3}
    assert {case.protocol.evaluate_at for case in file.cases} == {("1x", 8)}
    assert "--set steps=2" in file.command


def test_a_rate_that_is_set_replaces_the_grid(carousel: Carousel, plan: Path) -> None:
    plan.write_text(TINY + GRID)
    assert [row["learning_rate"] for row in listed(carousel, "--set", "learning_rate=0.5")] == [0.5, 0.5]


def test_a_setting_that_is_not_set_keeps_the_overrides(carousel: Carousel, plan: Path) -> None:
    assert [row["learning_rate"] for row in listed(carousel, "--set", "steps=9")][1] == 0.02


def test_the_file_of_each_plan_is_a_start_for_ones_own(carousel: Carousel) -> None:
    for name in names():
        done = carousel("list", "plans", name, "--toml")
        assert done.out == path_of(name).read_text(encoding="utf-8")
    Path("mine.toml").write_text(carousel("list", "plans", "quick", "--toml").out)
    assert load("mine.toml") == load("quick")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("archs", "lstm", "--toml"), "--toml prints a plan, not archs"),
        (("plans", "qui*", "--toml"), "--toml needs the name of one plan, not 'qui*'"),
        (("plans", "--toml"), "--toml needs the name of one plan, not '*'"),
        (("plans", "quick", "--toml", "--json"), "--toml and --json exclude each other"),
    ],
)
def test_a_wrong_use_of_toml_is_refused(carousel: Carousel, words: tuple[str, ...], said: str) -> None:
    done = carousel("list", *words)
    assert (done.code, done.out) == (USAGE, "")
    assert said in done.err
