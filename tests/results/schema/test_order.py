"""The order in which runs ended: links between runs hold whatever the clocks said."""

from __future__ import annotations

import random
from typing import Any

import pytest

from results import RunFile
from results.schema.order import MAX_LINKS, by_end, last_ended
from tests.results.examples import run_file


def ended(id: str, day: int | None, *after: str, created: int = 1) -> RunFile:
    """Return the run file of a run that finished on a day of January; None for an unfinished run."""
    finished = None if day is None else f"2026-01-{day:02}T03:00:00Z"
    return run_file(id, created=f"2026-01-{created:02}T02:00:00Z", finished=finished, after=after)


def order(*files: RunFile) -> list[str]:
    """Return the ids in the order in which the runs ended, and check that the order of the arguments has no effect."""
    ids = [files[index].id for index in by_end(files)]
    for seed in range(5):
        shuffled = random.Random(seed).sample(files, len(files))
        assert [shuffled[index].id for index in by_end(shuffled)] == ids
    return ids


def test_runs_without_links_are_in_the_order_of_their_ends_and_not_of_their_names() -> None:
    assert order(ended("z", 2), ended("a", 4), ended("m", 3)) == ["z", "m", "a"]


def test_an_unfinished_run_has_the_time_of_its_creation() -> None:
    assert order(ended("a", 2), ended("b", None, created=3), ended("c", 4)) == ["a", "b", "c"]


@pytest.mark.parametrize("wrong", [9, 1])
def test_links_hold_although_one_clock_was_wrong(wrong: int) -> None:
    chain = (ended("a", 3), ended("b", wrong, "a"), ended("c", 5, "b"), ended("d", 6, "c"))
    assert order(*chain) == ["a", "b", "c", "d"]


def test_a_clock_that_was_ahead_does_not_hide_a_run_of_another_store() -> None:
    """After stores are merged, times decide. The run that follows `ahead` shows that its time was too late."""
    assert order(ended("ahead", 30), ended("next", 3, "ahead"), ended("other", 4)) == ["ahead", "next", "other"]


def test_links_to_unknown_runs_to_itself_and_in_a_cycle_do_no_harm() -> None:
    files: Any = (ended("a", 2, "b"), ended("b", 3, "a", "b", "removed"), ended("c", 4, "b"), ended("d", 1, "d"))
    assert order(*files) == ["d", "a", "b", "c"]


def test_a_long_chain_is_ordered() -> None:
    chain = [ended(f"{-index}", 2, f"{-index + 1}") for index in range(3000)]
    assert [chain[index].id for index in by_end(chain)] == [file.id for file in chain]


def test_the_next_run_follows_the_finished_runs_that_no_run_follows() -> None:
    files = [ended("a", 3), ended("b", 1, "a"), ended("other", 2), ended("unfinished", None)]
    assert last_ended(files) == ("b", "other")
    assert len(last_ended([ended(str(index), 2) for index in range(2 * MAX_LINKS)])) == MAX_LINKS
    assert last_ended([]) == ()
