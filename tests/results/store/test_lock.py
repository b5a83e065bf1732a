"""The lock of a run excludes other processes. A file system without locks stops no run."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from filelock import FileLock

from results import StoreError
from results.store import LOCK_FILE, RunInUse, lock, run_lock
from tests.results.examples import stored


def test_a_run_is_locked_once(tmp_path: Path) -> None:
    run, _ = stored(tmp_path, 0)
    with run_lock(run) as has_locks, pytest.raises(RunInUse, match="in use by another process"), run_lock(run):
        raise AssertionError("the run was locked twice")
    assert has_locks
    with FileLock(run.folder / LOCK_FILE), pytest.raises(StoreError), run_lock(run):
        raise AssertionError("another program holds the lock")
    with run_lock(run):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_without_locks_is_told_apart_from_a_run_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    run, _ = stored(tmp_path, 0)
    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with run_lock(run) as has_locks, run_lock(run):
        assert not has_locks
