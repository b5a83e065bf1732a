"""The most memory that a phase of work held.

On a GPU its allocator keeps count. On Linux the kernel keeps a high-water mark of the resident set, which is set back
before the phase. Elsewhere the resident set is sampled beside the work, which may miss a short peak.
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
"""What `clear_refs` takes to set the high-water mark back (proc(5))."""
SAMPLE_SECONDS = 0.005


@dataclass(slots=True)
class Memory:
    """Bytes before a phase, and the most during it."""

    before: int = 0
    peak: int = 0

    def measurements(self, phase: str) -> list[Measurement]:
        """The peak, and what the phase added to what was there before."""
        return [
            Measurement(metric=f"{phase}_peak_bytes", samples=(float(self.peak),)),
            Measurement(metric=f"{phase}_added_bytes", samples=(float(max(0, self.peak - self.before)),)),
        ]


@contextlib.contextmanager
def watch_memory(device: torch.device) -> Iterator[Memory]:
    """Watches a phase; the memory is known when the phase is over.

    What earlier phases freed is given back to the system first, as it would hide what this one takes.
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
    _give_back()
    memory.before = resident_bytes()
    if has_high_water_mark():
        yield memory
        memory.peak = max(memory.before, _high_water_mark())
        return
    with _sampled(memory):
        yield memory


def has_high_water_mark() -> bool:
    """Whether the kernel keeps a high-water mark and lets it be set back, which is done."""
    try:
        CLEAR_REFS.write_text(RESET_PEAK, encoding="ascii")
        return _high_water_mark() > 0
    except OSError:
        return False


def resident_bytes() -> int:
    """Memory of this process that is not swapped out, shared pages among it."""
    return int(psutil.Process().memory_info().rss)


def _high_water_mark() -> int:
    for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0


@contextlib.contextmanager
def _sampled(memory: Memory) -> Iterator[None]:
    over = threading.Event()
    memory.peak = memory.before

    def sample() -> None:
        while not over.wait(SAMPLE_SECONDS):
            memory.peak = max(memory.peak, resident_bytes())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        memory.peak = max(memory.peak, resident_bytes())


def _give_back() -> None:
    """Ask the C library to return what it holds and does not use; glibc alone can."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
