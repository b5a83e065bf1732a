"""Tests of peak memory: short peaks are detected, earlier phases do not count, and sampling is the fallback."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.machine import memory as memory_module
from bench.machine.memory import Memory, has_high_water_mark, resident_bytes, watch_memory

CPU = torch.device("cpu")
MEBIBYTE = 1 << 20
SLACK = 8 * MEBIBYTE
"""Memory that the interpreter itself may allocate or free during a test."""


def touch(size: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Return a new array of `size` bytes. Its memory is resident, because every byte is written."""
    return np.ones(size, np.uint8)


@pytest.fixture(params=["default", "sampled"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return `default` to measure as this system does, or force sampling and return `sampled`."""
    if request.param == "sampled":
        monkeypatch.setattr(memory_module, "has_high_water_mark", lambda: False)
    return str(request.param)


def phase(size: int, mode: str) -> Memory:
    """Allocate and free `size` bytes, and return the measured memory.

    If the peak is sampled, wait for two samples before freeing the bytes.
    """
    sampled = threading.Event()
    original = memory_module.resident_bytes

    def sample() -> int:
        size = original()
        sampled.set()
        return size

    with pytest.MonkeyPatch.context() as patched, watch_memory(CPU) as memory:
        patched.setattr(memory_module, "resident_bytes", sample)
        block = touch(size)
        if mode == "sampled" or not has_high_water_mark():
            sampled.clear()
            sampled.wait(timeout=60)
            sampled.clear()
            sampled.wait(timeout=60)
        assert block[-1] == 1
        del block
    return memory


def test_short_peak_is_found(mode: str) -> None:
    memory = phase(64 * MEBIBYTE, mode)
    assert memory.peak - memory.before == pytest.approx(64 * MEBIBYTE, abs=SLACK)


def test_earlier_phase_does_not_count(mode: str) -> None:
    phase(64 * MEBIBYTE, mode)
    memory = phase(MEBIBYTE, mode)
    assert memory.peak - memory.before < SLACK


def test_measurements_are_named_after_the_phase() -> None:
    measurements = {m.metric: m.samples for m in Memory(before=100, peak=164).measurements("training")}
    assert measurements == {"training_peak_bytes": (164.0,), "training_added_bytes": (64.0,)}


def test_missing_high_water_mark_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "CLEAR_REFS", tmp_path / "missing" / "clear_refs")
    assert not has_high_water_mark()
    monkeypatch.setattr(memory_module, "CLEAR_REFS", tmp_path / "clear_refs")
    status = tmp_path / "status"
    monkeypatch.setattr(memory_module, "STATUS", status)
    status.write_text("VmRSS:\t    10 kB\n", encoding="ascii")
    assert not has_high_water_mark()
    status.write_text("VmHWM:\t    12 kB\nVmRSS:\t    10 kB\n", encoding="ascii")
    assert has_high_water_mark()
    assert (tmp_path / "clear_refs").read_text(encoding="ascii") == "5"


def test_resident_memory_grows_with_an_allocation() -> None:
    before = resident_bytes()
    block = touch(64 * MEBIBYTE)
    assert resident_bytes() - before == pytest.approx(64 * MEBIBYTE, abs=SLACK)
    assert block[0] == 1


def test_failing_phase_raises_and_leaves_no_thread(mode: str) -> None:
    threads = threading.active_count()
    with pytest.raises(ZeroDivisionError), watch_memory(CPU):
        raise ZeroDivisionError
    assert threading.active_count() == threads
