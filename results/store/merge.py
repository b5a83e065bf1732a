"""Merge stores without changing or dropping a record.

Without conflicts, the result does not depend on the order of the sources. Merging again changes nothing. A source and
the target store may have different files under the same run and name. In that case, the file of the target stays. The
file of the source is stored beside the file of the target, as a conflict. There are two exceptions. If two `run.json`
differ in how they ended only, the one with the later time is kept. A damaged record is set aside, and the record
of the source takes its place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from results.schema.record import Record
from results.schema.run import RunFile
from results.store.document import (
    MAX_DOCUMENT_BYTES,
    StoreError,
    Unreadable,
    entries,
    may_contain,
    parsed,
    read_bytes,
    read_document,
    write_atomically,
)
from results.store.lock import run_lock
from results.store.store import MAX_FILE_BYTES, Damage, Run, Store, artifact_digest, check_file_name
from results.store.verify import Flaw, damage_of_artifact, kind_of, looks_like_a_run


@dataclass(slots=True)
class MergeResult:
    """The files that a merge copied, and the files that it could not copy."""

    copied: list[Path] = field(default_factory=list)
    same: int = 0
    """Number of files that the target store already had."""
    conflicts: list[tuple[Path, Path]] = field(default_factory=list)
    """For each conflict, the path of the file in the target store and the path of the conflicting copy."""
    left_out: list[Flaw] = field(default_factory=list)
    """Files of the sources that were not merged because they are damaged, misplaced or of a newer schema version."""

    @property
    def is_complete(self) -> bool:
        """Whether all files were merged without conflicts."""
        return not self.conflicts and not self.left_out


def merge(sources: list[Path], store: Store) -> MergeResult:
    """Merge stores or single runs into `store`. Returns the copied files, the conflicts and the files left out.

    Raises `StoreError` if a source is neither a store nor a run, or is already part of `store`. Raises `StoreError`
    if a run of `store` is in use or is a link out of `store`. Raises `StoreError` if a file of `store` cannot be read
    or written.
    """
    runs = [run for source in sources for run in _runs_of(source)]
    result = MergeResult()
    for run in runs:
        if not may_contain(run.folder, "run.json"):
            reason = "the folder contains parts of a run, but no run.json; the run is not merged"
            result.left_out.append(Flaw(path=run.folder / "run.json", kind="missing", reason=reason))
            continue
        _merge_run(run, store, result)
    return result


def _runs_of(source: Path) -> list[Run]:
    if os.path.lexists(source / "run.json"):
        return [Run(source)]
    runs = Store(source).runs()
    runs += [Run(folder) for folder in entries(source) if folder.is_dir() and looks_like_a_run(folder)]
    runs = list({run.id: run for run in runs}.values())
    if not runs:
        raise StoreError(f"{source} is neither a store nor a run: pass a folder of runs, or the folder of one run")
    return runs


def _merge_run(run: Run, store: Store, result: MergeResult) -> None:
    path = run.folder / "run.json"
    try:
        _check_inside(path, run.folder)
        content = read_bytes(path, MAX_DOCUMENT_BYTES)
        file = parsed(content, RunFile)
    except StoreError as error:
        result.left_out.append(Flaw(path=path, kind=kind_of(error, path), reason=f"{error}; the run is not merged"))
        return
    target = Run(store.folder / file.id)
    if target.folder.resolve() == run.folder.resolve():
        raise StoreError(f"{run.folder} is already in the store {store.folder}: pass a different source")
    if target.folder.resolve().parent != store.folder.resolve():
        raise StoreError(f"{target.folder} is a link out of the store {store.folder}: remove the link first")
    with _locked(target):
        _merge_run_file(target, content, file, result)
        planned = {case.key for case in file.cases}
        try:
            paths = run.record_paths()
        except Unreadable as error:
            result.left_out.append(Flaw(path=run.folder / "records", kind="unreadable", reason=str(error)))
            return
        for path in paths:
            _merge_record(run, path, planned, target, result)


def _merge_run_file(target: Run, content: bytes, file: RunFile, result: MergeResult) -> None:
    path = target.folder / "run.json"
    if not may_contain(target.folder, path.name):
        _put(target, "run.json", content, result)
        return
    present = target.file()
    unfinished = {"finished": None, "after": ()}
    if present.model_copy(update=unfinished) != file.model_copy(update=unfinished):
        _put(target, "run.json", content, result)  # a conflict
    elif (present.finished or "") < (file.finished or ""):  # the present file is a copy of the unfinished run
        write_atomically(path, content)
        result.copied.append(path)
    else:
        result.same += 1


def _merge_record(run: Run, path: Path, planned: set[str], target: Run, result: MergeResult) -> None:
    try:
        _check_inside(path, run.folder)
        content = read_bytes(path, MAX_DOCUMENT_BYTES)
        record = parsed(content, Record)
        check_file_name(record, path)
        if record.key not in planned:
            raise StoreError("the run has no such case")
    except StoreError as error:
        result.left_out.append(Flaw(path=path, kind=kind_of(error, path), reason=str(error)))
        return
    for name, relative in record.artifacts.items():
        reason = damage_of_artifact(run, record, name)
        if reason is None:
            _put(target, relative, read_bytes(run.folder / relative, MAX_FILE_BYTES), result)
        else:
            result.left_out.append(Flaw(path=run.folder / relative, kind="damaged", reason=reason))
    present = target.record_path(record.key)
    if _is_damaged(present):
        target.set_aside(Damage(path=present, reason="damaged"))
    _put(target, f"records/{path.name}", content, result)


def _is_damaged(path: Path) -> bool:
    try:
        read_document(path, Record)
    except Unreadable:  # it may be intact
        return False
    except StoreError:
        return True
    return False


def _put(target: Run, relative: str, content: bytes, result: MergeResult) -> None:
    """Write a file unless it exists. If the existing file has different content, store the new content beside it.

    Args:
        target: Run in the target store.
        relative: Path of the file below the run's folder.
        content: Content of the file, in bytes.
        result: Result of the merge, to which the file is added.
    """
    path = target.folder / relative
    try:
        _check_inside(path, target.folder)
    except StoreError as error:
        raise StoreError(f"{path} is {error}") from None
    if not may_contain(path.parent, path.name):
        write_atomically(path, content)
        result.copied.append(path)
    elif _content_of(path) == content:
        result.same += 1
    else:
        conflict = path.with_name(f"{path.name}.{artifact_digest(content)}.conflict")
        if not conflict.exists():
            write_atomically(conflict, content)
        result.conflicts.append((path, conflict))


def _content_of(path: Path) -> bytes:
    try:
        return read_bytes(path, MAX_FILE_BYTES)
    except StoreError as error:
        raise StoreError(f"{path}: {error}; repair or remove the file, then merge again") from None


def _check_inside(path: Path, folder: Path) -> None:
    """Raise `StoreError` if a path leads out of a run's folder through a symbolic link.

    The message does not name the path.
    """
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        inside = False
    if not inside:
        hint = "remove the symbolic link, or replace it with the file or folder that it points to"
        raise StoreError(f"outside its run's folder: {hint}")


@contextmanager
def _locked(run: Run) -> Iterator[None]:
    """Hold the lock of a run, so that no other process writes to the run.

    Raises `StoreError` if the run is in use or its folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            run.folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(run_lock(run))
        except OSError as error:
            raise StoreError(
                f"cannot write to {run.folder}: {error.strerror}; choose another store with --store"
            ) from None
        yield
