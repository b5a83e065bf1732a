"""Retired instructions of the calling thread, if the system lets an ordinary user count them.

Linux counts them by `perf_event_open`, without the kernel's own instructions. No privilege is asked for: if the system
call is missing or forbidden, or if the processor shows no counters, as in many virtual machines, there is no count.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
import threading

SYSTEM_CALLS = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "ppc64le": 319}
"""Number of the system call `perf_event_open` by machine."""
ATTRIBUTE_BYTES = 112
"""Size of `struct perf_event_attr` in its version 5, which every kernel since 2016 knows."""
HARDWARE, INSTRUCTIONS = 0, 1
"""Type and number of the event."""
WITH_TIMES = 1 | 2
"""Format of a reading: the count, the time since the event was opened, and the part of it in which it was counted."""
WITHOUT_KERNEL_AND_HYPERVISOR = 1 << 5 | 1 << 6
CLOSE_ON_EXECUTION = 8
THIS_THREAD, ANY_CORE, NO_GROUP = 0, -1, -1

_of_thread = threading.local()


def instructions() -> int | None:
    """Return the instructions that the calling thread has retired since its first call; None if they are not counted.

    A count is scaled up if other programs shared the counter for a part of the time.
    """
    if not hasattr(_of_thread, "counter"):
        _of_thread.counter = open_event()
    return None if _of_thread.counter is None else read_event(_of_thread.counter)


def open_event(kind: int = HARDWARE, event: int = INSTRUCTIONS) -> int | None:
    """Return the file descriptor of a running event for the calling thread, or None if there is none.

    `kind` and `event` are the type and the number of the event, by default that of retired instructions.
    """
    number = SYSTEM_CALLS.get(platform.machine())
    if not sys.platform.startswith("linux") or number is None:
        return None
    attribute = struct.pack("=IIQQQQQ", kind, ATTRIBUTE_BYTES, event, 0, 0, WITH_TIMES, WITHOUT_KERNEL_AND_HYPERVISOR)
    try:
        call = ctypes.CDLL(None).syscall
        call.restype = ctypes.c_long
        opened = call(
            ctypes.c_long(number),
            ctypes.create_string_buffer(attribute, ATTRIBUTE_BYTES),
            ctypes.c_int(THIS_THREAD),
            ctypes.c_int(ANY_CORE),
            ctypes.c_int(NO_GROUP),
            ctypes.c_ulong(CLOSE_ON_EXECUTION),
        )
    except (AttributeError, OSError):
        return None
    return opened if opened >= 0 and read_event(opened) is not None else None


def read_event(descriptor: int) -> int | None:
    """Return the count of an event, or None if the event cannot be read or was never counted."""
    try:
        count, enabled, running = struct.unpack("=QQQ", os.read(descriptor, 24))
    except (OSError, struct.error):
        return None
    return round(count * enabled / running) if running else None
