"""The queue of the jobs on one machine: which jobs run and wait, and which of them may start next.

Every job has an entry: a small file in the folder `carousel-jobs`, beside the machine lock. Its process holds a lock on
the file, so that entries of dead processes are recognised and removed. The queue only decides who goes first. The
machine lock guarantees that a timing job runs alone, whatever the entries say.

Jobs start in the order in which they began to wait, with two exceptions:

- A training job may pass a timing job that waits, if it should end before the training jobs that are running. The
  timing job waits for these anyway, so it is not delayed.
- The timing jobs of one run keep their place, until they have taken as long as the run waited for the machine.
  Otherwise each of them would wait again for the training jobs of other runs.

The rules need no setting, and every run gets its share: a timing job never waits for more than the training jobs that
run when it arrives and those that arrived earlier, and a training job never waits for more than the timing jobs that
arrived earlier, and the next ones of their runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, Literal

try:
    import fcntl
except ImportError:  # Windows, which has no machine lock either
    fcntl = None  # type: ignore[assignment]

Work = Literal["training", "timing"]

FOLDER = "carousel-jobs"
OPEN_TO_ALL = 0o1777
"""Mode of the folder, as that of `/tmp`: every user adds entries, and nobody removes those of others."""
MAX_BYTES = 1024
WAITING_SECONDS = 30.0
"""Age of a waiting job's last sign of life after which others ignore the job. Its process may be stopped."""
SIGN_OF_LIFE_SECONDS = 5.0
KEPT_SECONDS = 3.0
"""Longest pause between two timing jobs of a run, in which the place of the run is kept."""
RUN_ID = re.compile(r"[A-Za-z0-9._=-]{0,120}")
PART_SUFFIX = ".part"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A job in the queue. Times are seconds of the monotonic clock, which all processes of a machine share."""

    work: Work
    run: str = ""
    """Id of the run; empty if it is unknown."""
    arrived: float
    """When the job began to wait, or the first timing job of its run whose place it has."""
    started: float | None = None
    """When the job got the machine; None for a job that waits."""
    expected_seconds: float | None = None
    """Expected duration; None if it is unknown."""
    keeps_place_until: float = 0.0
    """Until when the next timing job of the run has the place of this one."""
    expires: float | None = None
    """When others ignore the entry; None for a job that runs."""

    @property
    def expected_end(self) -> float:
        """When a running job should end. A job that waits, or whose duration is unknown, has ended long ago."""
        return 0.0 if self.started is None else self.started + (self.expected_seconds or 0.0)


def blockers(job: Entry, others: Sequence[Entry], now: float) -> list[Entry]:
    """Return the jobs for which a job has to wait. It may start if there are none.

    Args:
        job: a job that waits.
        others: all other jobs in the queue.
        now: the current time in seconds of the monotonic clock.
    """
    known = [
        each
        for each in others
        if (each.expires is None or each.expires > now) and not (job.run and each.run == job.run)
    ]
    running = [each for each in known if each.started is not None]
    earlier = [each for each in known if each.started is None and each.arrived < job.arrived]
    if job.work == "timing":
        return running or earlier
    if timings := [each for each in running if each.work == "timing"]:
        return timings
    ahead = [each for each in earlier if each.work == "timing"]
    if ahead and job.expected_seconds is not None:
        latest_end = max((each.expected_end for each in running), default=0.0)
        if now + job.expected_seconds <= latest_end:
            return []
    return ahead


class Place:
    """A job's place in the queue. Without a usable folder, the place is unknown to other jobs."""

    def __init__(self, folder: Path, entry: Entry) -> None:
        """Enter the queue.

        Args:
            folder: the folder of the machine lock.
            entry: the job, which waits.
        """
        self._folder = folder / FOLDER
        self._path: Path | None = None
        self._file: int | None = None
        self._last_sign = monotonic()
        kept = [
            each
            for each in self.others()
            if entry.work == "timing" and entry.run and _is_kept_for(entry, each, self._last_sign)
        ]
        if kept:
            first = min(kept, key=lambda each: each.arrived)
            entry = replace(entry, arrived=first.arrived, keeps_place_until=first.keeps_place_until)
        self.entry = replace(entry, expires=self._last_sign + WAITING_SECONDS)
        with contextlib.suppress(OSError):
            self._create()

    def blockers(self) -> list[Entry]:
        """Return the jobs for which this one has to wait, and give a sign of life."""
        now = monotonic()
        if now - self._last_sign > SIGN_OF_LIFE_SECONDS:
            self._last_sign = now
            self._write(replace(self.entry, expires=now + WAITING_SECONDS))
        return blockers(self.entry, self.others(), now)

    def start(self) -> None:
        """Note that the job has got the machine."""
        now = monotonic()
        until = self.entry.keeps_place_until or now + (now - self.entry.arrived)
        self._write(replace(self.entry, started=now, expires=None, keeps_place_until=until))

    def end(self) -> bool:
        """Note that the job has ended or no longer waits. Return whether its place is kept for its run."""
        now, entry = monotonic(), self.entry
        if entry.work == "timing" and entry.run and entry.started is not None and now < entry.keeps_place_until:
            self._write(replace(entry, started=None, expires=now + KEPT_SECONDS))
            return self._file is not None
        self.leave()
        return False

    @property
    def is_over(self) -> bool:
        """Whether the place was kept for the next timing job of the run, and none came in time."""
        return self.entry.expires is not None and self.entry.expires < monotonic()

    def leave(self) -> None:
        """Leave the queue."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
        if self._file is not None:
            os.close(self._file)
        self._path = self._file = None

    def others(self) -> list[Entry]:
        """Return all other jobs in the queue. The files of dead processes are removed."""
        return [] if fcntl is None else list(_entries(self._folder, besides=self._path))

    def _create(self) -> None:
        """Write the entry to a locked file, which then gets its name."""
        if fcntl is None:
            return
        if not self._folder.exists():
            self._folder.mkdir(exist_ok=True)
            self._folder.chmod(OPEN_TO_ALL)  # regardless of the umask
        path = self._folder / secrets.token_hex(8)
        part = path.with_suffix(PART_SUFFIX)
        self._file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._write(self.entry)
            part.rename(path)
        except OSError:
            part.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None
            raise
        self._path = path

    def _write(self, entry: Entry) -> None:
        self.entry = entry
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk must not end the job
                os.pwrite(self._file, json.dumps(asdict(entry)).encode().ljust(MAX_BYTES), 0)


def _is_kept_for(entry: Entry, other: Entry, now: float) -> bool:
    return (
        other.run == entry.run
        and other.work == "timing"
        and other.started is None
        and other.expires is not None
        and other.expires > now
        and other.keeps_place_until > now
    )


def _entries(folder: Path, *, besides: Path | None) -> Iterator[Entry]:
    try:
        paths = [folder / name for name in os.listdir(folder) if not name.endswith(PART_SUFFIX)]  # noqa: PTH208
    except OSError:
        return
    for path in paths:
        if path == besides:
            continue
        try:
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:  # it has just ended
            continue
        try:
            if _is_abandoned(file):
                path.unlink(missing_ok=True)
            elif (entry := _entry_of(os.read(file, MAX_BYTES))) is not None:
                yield entry
        except OSError:  # the entry of another user, or no file
            continue
        finally:
            os.close(file)


def _is_abandoned(file: int) -> bool:
    """Return whether no process holds the lock on an open entry."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return True


def _entry_of(content: bytes) -> Entry | None:
    """Return the entry of a file; None if the content is none. Other users and versions may write anything."""
    try:
        fields: dict[str, Any] = json.loads(content)
        entry = Entry(**fields)
        numbers = (entry.arrived, entry.keeps_place_until, entry.started, entry.expected_seconds, entry.expires)
        is_valid = (
            entry.work in ("training", "timing")
            and RUN_ID.fullmatch(entry.run) is not None
            and all(isinstance(number, float) for number in numbers if number is not None)
        )
    except (ValueError, TypeError, RecursionError):
        return None
    return entry if is_valid else None
