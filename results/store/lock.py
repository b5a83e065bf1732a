"""The lock of a run, so that only one process at a time writes to the run.

Some file systems have no locks. There a run is written without one, because a lock that a killed process leaves
behind would block the run forever.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from results.store.document import StoreError
from results.store.store import Run

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"


class RunInUse(StoreError):
    """Error for a run that another process is writing to."""


@contextmanager
def run_lock(run: Run) -> Iterator[bool]:
    """Hold the lock of a run, and yield whether its folder has locks.

    Raises `RunInUse` if another process holds the lock, and `OSError` if the lock file cannot be written.
    """
    with ExitStack() as stack:
        try:
            has_locks = _lock(run.folder / LOCK_FILE, stack)
        except BlockingIOError:
            raise RunInUse(f"run {run.id} is in use by another process: wait, then try again") from None
        yield has_locks


def _lock(path: Path, stack: ExitStack) -> bool:
    """Lock a file until `stack` is closed, and return whether its file system has locks.

    Raises `BlockingIOError` if another process holds the lock.
    """
    if fcntl is None:
        from filelock import FileLock, Timeout

        try:
            stack.enter_context(FileLock(path, timeout=0))
        except Timeout:
            raise BlockingIOError from None
        return True
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    stack.callback(os.close, file)  # this also releases the lock
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # such as ENOLCK or ENOTSUP
        return False
    return True
