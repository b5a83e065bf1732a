"""Setting of the C library that keeps freed memory in the process.

A training step frees most of the memory that it allocates. The next step allocates about the same amount again. By
default, glibc returns much of the freed memory to the system. The system must then clear every page again. Clearing the
pages costs 5 to 10% of a step, and more if several workers run at the same time.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt (malloc.h)."""
MAX_RETAINED_BYTES = 32 << 20
"""Size in bytes from which an allocation is returned to the system as soon as it is freed. On 64-bit systems, glibc
accepts at most 32 MiB."""
TRIM_THRESHOLD_BYTES = (1 << 31) - 1
"""Threshold of the free memory at the end of the heap, in bytes. Above it, glibc returns memory to the system. mallopt
accepts no larger value."""


def keep_freed_memory() -> None:
    """Make this process keep the memory of freed allocations that are smaller than `MAX_RETAINED_BYTES`.

    glibc returns the memory if `malloc_trim` is called, or if the free memory exceeds `TRIM_THRESHOLD_BYTES`. Do
    nothing if the C library is not glibc.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(None)
            library.mallopt(M_MMAP_THRESHOLD, MAX_RETAINED_BYTES)
            library.mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)
