"""The peak of a phase: found though it is over, not that of an earlier one, and sampled where there is no mark."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.machine import memory as _memory
from bench.machine.memory import Memory, has_high_water_mark, resident_bytes, watch_memory

CPU = torch.device("cpu")
MEBIBYTE = 1 << 20
SLACK = 8 * MEBIBYTE
"""Pages that the interpreter takes or gives back beside the one block that a test asks for."""


def touch(size: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Memory that is resident, as it was written to."""
    return np.ones(size, np.uint8)


@pytest.fixture(params=["as it is", "sampled"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What this system offers, and sampling, which any system does."""
    if request.param == "sampled":
        monkeypatch.setattr(_memory, "has_high_water_mark", lambda: False)
    return str(request.param)


def phase(size: int, way: str) -> Memory:
    """A phase that holds `size` bytes for a while and lets them go; sampled, it waits until it was looked at."""
    looked = threading.Event()
    really = _memory.resident_bytes

    def look() -> int:
        found = really()
        looked.set()
        return found

    with pytest.MonkeyPatch.context() as patched, watch_memory(CPU) as memory:
        patched.setattr(_memory, "resident_bytes", look)
        held = touch(size)
        if way == "sampled" or not has_high_water_mark():
            looked.clear()
            looked.wait(timeout=60)
            looked.clear()
            looked.wait(timeout=60)
        assert held[-1] == 1
        del held
    return memory


def test_a_short_peak_is_found(way: str) -> None:
    memory = phase(64 * MEBIBYTE, way)
    assert memory.peak - memory.before == pytest.approx(64 * MEBIBYTE, abs=SLACK)


def test_an_earlier_phase_does_not_count(way: str) -> None:
    phase(64 * MEBIBYTE, way)
    memory = phase(MEBIBYTE, way)
    assert memory.peak - memory.before < SLACK


def test_the_measurements_carry_the_phase() -> None:
    found = {m.metric: m.samples for m in Memory(before=100, peak=164).measurements("training")}
    assert found == {"training_peak_bytes": (164.0,), "training_added_bytes": (64.0,)}


def test_a_system_without_the_mark_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_memory, "CLEAR_REFS", tmp_path / "missing" / "clear_refs")
    assert not has_high_water_mark()
    monkeypatch.setattr(_memory, "CLEAR_REFS", tmp_path / "clear_refs")
    status = tmp_path / "status"
    monkeypatch.setattr(_memory, "STATUS", status)
    status.write_text("VmRSS:\t    10 kB\n", encoding="ascii")
    assert not has_high_water_mark()
    status.write_text("VmHWM:\t    12 kB\nVmRSS:\t    10 kB\n", encoding="ascii")
    assert has_high_water_mark()
    assert (tmp_path / "clear_refs").read_text(encoding="ascii") == "5"


def test_resident_memory_grows_with_what_is_held() -> None:
    before = resident_bytes()
    held = touch(64 * MEBIBYTE)
    assert resident_bytes() - before == pytest.approx(64 * MEBIBYTE, abs=SLACK)
    assert held[0] == 1


def test_a_failing_phase_is_not_hidden_and_leaves_no_thread(way: str) -> None:
    threads = threading.active_count()
    with pytest.raises(ZeroDivisionError), watch_memory(CPU):
        raise ZeroDivisionError
    assert threading.active_count() == threads
