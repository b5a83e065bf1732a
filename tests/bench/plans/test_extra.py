"""Extra grids of a plan: sizes and depths of their own, and pairs of tasks and lengths."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import OK, UsageError
from bench.plans.grid import cases
from bench.plans.plan import load
from results import Budget, Store
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline
from tests.bench.tiny import TINY, write_plan

__all__ = ["carousel", "inline"]

PAIRS = """
[[extra]]
archs = ["gru"]
pairs = [{ task = "adding", lengths = [6, 8] }, { task = "parity", lengths = [5] }]
seeds = 1
"""


def test_an_extra_grid_has_its_own_size_and_depth(tmp_path: Path) -> None:
    extras = '\n[[extra]]\nparams = "2k"\n\n[[extra]]\ndepth = 3\n\n[[extra]]\nstate = "1KiB"\ndepth = 2\n'
    found = cases(load(str(write_plan(tmp_path, TINY + extras))))
    assert list(dict.fromkeys((case.depth, case.budget) for case in found)) == [
        (1, Budget("width", 4)),
        (1, Budget("params", 2_000)),
        (3, Budget("width", 4)),
        (2, Budget("state", 1024)),
    ]


def test_pairs_are_tasks_with_their_own_lengths(tmp_path: Path) -> None:
    found = cases(load(str(write_plan(tmp_path, TINY + PAIRS))))
    assert [(case.arch, case.task, case.length) for case in found if case.arch == "gru"] == [
        ("gru", "adding", 6),
        ("gru", "adding", 8),
        ("gru", "parity", 5),
    ]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("width = 4\nparams = 9", "extra[0]: params and width exclude each other; give one of them"),
        ('pairs = [{ task = "adding", lengths = [6] }]\nlengths = [4]', "omit lengths, or write them as pairs"),
        ('pairs = [{ task = "adding" }]', "extra[0].pairs[0].lengths is missing; add it"),
        ('pairs = [{ task = "adding", lengths = [] }]', "extra[0].pairs[0].lengths must not be empty"),
        ("depth = 0", "extra[0].depth must be at least 1, not 0"),
        ('state = "many"', "extra[0].state: give a number of bytes such as 4096 or 4KiB"),
    ],
)
def test_a_wrong_extra_grid_is_refused_in_one_line(tmp_path: Path, extra: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(str(write_plan(tmp_path, f"{TINY}\n[[extra]]\n{extra}\n")))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_size_on_the_command_line_applies_to_all_grids(tmp_path: Path, carousel: Carousel, inline: Inline) -> None:
    write_plan(tmp_path, TINY + "\n[[extra]]\nparams = 2000\ndepth = 2\n")
    ended = carousel("run", "tiny.toml", "--width", "6", "--measure", "accuracy", "--seeds", "1")
    assert ended.code == OK, ended.err
    (run,) = Store(tmp_path / "carousel-runs").runs()
    assert {(case.depth, case.budget) for case in run.file().cases} == {
        (1, Budget("width", 6)),
        (2, Budget("width", 6)),
    }
