"""Tests of the queue of jobs: who goes first, whose place is kept, and entries that do not count."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.machine import job_queue
from bench.machine.job_queue import FOLDER, Entry, Place, Work, blockers

NOW = 1000.0
HOME = Path(__file__).resolve().parents[3]


def job(work: Work, run: str, arrived: float, **fields: Any) -> Entry:
    return Entry(work=work, run=run, arrived=arrived, **fields)


def running(work: Work, run: str, started: float, seconds: float | None = None) -> Entry:
    return job(work, run, started, started=started, expected_seconds=seconds)


def blocking_runs(entry: Entry, *others: Entry) -> set[str]:
    return {each.run for each in blockers(entry, others, NOW)}


def test_training_jobs_run_beside_training_jobs_and_timing_jobs_run_alone() -> None:
    assert blocking_runs(job("training", "a", 990.0), running("training", "b", 900.0)) == set()
    assert blocking_runs(job("training", "a", 990.0), running("timing", "b", 900.0)) == {"b"}
    for work in ("training", "timing"):
        assert blocking_runs(job("timing", "a", 990.0), running(work, "b", 900.0)) == {"b"}


def test_jobs_start_in_the_order_in_which_they_arrived() -> None:
    train, timing = job("training", "early", 980.0), job("timing", "late", 990.0)
    assert blocking_runs(timing, train) == {"early"}
    assert blocking_runs(train, timing) == set()
    assert blocking_runs(job("timing", "later", 995.0), timing) == {"late"}
    assert blocking_runs(job("training", "later", 995.0), timing) == {"late"}


@pytest.mark.parametrize(
    ("seconds", "expected"), [(100.0, set()), (200.0, set()), (201.0, {"times"}), (None, {"times"})]
)
def test_a_training_job_passes_a_timing_job_that_it_does_not_delay(seconds: float | None, expected: set[str]) -> None:
    """The timing job waits for a training job that should end in 200 s, so cores would be idle until then."""
    long, timing = running("training", "long", 900.0, 300.0), job("timing", "times", 950.0)
    short = job("training", "short", 990.0, expected_seconds=seconds)
    assert blocking_runs(short, long, timing) == expected
    assert blocking_runs(timing, long, short) == {"long"}


@pytest.mark.parametrize("seconds", [None, 90.0])
def test_no_training_job_passes_if_the_running_ones_should_have_ended(seconds: float | None) -> None:
    overdue, timing = running("training", "long", 900.0, seconds), job("timing", "times", 950.0)
    assert blocking_runs(job("training", "short", 990.0, expected_seconds=1.0), overdue, timing) == {"times"}


def test_passing_jobs_never_delay_a_timing_job_for_longer() -> None:
    """Short training jobs arrive again and again. The last of them starts when it can still end in time."""
    timing = job("timing", "times", 950.0)
    others = [running("training", "long", 900.0, 300.0), timing]
    latest_end, now = 0.0, NOW
    while not blockers(job("training", "short", now, expected_seconds=30.0), others, now):
        others.append(running("training", "short", now, 30.0))
        latest_end, now = now + 30.0, now + 5.0
        assert now < 2 * NOW
    assert 1190.0 < latest_end <= 1200.0


def test_jobs_of_one_run_do_not_wait_for_each_other() -> None:
    assert blocking_runs(job("training", "a", 990.0), job("timing", "a", 980.0)) == set()
    assert blocking_runs(job("training", "", 990.0), job("timing", "", 980.0)) == {""}


def test_a_job_that_gives_no_sign_of_life_blocks_nobody() -> None:
    stopped = job("timing", "stopped", 900.0, expires=NOW - 1)
    assert blocking_runs(job("training", "a", 990.0), stopped) == set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Yield a list whose only element is the time that the queue reads."""
    now = [NOW]
    monkeypatch.setattr(job_queue, "monotonic", lambda: now[0])
    yield now


def test_the_next_timing_job_of_a_run_keeps_its_place_as_long_as_the_run_had_waited(
    tmp_path: Path, clock: list[float]
) -> None:
    def timing() -> Place:
        return Place(tmp_path, job("timing", "times", clock[0]))

    def may_start(run: str) -> bool:
        return not blockers(job("training", run, NOW + 1), [place.entry], clock[0])

    place = timing()
    clock[0] += 60.0
    place.start()
    for _ in range(5):  # six timing jobs of ten seconds in a row
        clock[0] += 10.0
        assert place.end()
        assert not may_start("trains"), "the place is kept between two timing jobs"
        following = timing()
        assert following.entry.arrived == NOW
        place.leave()
        place = following
        place.start()
    clock[0] += 10.0
    assert not place.end()
    assert timing().entry.arrived == clock[0]


