"""Machine-wide lock: shared by training jobs, exclusive for timing jobs.

Two files in the system's temporary folder carry the lock. If a process dies, the operating system releases the file
locks of that process.

    carousel-machine.lock    shared by training jobs, exclusive for a timing job
    carousel-turn.lock       held by one waiting job, so that no later job overtakes it

Without the second file, overlapping training jobs could keep a timing job waiting forever.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, Protocol

try:
    import fcntl
except ImportError:  # Windows has no shared file locks, so users must not start two runs at the same time there
    fcntl = None  # type: ignore[assignment]

Work = Literal["training", "timing"]
POLL_SECONDS = 0.02
FIRST_REPORT_SECONDS, REPORT_SECONDS = 0.5, 5.0
"""Waiting time before the first report, and between later reports. Workers of one run often wait briefly for each
other, so shorter waits are not reported."""
MACHINE, TURN = "carousel-machine.lock", "carousel-turn.lock"


class Stopping(Protocol):
    """A flag that is set when a job is no longer wanted, such as a `threading.Event`."""

    def is_set(self) -> bool: ...


class Stopped(Exception):
    """Error that ends a cancelled wait for the machine lock."""


@contextlib.contextmanager
def machine_lock(
    work: Work, *, stopping: Stopping | None = None, on_wait: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold the machine lock during the `with` statement. If files cannot be locked, do nothing; see `reason_unlocked`.

    Args:
        work: `training` shares the machine with other training jobs; `timing` has the machine to itself.
        stopping: a flag that cancels the wait; None for a wait that cannot be cancelled.
        on_wait: called every few seconds while the job waits for the lock.

    Raises:
        Stopped: if `stopping` is set before the lock is free.
    """
    with contextlib.ExitStack() as files:
        next_report = time.monotonic() + FIRST_REPORT_SECONDS

        def acquire(file: int, kind: int) -> None:
            nonlocal next_report
            while not _try_lock(file, kind):
                if time.monotonic() > next_report:
                    on_wait()
                    next_report = time.monotonic() + REPORT_SECONDS
                if stopping is not None and stopping.is_set():
                    raise Stopped
                time.sleep(POLL_SECONDS)

        if fcntl is not None and (opened := _open_both(files)) is not None and _can_lock(opened[0]):
            turn, machine = opened
            acquire(turn, fcntl.LOCK_EX)
            acquire(machine, fcntl.LOCK_EX if work == "timing" else fcntl.LOCK_SH)
            fcntl.flock(turn, fcntl.LOCK_UN)
        yield


def reason_unlocked() -> str | None:
    """Return why the machine cannot be locked; None if it can be locked.

    Without the lock, other runs may disturb timings.
    """
    if fcntl is None:
        return "this system has no shared file locks"
    try:
        folder = lock_folder()
    except OSError:
        return "there is no writable folder for temporary files"
    with contextlib.ExitStack() as files:
        opened = _open_both(files)
        return None if opened is not None and _can_lock(opened[0]) else f"cannot lock files in {folder}"


def lock_folder() -> Path:
    """Return the folder of the lock files. Raises `OSError` if there is no folder for temporary files."""
    return Path(tempfile.gettempdir())


def _can_lock(file: int) -> bool:
    """Return whether the file system of an open file has locks. A network file system may have none."""
    try:
        if _try_lock(file, fcntl.LOCK_SH):
            fcntl.flock(file, fcntl.LOCK_UN)
    except OSError:
        return False
    return True


def _try_lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open_both(files: contextlib.ExitStack) -> tuple[int, int] | None:
    """Open the turn file and the machine file, and return their descriptors; return None if a file cannot be opened.

    Each call opens new descriptors, so that threads exclude each other. `files` closes the descriptors.
    """
    try:
        turn, machine = (_open(lock_folder() / name) for name in (TURN, MACHINE))
    except OSError:
        return None
    files.callback(os.close, turn)
    files.callback(os.close, machine)
    return turn, machine


def _open(path: Path) -> int:
    # Linux may refuse O_CREAT for another user's existing file in a shared folder, so try without it first.
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
