"""Setting of the C library that keeps freed memory in the process.

A training step frees all memory that it allocated, and the next step allocates the same amount again. By default glibc
returns much of it to the system in between, and the system must then clear every page again. That costs 5 to 10% of a
step, and more if several workers do so.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt (malloc.h)."""
MAX_RETAINED_BYTES = 32 << 20
"""Size above which a freed block is returned to the system. glibc allows no more, and a worker's blocks are smaller."""
TRIM_THRESHOLD_BYTES = (1 << 31) - 1


def keep_freed_memory() -> None:
    """Make this process keep its freed memory until `malloc_trim` is called. Only glibc supports this."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(None)
            library.mallopt(M_MMAP_THRESHOLD, MAX_RETAINED_BYTES)
            library.mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)
