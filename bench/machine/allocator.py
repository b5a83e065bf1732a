"""Setting of the C library that keeps freed memory in the process.

A training step frees all memory that it allocated, and the next step allocates the same amount again. By default, glibc
returns much of the freed memory to the system, and the system must clear every page again. Clearing the pages costs 5
to 10% of a step, and more if several workers run at the same time.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt (malloc.h)."""
MAX_RETAINED_BYTES = 32 << 20
"""Size in bytes from which freed blocks are returned to the system. glibc allows at most 32 MiB. Workers use smaller
blocks."""
TRIM_THRESHOLD_BYTES = (1 << 31) - 1
"""Amount of free memory, in bytes, above which glibc returns memory to the system. mallopt accepts no larger value."""


def keep_freed_memory() -> None:
    """Make this process keep freed blocks below `MAX_RETAINED_BYTES` until `malloc_trim` is called.

    Do nothing if the C library is not glibc.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(None)
            library.mallopt(M_MMAP_THRESHOLD, MAX_RETAINED_BYTES)
            library.mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)
