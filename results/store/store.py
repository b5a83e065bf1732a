"""A store of runs: one folder per run and one file per record, all written atomically.

    <store>/<run-id>/run.json                  plan, command, environment, code version
                     records/<case-key>.json   one file per case
                     artifacts/<case-key>/     trained weights, traces

A reader never sees a partial file: a name exists only after its complete content is on disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from results.schema.order import MAX_LINKS, by_end, last_ended
from results.schema.record import Record
from results.schema.run import RunFile
from results.store.document import (
    MAX_DOCUMENT_BYTES,
    NewerSchema,
    StoreError,
    Unreadable,
    entries,
    may_contain,
    read_bytes,
    read_document,
    reading_many,
    without_checksum,
    write_atomically,
    write_document,
)

MAX_FILE_BYTES = 64 << 20
"""Maximum size of an artifact that is read. Larger artifacts are rejected before they are read into memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A record file that was rejected, or a folder of records that cannot be read, with the reason."""

    path: Path
    reason: str
    is_newer: bool = False
    """Whether the file is a valid record of a newer schema version. Such a file must stay in place."""
    is_unreadable: bool = False
    """Whether the content could not be read. It may be intact."""
    is_folder: bool = False
    """Whether `path` is the folder of all records."""

    def __str__(self) -> str:
        return f"{self.path.name}: {self.reason}"

    @property
    def state(self) -> str:
        """`damaged` or `unreadable`, with the reason in parentheses."""
        return f"{'unreadable' if self.is_unreadable else 'damaged'} ({self.reason})"


def unusable_records(file: RunFile, damaged: Sequence[Damage]) -> dict[str, str]:
    """Return the states of the rejected records of a run, by the key of the case.

    If the folder of records cannot be read, the state applies to every case of `file`.
    """
    states: dict[str, str] = {}
    for damage in damaged:
        states |= dict.fromkeys(
            [case.key for case in file.cases] if damage.is_folder else [damage.path.stem], damage.state
        )
    return states


class Run:
    """The folder of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def id(self) -> str:
        return self.folder.name

    def file(self) -> RunFile:
        """Return the content of `run.json`.

        Raises `StoreError` if the file is missing, damaged or of a newer schema version.
        """
        path = self.folder / "run.json"
        try:
            return read_document(path, RunFile)
        except StoreError as error:
            raise StoreError(f"{path}: {error}; see `carousel list runs` for other runs") from None

    def write_file(self, file: RunFile) -> None:
        """Write `run.json`. Raises `StoreError` if the file cannot be written or is too large."""
        write_document(self.folder / "run.json", file)

    def write(self, record: Record) -> None:
        """Write a record, and replace any earlier record of the same case.

        Raises `StoreError` if the file cannot be written or is too large.
        """
        write_document(self.record_path(record.key), record)

    def record_path(self, key: str) -> Path:
        """Return the path of a case's record."""
        return self.folder / "records" / f"{key}.json"

    def artifacts(self, key: str) -> Path:
        """Return the folder of a case's artifacts, and create the folder if it is missing.

        Raises `StoreError` if the folder cannot be created.
        """
        folder = self.folder / "artifacts" / key
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot create {folder}: {error.strerror}; choose another store with --store") from None
        return folder

    def write_artifact(self, key: str, name: str, content: bytes) -> str:
        """Write an artifact of a case and return its path relative to the run's folder.

        Raises `StoreError` if the file cannot be written.
        """
        path = self.folder / "artifacts" / key / name
        write_atomically(path, content)
        return path.relative_to(self.folder).as_posix()

    def with_artifacts(self, record: Record, artifacts: Mapping[str, bytes]) -> Record:
        """Write artifacts as safetensors files, and return the record with the paths and digests of the artifacts.

        `artifacts` maps names to file contents. Raises `StoreError` if a file cannot be written.
        """
        paths = {
            name: self.write_artifact(record.key, f"{name}.safetensors", content) for name, content in artifacts.items()
        }
        digests = {name: artifact_digest(content) for name, content in artifacts.items()}
        return record.model_copy(update={"artifacts": paths, "artifact_digests": digests})

    def read(self) -> tuple[dict[str, Record], list[Damage]]:
        """Return all accepted records by key, and the record files that were rejected.

        If the folder of records exists and cannot be read, this folder is the only rejected path.
        """
        records: dict[str, Record] = {}
        damaged: list[Damage] = []
        try:
            paths = self.record_paths()
        except Unreadable as error:
            folder = self.folder / "records"
            return {}, [Damage(path=folder, reason=str(error), is_unreadable=True, is_folder=True)]
        with reading_many():
            for path in paths:
                try:
                    record = read_document(path, Record)
                    check_file_name(record, path)
                except StoreError as error:
                    newer, unreadable = isinstance(error, NewerSchema), isinstance(error, Unreadable)
                    damaged.append(Damage(path=path, reason=str(error), is_newer=newer, is_unreadable=unreadable))
                else:
                    records[record.key] = record
        return records, damaged

    def record_paths(self) -> list[Path]:
        """Return the paths of all record files, valid or not, sorted by name.

        Raises `Unreadable` if the folder of records exists and cannot be read. The message does not name the folder.
        """
        return [path for path in entries(self.folder / "records") if path.suffix == ".json"]

    def count_records(self) -> tuple[int, int]:
        """Return the number of intact record files, and of those that are damaged or unreadable.

        Only checksums are compared, which takes a fraction of the time of `read`. Raises `Unreadable` as `record_paths`
        does.
        """
        intact, paths = 0, self.record_paths()
        for path in paths:
            with contextlib.suppress(StoreError):
                intact += without_checksum(read_bytes(path, MAX_DOCUMENT_BYTES)) is not None
        return intact, len(paths) - intact

    def set_aside(self, damage: Damage) -> None:
        """Rename a damaged file, so that its case runs again. The content of the file is preserved."""
        damage.path.replace(next(path for path in _names_aside(damage.path) if not os.path.lexists(path)))