def test_a_place_is_kept_for_a_moment_only(tmp_path: Path, clock: list[float]) -> None:
    place = Place(tmp_path, job("timing", "times", NOW))
    clock[0] += 60.0
    place.start()
    clock[0] += 1.0
    assert place.end()
    later = job("training", "trains", NOW + 1)
    assert blockers(later, [place.entry], clock[0])
    clock[0] += job_queue.KEPT_SECONDS + 0.1
    assert not blockers(later, [place.entry], clock[0])
    assert place.is_over
    assert Place(tmp_path, job("timing", "times", clock[0])).entry.arrived == clock[0]


@pytest.mark.parametrize(("work", "run"), [("timing", "other"), ("timing", ""), ("training", "times")])
def test_a_place_is_kept_for_the_timing_jobs_of_its_run_only(
    tmp_path: Path, clock: list[float], work: Work, run: str
) -> None:
    place = Place(tmp_path, job("timing", "times", NOW))
    clock[0] += 60.0
    place.start()
    assert place.end()
    assert Place(tmp_path, job(work, run, clock[0])).entry.arrived == clock[0]


def test_a_job_that_did_not_wait_keeps_no_place(tmp_path: Path, clock: list[float]) -> None:
    place = Place(tmp_path, job("timing", "times", NOW))
    place.start()
    clock[0] += 1.0
    assert not place.end()
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_a_waiting_job_gives_signs_of_life(tmp_path: Path, clock: list[float]) -> None:
    place, other = Place(tmp_path, job("timing", "a", NOW)), Place(tmp_path, job("training", "b", NOW + 1))
    for _ in range(10):
        clock[0] += job_queue.WAITING_SECONDS / 2
        place.blockers()
        assert [each.run for each in other.blockers()] == ["a"]
    clock[0] += job_queue.WAITING_SECONDS + 1
    assert other.blockers() == []


def test_entries_of_dead_processes_are_removed(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys\n"
        "from bench.machine.job_queue import Entry, Place\n"
        "place = Place(pathlib.Path(sys.argv[1]), Entry(work='timing', run='dead', arrived=0.0))\n"
        "os._exit(0)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(HOME)}
    subprocess.run([sys.executable, "-c", program, tmp_path], cwd=HOME, env=environment, check=True)
    assert len(list((tmp_path / FOLDER).iterdir())) == 1
    place = Place(tmp_path, job("training", "alive", time.monotonic()))
    assert place.blockers() == []
    assert len(list((tmp_path / FOLDER).iterdir())) == 1


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no JSON",
        "[]",
        '{"work": "timing"}',
        '{"work": "timing", "arrived": 0.0, "of": "a later version"}',
        '{"work": "resting", "arrived": 0.0}',
        '{"work": "timing", "arrived": "early"}',
        '{"work": "timing", "arrived": 0.0, "run": "\\u001b[31mred"}',
        '{"work": "timing", "arrived": 0.0, "run": ["a"]}',
    ],
)
def test_an_entry_that_cannot_be_read_blocks_nobody(tmp_path: Path, content: str) -> None:
    place = Place(tmp_path, job("training", "a", NOW))
    strange = Place(tmp_path, job("timing", "strange", NOW - 1))
    (path,) = [path for path in (tmp_path / FOLDER).iterdir() if json.loads(path.read_text())["run"] == "strange"]
    with path.open("r+") as file:  # the same file, so that its lock remains
        file.write(content.ljust(job_queue.MAX_BYTES))
    assert place.blockers() == []
    strange.leave()


def test_a_link_or_a_folder_among_the_entries_is_ignored(tmp_path: Path) -> None:
    place = Place(tmp_path, job("training", "a", NOW))
    (tmp_path / FOLDER / "link").symlink_to("/etc/hostname")
    (tmp_path / FOLDER / "folder").mkdir()
    os.mkfifo(tmp_path / FOLDER / "pipe")
    assert place.blockers() == []
    assert (tmp_path / FOLDER / "link").is_symlink()


def test_every_user_may_add_entries_and_a_job_without_an_entry_runs(tmp_path: Path) -> None:
    first = Place(tmp_path, job("timing", "a", NOW))
    assert (tmp_path / FOLDER).stat().st_mode & 0o7777 == job_queue.OPEN_TO_ALL
    missing = Place(tmp_path / "missing", job("training", "b", NOW + 1))
    assert missing.blockers() == []
    missing.start()
    assert not missing.end()
    first.leave()
