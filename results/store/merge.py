"""Stores put together: every record that either has, byte for byte, and nothing taken from any.

Merging is the same in either order and may be repeated. Where two stores hold different content under
one run and one name, the store's own stays in its place, the other is kept beside it, and it is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from results.schema.record import Record
from results.schema.run import RunFile
from results.store.document import (
    MAX_DOCUMENT_BYTES,
    NewerSchema,
    StoreError,
    parsed,
    read_bytes,
    read_document,
    write_bytes_aside,
)
from results.store.store import MAX_FILE_BYTES, Damage, Run, Store, artifact_digest, check_place
from results.store.verify import Flaw, Kind, damage_of_artifact


@dataclass(slots=True)
class Merged:
    """What became of the files of the sources."""

    copied: list[Path] = field(default_factory=list)
    same: int = 0
    conflicts: list[tuple[Path, Path]] = field(default_factory=list)
    """What stayed in its place, and where the other is kept."""
    left_out: list[Flaw] = field(default_factory=list)
    """Files of the sources that are damaged or lead out of them; they stay where they are."""

    @property
    def is_whole(self) -> bool:
        return not self.conflicts and not self.left_out


def merge(sources: list[Path], store: Store) -> Merged:
    """Put the runs of stores, or single runs, into `store`, each file written whole.

    Raises `StoreError` where a source is neither, the store cannot be written, or a run is being worked on.
    """
    runs = [run for source in sources for run in _runs_of(source)]
    merged = Merged()
    for run in runs:
        _merge_run(run, store, merged)
    return merged


def _runs_of(source: Path) -> list[Run]:
    if (source / "run.json").is_file():
        return [Run(source)]
    runs = Store(source).runs()
    if not runs:
        raise StoreError(f"{source} is neither a store nor a run; give a folder of runs, or one run's folder")
    return runs


def _merge_run(run: Run, store: Store, merged: Merged) -> None:
    path = run.folder / "run.json"
    try:
        _check_inside(path, run.folder)
        content = read_bytes(path, MAX_DOCUMENT_BYTES)
        file = parsed(content, RunFile)
    except StoreError as error:
        kind: Kind = "newer" if isinstance(error, NewerSchema) else "damaged"
        merged.left_out.append(Flaw(path=path, kind=kind, reason=f"{error}; its run is left out"))
        return
    target = Run(store.folder / file.id)
    if target.folder.resolve() == run.folder.resolve():
        raise StoreError(f"{run.folder} is in the store {store.folder} already; give another store to merge from")
    if target.folder.resolve().parent != store.folder.resolve():
        raise StoreError(f"{target.folder} leads out of the store {store.folder}; take it away first")
    with _alone(target):
        _merge_run_file(target, content, file, merged)
        planned = {case.key for case in file.cases}
        for path in run.record_paths():
            _merge_record(run, path, planned, target, merged)


def _merge_run_file(target: Run, content: bytes, file: RunFile, merged: Merged) -> None:
    place = target.folder / "run.json"
    if not place.exists():
        _put(target, "run.json", content, merged)
        return
    own = target.file()
    if own.model_copy(update={"finished": None}) != file.model_copy(update={"finished": None}):
        _put(target, "run.json", content, merged)  # a conflict
    elif (own.finished or "") < (file.finished or ""):  # a copy from before the run had ended says less, not other
        write_bytes_aside(place, content)
        merged.copied.append(place)
    else:
        merged.same += 1


def _merge_record(run: Run, path: Path, planned: set[str], target: Run, merged: Merged) -> None:
    try:
        _check_inside(path, run.folder)
        content = read_bytes(path, MAX_DOCUMENT_BYTES)
        record = parsed(content, Record)
        check_place(record, path)
        if record.key not in planned:
            raise StoreError("its run has no such case")
    except StoreError as error:
        kind: Kind = "newer" if isinstance(error, NewerSchema) else "damaged"
        merged.left_out.append(Flaw(path=path, kind=kind, reason=str(error)))
        return
    for name, place in record.artifacts.items():
        reason = damage_of_artifact(run, record, name)
        if reason is None:
            _put(target, place, read_bytes(run.folder / place, MAX_FILE_BYTES), merged)
        else:
            merged.left_out.append(Flaw(path=run.folder / place, kind="damaged", reason=reason))
    own = target.record_path(record.key)
    if own.exists() and _is_damaged(own):
        target.set_aside(Damage(own, "damaged"))
    _put(target, f"records/{path.name}", content, merged)


def _is_damaged(path: Path) -> bool:
    try:
        read_document(path, Record)
    except NewerSchema:
        return False
    except StoreError:
        return True
    return False


def _put(target: Run, relative: str, content: bytes, merged: Merged) -> None:
    """Where nothing stands yet, put it; where the same stands, leave it; where another stands, keep both."""
    place = target.folder / relative
    _check_inside(place, target.folder)
    if not place.exists():
        write_bytes_aside(place, content)
        merged.copied.append(place)
    elif read_bytes(place, MAX_FILE_BYTES) == content:
        merged.same += 1
    else:
        beside = place.with_name(f"{place.name}.{artifact_digest(content)}.conflict")
        if not beside.exists():
            write_bytes_aside(beside, content)
        merged.conflicts.append((place, beside))


def _check_inside(path: Path, folder: Path) -> None:
    """No link may lead a reader or a writer out of a run's folder. Raises `StoreError`."""
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        inside = False
    if not inside:
        raise StoreError(f"{path} leads out of its run's folder")


@contextmanager
def _alone(run: Run) -> Iterator[None]:
    """Nobody else writes into the run meanwhile."""
    from filelock import FileLock, Timeout

    lock = FileLock(run.folder / ".lock", timeout=0)
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise StoreError(f"another process is working on run {run.id}; merge when it has ended") from None
    except OSError as error:
        raise StoreError(f"cannot write to {run.folder}: {error.strerror}; give another with --store") from None
    try:
        yield
    finally:
        lock.release()
