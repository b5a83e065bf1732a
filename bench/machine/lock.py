"""Who has the machine: many trainings at once, of whichever runs, or one timing and nothing else.

Two files in the host's temporary folder carry it, under locks that the system takes back when their holder dies:

    carousel-machine.lock    shared by trainings, exclusive for a timing
    carousel-turn.lock       held by whoever waits for the other, so that those who come later wait behind it

Without the second, trainings that overlap each other would keep a timing out for ever.
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
except ImportError:  # Windows has no lock that can be shared: runs are kept apart by their users there
    fcntl = None  # type: ignore[assignment]

Work = Literal["training", "timing"]
POLL_SECONDS = 0.02
TOLD_AFTER_SECONDS, TOLD_EVERY_SECONDS = 0.5, 5.0
"""Lanes of one run wait for each other's turn for moments, which is nobody's concern."""
MACHINE, TURN = "carousel-machine.lock", "carousel-turn.lock"


class Stopping(Protocol):
    """Whether a job is still wanted; a `threading.Event` is one."""

    def is_set(self) -> bool: ...


class Stopped(Exception):
    """The wait for the machine was called off."""


@contextlib.contextmanager
def held(work: Work, *, stopping: Stopping | None = None, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the machine for one job. `on_wait` is called now and then while another must end first.

    Raises `Stopped` where `stopping` is set before the machine is free.
    """
    with contextlib.ExitStack() as files:
        telling = time.monotonic() + TOLD_AFTER_SECONDS

        def take(file: int, kind: int) -> None:
            nonlocal telling
            while not _locks(file, kind):
                if time.monotonic() > telling:
                    on_wait()
                    telling = time.monotonic() + TOLD_EVERY_SECONDS
                if stopping is not None and stopping.is_set():
                    raise Stopped
                time.sleep(POLL_SECONDS)

        if fcntl is not None and (paths := _opened(files)) is not None:
            turn, machine = paths
            take(turn, fcntl.LOCK_EX)
            take(machine, fcntl.LOCK_EX if work == "timing" else fcntl.LOCK_SH)
            fcntl.flock(turn, fcntl.LOCK_UN)
        yield


def reason_unlocked() -> str | None:
    """Why nothing keeps other runs of this machine from disturbing timings, or None where something does."""
    if fcntl is None:
        return "this system has no shared file locks"
    with contextlib.ExitStack() as files:
        return None if _opened(files) is not None else f"cannot lock files in {_folder()}"


def _locks(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _opened(files: contextlib.ExitStack) -> tuple[int, int] | None:
    """Both files, open of their own, so that threads of one process exclude each other too."""
    try:
        turn, machine = (_open(_folder() / name) for name in (TURN, MACHINE))
    except OSError:
        return None
    files.callback(os.close, turn)
    files.callback(os.close, machine)
    return turn, machine


def _open(path: Path) -> int:
    # A file of another user in a shared folder may be opened, but not with the flag that would create it.
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


def _folder() -> Path:
    return Path(tempfile.gettempdir())
