"""What the C library does with memory that is freed.

A training step frees all that it took, and the next takes as much again. By its defaults glibc hands much of it back to
the system in between, which then has to clear every page anew: 5 to 10% of a step, and more where several lanes do so.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt (malloc.h)."""
MAX_KEPT_BYTES = 32 << 20
"""What a lane takes at once is smaller, and glibc allows no more; what is larger is handed back as it is freed."""
KEPT_BYTES = (1 << 31) - 1


def keep_freed_memory() -> None:
    """Have this process keep what it frees, until it is asked to give it back; glibc alone can."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(None)
            library.mallopt(M_MMAP_THRESHOLD, MAX_KEPT_BYTES)
            library.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
