"""Temporary files that are renamed once they are whole, and those that a killed process has left behind.

A process id does not identify a process: in the next container, another process has the same id. So a writer locks its
file while it writes. On a file system without locks, the name of the file says when its writer started.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from functools import cache
from pathlib import Path

import psutil

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<writer>[0-9]+)(-(?P<start>[0-9a-f]{8}))?")
"""Pattern for the temporary name of a file that is being written. Older versions wrote names without a start."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def temporary_path(path: Path) -> Path:
    """Return the temporary name of a file that this process is about to write."""
    writer = os.getpid()
    return path.with_name(f".{path.name}.{writer}-{_start_of(writer)}")


def lock_temporary(file: int) -> None:
    """Lock an open temporary file until it is closed, if its file system has locks."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_left_over(path: Path) -> bool:
    """Return whether a file has a temporary name, and no process is writing it."""
    match = TEMPORARY.fullmatch(path.name)
    if match is None:
        return False
    writer, start = int(match["writer"]), match["start"]
    if start is None:
        return not _wrote(writer, path)
    if writer == os.getpid() and start == _start_of(writer):
        return False  # it may just have created the file
    locked = _is_locked(path)
    return start != _start_of(writer) if locked is None else not locked


def _start_of(process: int) -> str:
    """Return eight hexadecimal digits for the start of a process: its boot, and the time since then."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot, ticks = BOOT_ID.read_text(encoding="ascii").strip(), fields[19]  # field 22 of the whole line
    except (OSError, IndexError):  # not Linux, or no such process
        try:
            boot, ticks = "", f"{psutil.Process(process).create_time():.0f}"
        except (psutil.Error, OverflowError, ValueError):
            return "no process"
    return _digest(boot, ticks)


@cache
def _digest(boot: str, ticks: str) -> str:
    return hashlib.sha256(f"{boot} {ticks}".encode()).hexdigest()[:8]


def _wrote(process: int, path: Path) -> bool:
    """Return whether a process may have written a file: it is running, and is older than the file."""
    try:
        return psutil.Process(process).create_time() <= path.stat().st_mtime
    except (psutil.Error, OverflowError, ValueError, OSError):
        return False


def _is_locked(path: Path) -> bool | None:
    """Return whether a process holds the lock of a file; None if the file system has no locks."""
    if fcntl is None:
        return None
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(file)
    return False
