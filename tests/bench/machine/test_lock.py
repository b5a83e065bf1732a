"""The machine's holds: trainings together, a timing alone, nobody kept out for ever, nothing held by the dead."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.machine import lock
from bench.machine.lock import Stopped, Work, held, reason_unlocked

HOME = Path(__file__).resolve().parents[3]
SOON_SECONDS = 0.1
"""Long enough for somebody who can take the machine to have taken it."""
PATIENCE_SECONDS = 60.0


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lock, "_folder", lambda: tmp_path)
    return tmp_path


class Holder:
    """Another user of the machine, as a thread."""

    def __init__(self, work: Work) -> None:
        self.has, self.waits, self.leave, self.stopping = (threading.Event() for _ in range(4))
        self.thread = threading.Thread(target=self.hold, args=(work,), daemon=True)
        self.thread.start()

    def hold(self, work: Work) -> None:
        with contextlib.suppress(Stopped), held(work, stopping=self.stopping, on_wait=self.waits.set):
            self.has.set()
            self.leave.wait(PATIENCE_SECONDS)

    def end(self) -> None:
        self.stopping.set()
        self.leave.set()
        self.thread.join(PATIENCE_SECONDS)


@pytest.fixture
def holders() -> Iterator[list[Holder]]:
    made: list[Holder] = []
    yield made
    for holder in made:
        holder.end()


def enter(holders: list[Holder], work: Work) -> Holder:
    holders.append(Holder(work))
    return holders[-1]


def test_trainings_share_the_machine_and_a_timing_waits_for_all_of_them(holders: list[Holder]) -> None:
    one, other = enter(holders, "training"), enter(holders, "training")
    assert one.has.wait(PATIENCE_SECONDS)
    assert other.has.wait(PATIENCE_SECONDS)
    timing = enter(holders, "timing")
    assert timing.waits.wait(PATIENCE_SECONDS)
    one.end()
    assert not timing.has.wait(SOON_SECONDS)
    other.end()
    assert timing.has.wait(PATIENCE_SECONDS)


@pytest.mark.parametrize("work", ["training", "timing"])
def test_nothing_begins_beside_a_timing(holders: list[Holder], work: Work) -> None:
    timing = enter(holders, "timing")
    assert timing.has.wait(PATIENCE_SECONDS)
    later = enter(holders, work)
    assert later.waits.wait(PATIENCE_SECONDS)
    assert not later.has.is_set()
    timing.end()
    assert later.has.wait(PATIENCE_SECONDS)


def test_trainings_that_come_later_do_not_keep_a_timing_out(holders: list[Holder]) -> None:
    first = enter(holders, "training")
    assert first.has.wait(PATIENCE_SECONDS)
    timing = enter(holders, "timing")
    assert timing.waits.wait(PATIENCE_SECONDS)
    later = enter(holders, "training")
    assert later.waits.wait(PATIENCE_SECONDS), "it waits behind the timing, though the machine could be shared"
    assert not later.has.is_set()
    first.end()
    assert timing.has.wait(PATIENCE_SECONDS)
    assert not later.has.is_set()
    timing.end()
    assert later.has.wait(PATIENCE_SECONDS)


def test_a_wait_can_be_called_off(holders: list[Holder]) -> None:
    assert enter(holders, "timing").has.wait(PATIENCE_SECONDS)
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(Stopped), held("training", stopping=stopping):
        raise AssertionError("the machine was not free")


@pytest.mark.parametrize("work", ["training", "timing"])
def test_the_hold_of_a_killed_process_is_free(locks: Path, holders: list[Holder], work: Work) -> None:
    command = [sys.executable, "-m", "tests.bench.lock_holder", work, str(locks)]
    environment = os.environ | {"PYTHONPATH": str(HOME)}
    with subprocess.Popen(command, cwd=HOME, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        timing = enter(holders, "timing")
        assert timing.waits.wait(PATIENCE_SECONDS)
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert timing.has.wait(PATIENCE_SECONDS)


def test_a_folder_that_cannot_be_written_is_said_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reason_unlocked() is None
    monkeypatch.setattr(lock, "_folder", lambda: tmp_path / "missing")
    assert reason_unlocked() == f"cannot lock files in {tmp_path / 'missing'}"
    for work in ("training", "timing"):
        with held(work), held("timing"):
            pass


def test_a_system_without_shared_locks_is_said_and_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, which has none of these."""
    monkeypatch.setattr(lock, "fcntl", None)
    for flag in ("O_NOFOLLOW", "O_CLOEXEC"):
        monkeypatch.delattr(os, flag)
    assert reason_unlocked() == "this system has no shared file locks"
    with held("training"), held("timing"):
        pass
