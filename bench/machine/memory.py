"""Peak memory of a phase of work.

On a GPU, the allocator of torch records the peak. On a CPU, the Linux kernel records the peak of the resident set. Each
phase first resets the recorded peak. If the kernel records no peak, a thread samples the resident set. Sampling may
miss a short peak.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from results import Measurement

CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
RESET_PEAK = "5"
"""Value to write to `clear_refs` to reset the high-water mark (proc(5))."""
SAMPLE_SECONDS = 0.005


@dataclass(slots=True)
class Memory:
    """Memory in use before a phase, and the peak during that phase, in bytes."""

    before: int = 0
    peak: int = 0

    def measurements(self, phase: str) -> list[Measurement]:
        """Return the peak and its increase over `before` as two measurements, in bytes, named after `phase`."""
        return [
            Measurement(metric=f"{phase}_peak_bytes", samples=(float(self.peak),)),
            Measurement(metric=f"{phase}_added_bytes", samples=(float(max(0, self.peak - self.before)),)),
        ]


@contextlib.contextmanager
def watch_memory(device: torch.device) -> Iterator[Memory]:
    """Measure the memory of the enclosed phase. The peak in the yielded `Memory` is valid once the phase has ended.

    On a CPU, memory that earlier phases freed is first returned to the system. Otherwise, reusing that memory would not
    raise the peak.
    """
    memory = Memory()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        memory.before = torch.cuda.memory_allocated(device)
        yield memory
        torch.cuda.synchronize(device)
        memory.peak = torch.cuda.max_memory_allocated(device)
        return
    _release_freed_memory()
    memory.before = resident_bytes()
    if has_high_water_mark():
        yield memory
        memory.peak = max(memory.before, _high_water_mark())
        return
    with _sample_resident_set(memory):
        yield memory


def has_high_water_mark() -> bool:
    """Return whether the kernel records a resettable peak of the resident set. The call resets the peak."""
    try:
        CLEAR_REFS.write_text(RESET_PEAK, encoding="ascii")
        return _high_water_mark() > 0
    except OSError:
        return False


def resident_bytes() -> int:
    """Return the size in bytes of this process's resident set, including shared pages."""
    return int(psutil.Process().memory_info().rss)


def _high_water_mark() -> int:
    for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0


@contextlib.contextmanager
def _sample_resident_set(memory: Memory) -> Iterator[None]:
    """Update `memory.peak` from a background thread until the `with` statement ends."""
    ended = threading.Event()
    memory.peak = memory.before

    def sample() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            memory.peak = max(memory.peak, resident_bytes())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        memory.peak = max(memory.peak, resident_bytes())


def _release_freed_memory() -> None:
    """Make the C library return freed memory to the system. Do nothing if the C library is not glibc."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
