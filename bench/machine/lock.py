"""Machine-wide lock: shared by training jobs, exclusive for timing jobs. A run may prepare timing jobs together.

The file `carousel-machine.lock` in the system's temporary folder carries the lock. If a process dies, the operating
system releases its file locks. The jobs that want the lock wait in a queue, which decides who goes first: see
`job_queue.py`.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from bench.machine.job_queue import Entry, Place, Work

try:
    import fcntl
except ImportError:  # Windows has no shared file locks, so users must not start two runs at the same time there
    fcntl = None  # type: ignore[assignment]

__all__ = ["Stopped", "Stopping", "Work", "lock_folder", "machine_lock", "reason_unlocked"]

POLL_SECONDS = 0.05
FIRST_REPORT_SECONDS, REPORT_SECONDS = 0.5, 5.0
"""Waiting time before the first report, and between later reports. Workers of one run often wait briefly for each
other, so shorter waits are not reported."""
MACHINE = "carousel-machine.lock"
RUN_VARIABLE = "CAROUSEL_RUN"
"""Environment variable with the id of the run, for a process whose jobs all belong to one run."""

_kept: dict[str, Place] = {}
"""Places in the queue that this process keeps for the next timing jobs of its runs, by the id of the run."""
_kept_lock = threading.Lock()


class Stopping(Protocol):
    """A flag that is set when a job is no longer wanted, such as a `threading.Event`."""

    def is_set(self) -> bool: ...


class Stopped(Exception):
    """Error that ends a cancelled wait for the machine lock."""


@contextlib.contextmanager
def machine_lock(
    work: Work,
    *,
    shared: bool = False,
    run: str = "",
    expected_seconds: float | None = None,
    stopping: Stopping | None = None,
    on_wait: Callable[[tuple[str, ...]], None] = lambda runs: None,
) -> Iterator[None]:
    """Hold the machine lock during the `with` statement. If files cannot be locked, do nothing; see `reason_unlocked`.

    Args:
        work: `training` shares the machine with other training jobs; `timing` has the machine to itself.
        shared: whether a timing job may have the machine together with other such jobs of its run.
        run: id of the job's run, which other runs that wait name. If it is empty, it is that of `RUN_VARIABLE`.
        expected_seconds: expected duration of a training job; None if it is unknown.
        stopping: a flag that cancels the wait; None for a wait that cannot be cancelled.
        on_wait: called every few seconds while the job waits, with the ids of the runs for which it waits.

    Raises:
        Stopped: if `stopping` is set before the lock is free.
    """
    with contextlib.ExitStack() as files:
        if fcntl is not None and (machine := _open_machine(files)) is not None and _can_lock(machine):
            run = run or os.environ.get(RUN_VARIABLE, "")
            entry = Entry(work=work, run=run, arrived=time.monotonic(), expected_seconds=expected_seconds)
            place = files.enter_context(_place_in_queue(entry))
            kind = fcntl.LOCK_EX if work == "timing" and not shared else fcntl.LOCK_SH
            next_report = time.monotonic() + FIRST_REPORT_SECONDS
            while (blocking := place.blockers()) or not _try_lock(machine, kind):
                if time.monotonic() > next_report:
                    on_wait(tuple(sorted({each.run for each in blocking if each.run})))
                    next_report = time.monotonic() + REPORT_SECONDS
                if stopping is not None and stopping.is_set():
                    raise Stopped
                time.sleep(POLL_SECONDS)
            place.start()
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
        machine = _open_machine(files)
        return None if machine is not None and _can_lock(machine) else f"cannot lock files in {folder}"


def lock_folder() -> Path:
    """Return the folder of the lock file. Raises `OSError` if there is no folder for temporary files."""
    return Path(tempfile.gettempdir())


@contextlib.contextmanager
def _place_in_queue(entry: Entry) -> Iterator[Place]:
    """Stay in the queue during the `with` statement. The place of a timing job may be kept for the next of its run."""
    place = Place(lock_folder(), entry)
    with _kept_lock:
        for run in [run for run, kept in _kept.items() if run == entry.run or kept.is_over]:
            _kept.pop(run).leave()
    try:
        yield place
    finally:
        if place.end():
            with _kept_lock:
                _kept[entry.run] = place


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


def _open_machine(files: contextlib.ExitStack) -> int | None:
    """Open the file of the lock, and return its descriptor; return None if it cannot be opened.

    Each call opens a new descriptor, so that threads exclude each other. `files` closes the descriptor.
    """
    try:
        machine = _open(lock_folder() / MACHINE)
    except OSError:
        return None
    files.callback(os.close, machine)
    return machine


def _open(path: Path) -> int:
    # Linux may refuse O_CREAT for another user's existing file in a shared folder, so try without it first.
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
