"""Without scikit-learn, tasks are listed and explained, and a plan that needs it is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from tasks import digits
from tests.bench.carousel import Carousel, carousel

__all__ = ["carousel"]


@pytest.fixture(autouse=True)
def missing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    digits.images.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    yield
    digits.images.cache_clear()


def test_tasks_are_listed(carousel: Carousel) -> None:
    ended = carousel("list", "tasks", "--json")
    rows = {row["name"]: row for row in json.loads(ended.out)}
    assert ended.code == 0 and rows["parity"]["chance there"] == 0.5
    assert "pip install '.[real]'" in rows["digits"]["unavailable"] and "chance there" not in rows["digits"]


def test_listed_task_has_the_command_to_install_on_one_line(carousel: Carousel) -> None:
    ended = carousel("list", "tasks", "digits")
    assert ended.code == 0
    (line,) = (line for line in ended.out.splitlines() if "unavailable" in line)
    assert "scikit-learn" in line and "run `pip install '.[real]'`" in line


def test_task_is_explained_without_its_data(carousel: Carousel) -> None:
    ended = carousel("show-task", "digits:permuted=True")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("digits:permuted=True: Name the handwritten digit")
    assert "Parameters here: permuted=True" in ended.out and "An image is read row by row" in ended.out
    assert "needs scikit-learn for its images: run `pip install '.[real]'`" in ended.out.splitlines()[-1]
    assert carousel("show-task", "digits", "-L", "65").code == 2


def test_plan_that_needs_it_is_refused_in_one_line(carousel: Carousel) -> None:
    ended = carousel("run", "quick", "-t", "digits", "-L", "64", "--dry-run")
    assert ended.code == 2
    assert "pip install '.[real]'" in ended.err and ended.err.count("\n") == 1