def _names_aside(path: Path) -> Iterator[Path]:
    yield path.with_suffix(".damaged")
    for number in itertools.count(2):
        yield path.with_suffix(f".{number}.damaged")


class Store:
    """A folder of runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def runs(self) -> list[Run]:
        """Return all runs, sorted by id. An id starts with the time of creation by a clock that may be wrong.

        Raises `StoreError` if the folder of the store exists and cannot be read.
        """
        try:
            folders = entries(self.folder)
        except Unreadable as error:
            raise StoreError(f"the store {self.folder} {error}; choose another with --store") from None
        return [Run(folder) for folder in folders if may_contain(folder, "run.json")]

    def in_order(self) -> list[Run]:
        """Return the runs with a readable `run.json` in the order in which they ended (see `by_end`)."""
        found = self._readable()
        return [found[index][0] for index in by_end([file for _, file in found])]

    def last_ended(self, now: str) -> tuple[str, ...]:
        """Return `RunFile.after` of a run that ends now: the ids of the finished runs that no other run follows.

        Runs that seem to end later than `now` are included, because their clock was ahead. Otherwise they would be the
        latest again if the runs between were removed.
        """
        files = [file for _, file in self._readable()]
        ahead = [file.id for file in files if file.finished is not None and file.finished > now]
        return tuple(dict.fromkeys([*ahead, *last_ended(files)]))[-MAX_LINKS:]

    def latest(self) -> Run:
        """Return the run that finished last, or the newest run if no run has finished.

        A run whose `run.json` is unreadable may have finished last. It is returned if its id has a later time than
        those of all other runs, so that the damage is reported. Raises `StoreError` if there are no runs.
        """
        runs, found = self.require_runs(), self._readable()
        readable = {run.id for run, _ in found}
        if runs[-1].id not in readable:
            return runs[-1]
        ordered = [found[index] for index in by_end([file for _, file in found])]
        return ([run for run, file in ordered if file.finished is not None] or [run for run, _ in ordered])[-1]

    def require_runs(self) -> list[Run]:
        """Return all runs as `runs` does. Raises `StoreError` if there are none."""
        runs = self.runs()
        if not runs:
            raise StoreError(
                f"no runs in {self.folder}: start one with `carousel run`, or choose another store with --store"
            )
        return runs

    def create(self, file: RunFile) -> Run:
        """Create the folder of a new run with its `run.json`, and return the run.

        Raises `StoreError` if the folder exists, or if the folder or the file cannot be written.
        """
        run = Run(self.folder / file.id)
        try:
            (run.folder / "records").mkdir(parents=True)
        except OSError as error:
            raise StoreError(
                f"cannot write to the store {self.folder}: {error.strerror}; choose another with --store"
            ) from None
        try:
            run.write_file(file)
        except BaseException:  # also Ctrl-C: a folder without `run.json` is no run
            shutil.rmtree(run.folder, ignore_errors=True)
            raise
        return run

    def find(self, name: str) -> Run:
        """Return the run whose folder, id or unique id prefix is `name`, or that of `latest` if `name` is `latest`.

        Raises `StoreError` unless exactly one run matches.
        """
        if _leads_to_a_run(name):
            return Run(Path(name))
        runs = self.require_runs()
        if name == "latest":
            return self.latest()
        matching = [run for run in runs if run.id == name] or [run for run in runs if run.id.startswith(name)]
        if len(matching) == 1:
            return matching[0]
        if matching:
            ids = ", ".join(run.id for run in matching)
            raise StoreError(f"{name!r} is ambiguous: it matches {ids}; give a longer prefix")
        hint = f"the latest run is {self.latest().id}, and `carousel list runs` lists all"
        raise StoreError(f"no run {name!r} in {self.folder}; {hint}")

    def _readable(self) -> list[tuple[Run, RunFile]]:
        found = []
        with reading_many():
            for run in self.runs():
                with contextlib.suppress(StoreError):
                    found.append((run, run.file()))
        return found


def _leads_to_a_run(name: str) -> bool:
    """Return whether a name is the path of a run, even of one that cannot be read."""
    try:
        return stat.S_ISDIR(os.stat(name).st_mode) and may_contain(Path(name), "run.json")  # noqa: PTH116  (may be long)
    except (OSError, ValueError):  # an id
        return False


def artifact_digest(content: bytes) -> str:
    """Return the digest of an artifact for its record: the first 16 hexadecimal digits of the SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def check_file_name(record: Record, path: Path) -> None:
    """Raise `StoreError` if the key, the case and the file name of a record do not match."""
    if not record.key == record.case.key == path.stem:
        raise StoreError("the file name or key does not match the case")
