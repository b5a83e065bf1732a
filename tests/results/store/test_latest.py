"""The run that `latest` names: the one that finished last, and not the one with the last name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from results import Store, StoreError
from tests.results.examples import run_file

EARLY, MIDDLE, LATE = (f"2026010{day}-000000-quick-abc123" for day in (1, 2, 3))


def store_of(folder: Path, **changes: Any) -> Store:
    """Create a store with three runs, and return it. `changes` maps early, middle and late to fields of the run."""
    store = Store(folder)
    for run_id, name in ((EARLY, "early"), (MIDDLE, "middle"), (LATE, "late")):
        store.create(run_file(run_id, **changes.get(name, {})))
    return store


def truncate(store: Store, run_id: str) -> None:
    path = store.folder / run_id / "run.json"
    path.write_bytes(path.read_bytes()[:100])


def test_latest_is_the_run_that_finished_last(tmp_path: Path) -> None:
    early, middle = {"finished": "2026-02-03T00:00:00Z"}, {"finished": "2026-02-02T00:00:00Z"}
    store = store_of(tmp_path, early=early, middle=middle)
    assert store.find("latest").id == EARLY
    with pytest.raises(StoreError, match=f"the latest run is {EARLY}"):
        store.find("nothing")


def test_a_run_that_follows_another_is_later_than_its_time_says(tmp_path: Path) -> None:
    early = {"finished": "2026-02-01T00:00:00Z", "after": (MIDDLE, LATE)}
    later = {"finished": "2026-02-02T00:00:00Z"}
    store = store_of(tmp_path, early=early, middle=later, late=later)
    assert store.find("latest").id == EARLY
    assert [run.id for run in store.in_order()] == [MIDDLE, LATE, EARLY]
    assert store.last_ended("2026-02-03T00:00:00Z") == (EARLY,)


def test_a_run_whose_clock_was_ahead_stays_earlier_when_the_run_after_it_is_removed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for run_id, day in ((LATE, 9), (EARLY, 1), (MIDDLE, 2)):
        ended = f"2026-02-0{day}T00:00:00Z"
        store.create(run_file(run_id, finished=ended, after=store.last_ended(ended)))
        assert store.latest().id == run_id
    shutil.rmtree(tmp_path / EARLY)
    assert store.latest().id == MIDDLE


def test_latest_is_the_newest_run_if_no_run_has_finished(tmp_path: Path) -> None:
    assert store_of(tmp_path, middle={"created": "2026-01-04T00:00:00Z"}).find("latest").id == MIDDLE


def test_a_damaged_run_is_latest_only_if_its_name_is_the_last(tmp_path: Path) -> None:
    finished = {"finished": "2026-02-02T00:00:00Z"}
    store = store_of(tmp_path, early=finished, middle=finished)
    truncate(store, EARLY)
    assert store.find("latest").id == MIDDLE
    truncate(store, LATE)
    with pytest.raises(StoreError, match=LATE):
        store.find("latest").file()
