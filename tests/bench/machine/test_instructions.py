"""Retired instructions: how an event is read, and that nothing fails where the system does not count."""

from __future__ import annotations

import os
import struct
import threading
import time

import pytest

from bench.machine import instructions
from bench.machine.noise import Machine, read_counters

SOFTWARE, TASK_CLOCK = 1, 1
"""Type and number of an event that counts the nanoseconds in which a thread runs. It needs no processor counters."""
WORK_SECONDS = 0.02


def event_of(count: int, enabled: int, running: int) -> int:
    """Return the descriptor of a pipe that holds one reading of an event."""
    reading, writing = os.pipe()
    os.write(writing, struct.pack("=QQQ", count, enabled, running))
    os.close(writing)
    return reading


@pytest.mark.parametrize(
    ("reading", "count"), [((1000, 5, 5), 1000), ((1000, 10, 5), 2000), ((0, 10, 0), None), ((0, 7, 7), 0)]
)
def test_a_shared_counter_is_scaled_up_and_one_that_never_ran_is_unknown(
    reading: tuple[int, int, int], count: int | None
) -> None:
    assert instructions.read_event(event_of(*reading)) == count


def test_an_event_that_cannot_be_read_is_unknown() -> None:
    descriptor = event_of(1, 1, 1)
    os.close(descriptor)
    assert instructions.read_event(descriptor) is None


def test_an_event_counts_what_this_thread_does_or_is_refused() -> None:
    """A system may forbid the call. Otherwise the clock of the event runs with that of the thread."""
    opened = instructions.open_event(SOFTWARE, TASK_CLOCK)
    if opened is None:
        assert instructions.open_event() is None
        return
    before, began = instructions.read_event(opened), time.thread_time()
    while time.thread_time() - began < WORK_SECONDS:
        pass
    after = instructions.read_event(opened)
    os.close(opened)
    assert before is not None and after is not None
    assert (after - before) / 1e9 == pytest.approx(time.thread_time() - began, rel=0.1)


@pytest.mark.parametrize(
    ("name", "value"), [("platform.machine", lambda: "abacus"), ("sys.platform", "win32"), ("ctypes.CDLL", None)]
)
def test_a_system_without_the_call_has_no_count(name: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(f"bench.machine.instructions.{name}", value or missing)
    assert instructions.open_event(SOFTWARE, TASK_CLOCK) is None


def test_each_thread_opens_one_event(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    monkeypatch.setattr(instructions, "open_event", lambda: opened.append(1))
    monkeypatch.setattr(instructions, "_of_thread", threading.local())
    assert [instructions.instructions() for _ in range(3)] == [None] * 3
    other = threading.Thread(target=instructions.instructions)
    other.start()
    other.join()
    assert len(opened) == 2


def test_a_block_lacks_instructions_that_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.machine.noise.instructions", lambda: None)
    _, block = Machine(calibration=lambda: 0.003).observe(lambda: sum(range(10_000)))
    assert block.instructions is None
    assert block.wall_seconds is not None and block.cpu_seconds is not None
    assert block.cpu_seconds > 0


def test_instructions_of_one_thread_do_not_stand_for_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.machine.noise.instructions", lambda: 5)
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    assert read_counters().instructions == 5
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    assert read_counters().instructions is None
