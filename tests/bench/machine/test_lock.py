"""Tests of the machine lock: sharing, waiting, fairness, and release if the process that holds the lock dies.

`test_job_queue.py` tests who goes first.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.machine import job_queue, lock
from bench.machine.lock import Stopped, Work, machine_lock, reason_unlocked

HOME = Path(__file__).resolve().parents[3]
SOON_SECONDS = 0.1
"""Time within which a job gets the lock if the lock is free."""
TIMEOUT_SECONDS = 60.0


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lock, "lock_folder", lambda: tmp_path)
    return tmp_path


class Holder:
    """Another job on the machine, simulated by a thread."""

    def __init__(
        self, work: Work, run: str = "", expected_seconds: float | None = None, *, shared: bool = False
    ) -> None:
        self.run, self.expected_seconds, self.shared = run, expected_seconds, shared
        self.waits_for: set[str] = set()
        self.acquired, self.waiting, self.release, self.stopping = (threading.Event() for _ in range(4))
        self.thread = threading.Thread(target=self.hold, args=(work,), daemon=True)
        self.thread.start()

    def hold(self, work: Work) -> None:
        with (
            contextlib.suppress(Stopped),
            machine_lock(
                work,
                shared=self.shared,
                run=self.run,
                expected_seconds=self.expected_seconds,
                stopping=self.stopping,
                on_wait=self.note_wait,
            ),
        ):
            self.acquired.set()
            self.release.wait(TIMEOUT_SECONDS)

    def note_wait(self, runs: tuple[str, ...]) -> None:
        self.waits_for |= set(runs)
        self.waiting.set()

    def end(self) -> None:
        self.stopping.set()
        self.release.set()
        self.thread.join(TIMEOUT_SECONDS)


@pytest.fixture
def holders() -> Iterator[list[Holder]]:
    made: list[Holder] = []
    yield made
    for holder in made:
        holder.end()


def enter(
    holders: list[Holder], work: Work, run: str = "", expected_seconds: float | None = None, *, shared: bool = False
) -> Holder:
    holders.append(Holder(work, run, expected_seconds, shared=shared))
    return holders[-1]


def test_training_jobs_share_the_machine_and_a_timing_job_waits_for_all_of_them(holders: list[Holder]) -> None:
    first, second = enter(holders, "training"), enter(holders, "training")
    assert first.acquired.wait(TIMEOUT_SECONDS)
    assert second.acquired.wait(TIMEOUT_SECONDS)
    timing = enter(holders, "timing")
    assert timing.waiting.wait(TIMEOUT_SECONDS)
    first.end()
    assert not timing.acquired.wait(SOON_SECONDS)
    second.end()
    assert timing.acquired.wait(TIMEOUT_SECONDS)


@pytest.mark.parametrize("work", ["training", "timing"])
def test_no_job_runs_in_parallel_with_a_timing_job(holders: list[Holder], work: Work) -> None:
    timing = enter(holders, "timing")
    assert timing.acquired.wait(TIMEOUT_SECONDS)
    later = enter(holders, work)
    assert later.waiting.wait(TIMEOUT_SECONDS)
    assert not later.acquired.is_set()
    timing.end()
    assert later.acquired.wait(TIMEOUT_SECONDS)


def test_a_run_may_prepare_two_processes_together_while_no_other_job_runs(holders: list[Holder]) -> None:
    first, second = (enter(holders, "timing", "mine", shared=True) for _ in range(2))
    assert first.acquired.wait(TIMEOUT_SECONDS)
    assert second.acquired.wait(TIMEOUT_SECONDS)
    others = [enter(holders, "training", "other"), enter(holders, "timing", "other", shared=True)]
    timing = enter(holders, "timing", "mine")
    assert all(each.waiting.wait(TIMEOUT_SECONDS) for each in (*others, timing))
    first.end()
    assert not any(each.acquired.wait(SOON_SECONDS) for each in (*others, timing))
    second.end()
    assert all(each.waits_for == {"mine"} for each in others)


def test_later_training_jobs_do_not_delay_a_waiting_timing_job(holders: list[Holder]) -> None:
    first = enter(holders, "training")
    assert first.acquired.wait(TIMEOUT_SECONDS)
    timing = enter(holders, "timing")
    assert timing.waiting.wait(TIMEOUT_SECONDS)
    later = enter(holders, "training")
    assert later.waiting.wait(TIMEOUT_SECONDS), "it must wait behind the timing job"
    assert not later.acquired.is_set()
    first.end()
    assert timing.acquired.wait(TIMEOUT_SECONDS)
    assert not later.acquired.is_set()
    timing.end()
    assert later.acquired.wait(TIMEOUT_SECONDS)


def test_a_short_training_job_passes_a_timing_job_that_waits_for_a_long_one(holders: list[Holder]) -> None:
    long = enter(holders, "training", "long", 3600.0)
    assert long.acquired.wait(TIMEOUT_SECONDS)
    timing = enter(holders, "timing", "times")
    assert timing.waiting.wait(TIMEOUT_SECONDS)
    assert timing.waits_for == {"long"}
    short = enter(holders, "training", "short", 60.0)
    assert short.acquired.wait(TIMEOUT_SECONDS)
    longer = enter(holders, "training", "longer", 7200.0)
    assert longer.waiting.wait(TIMEOUT_SECONDS)
    assert longer.waits_for == {"times"}
    short.end()
    long.end()
    assert timing.acquired.wait(TIMEOUT_SECONDS)
    assert not longer.acquired.is_set()


def test_timing_jobs_of_a_run_that_waited_are_not_interrupted_by_training(
    holders: list[Holder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_queue, "KEPT_SECONDS", 1.0)
    first = enter(holders, "training", "long")
    assert first.acquired.wait(TIMEOUT_SECONDS)
    timing = enter(holders, "timing", "times")
    assert timing.waiting.wait(TIMEOUT_SECONDS)
    training = enter(holders, "training", "long")
    assert training.waiting.wait(TIMEOUT_SECONDS)
    first.end()
    assert timing.acquired.wait(TIMEOUT_SECONDS)
    timing.end()
    following = enter(holders, "timing", "times")
    assert following.acquired.wait(TIMEOUT_SECONDS)
    assert not training.acquired.is_set()
    following.end()
    assert training.acquired.wait(TIMEOUT_SECONDS), "the place is not kept for ever"


def test_wait_can_be_cancelled(holders: list[Holder]) -> None:
    assert enter(holders, "timing").acquired.wait(TIMEOUT_SECONDS)
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(Stopped), machine_lock("training", stopping=stopping):
        raise AssertionError("the machine was not free")


@pytest.mark.parametrize("work", ["training", "timing"])
def test_lock_of_a_killed_process_is_released(locks: Path, holders: list[Holder], work: Work) -> None:
    command = [sys.executable, "-m", "tests.bench.lock_holder", work, str(locks)]
    environment = os.environ | {"PYTHONPATH": str(HOME)}
    with subprocess.Popen(command, cwd=HOME, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        timing = enter(holders, "timing")
        assert timing.waiting.wait(TIMEOUT_SECONDS)
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert timing.acquired.wait(TIMEOUT_SECONDS)


def test_unwritable_folder_is_reported_and_blocks_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason_unlocked() is None
    monkeypatch.setattr(lock, "lock_folder", lambda: tmp_path / "missing")
    assert reason_unlocked() == f"cannot lock files in {tmp_path / 'missing'}"
    for work in ("training", "timing"):
        with machine_lock(work), machine_lock("timing"):
            pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_reported_and_blocks_no_job(
    locks: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    assert reason_unlocked() == f"cannot lock files in {locks}"
    with machine_lock("training"), machine_lock("timing"):
        pass


def test_a_missing_temporary_folder_is_reported_and_blocks_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_usable() -> Path:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(lock, "lock_folder", none_usable)
    assert reason_unlocked() == "there is no writable folder for temporary files"
    with machine_lock("training"), machine_lock("timing"):
        pass


def test_missing_file_locks_are_reported_and_block_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that jobs run without a lock on Windows, which has no shared file locks, `O_NOFOLLOW` or `O_CLOEXEC`."""
    monkeypatch.setattr(lock, "fcntl", None)
    for flag in ("O_NOFOLLOW", "O_CLOEXEC"):
        monkeypatch.delattr(os, flag)
    assert reason_unlocked() == "this system has no shared file locks"
    with machine_lock("training"), machine_lock("timing"):
        pass
