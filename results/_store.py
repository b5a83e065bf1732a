"""The store: runs in folders, records in files, each written aside and renamed into place.

    <store>/<run-id>/run.json                  what was planned, how, where
                     records/<case-key>.json   one file a case
                     artifacts/<case-key>/     curves, traces, weights

A reader never sees half a file: a name exists only once its content is whole and on disk.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from results._schema import SCHEMA_VERSION, Record, RunFile
from results._strict import Strict
from results._upgrade import upgraded

LARGEST_FILE_BYTES = 64 << 20
"""A record is far smaller; a larger file is not one of ours, and is not read into memory."""

Document = TypeVar("Document", Record, RunFile)


SEAL = b',\n "seal": "'
"""The last member of every file is a digest of all that stands before it."""


class StoreError(ValueError):
    """A store that cannot be read or written, or a run that is not there."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A file that is not what it should be, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path.name}: {self.reason}"


class Run:
    """One run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def id(self) -> str:
        return self.folder.name

    def file(self) -> RunFile:
        """What `run.json` says. Raises `StoreError` where it is missing or damaged."""
        path = self.folder / "run.json"
        try:
            return _read(path, RunFile)
        except StoreError as error:
            raise StoreError(f"{path}: {error}; `carousel list runs` shows what else there is") from None

    def write_file(self, file: RunFile) -> None:
        write_aside(self.folder / "run.json", file)

    def write(self, record: Record) -> None:
        """Put a record in its place, over an earlier one of the same case."""
        write_aside(self.record_path(record.key), record)

    def record_path(self, key: str) -> Path:
        return self.folder / "records" / f"{key}.json"

    def artifacts(self, key: str) -> Path:
        """The folder of a case's artifacts, made if it is not there."""
        folder = self.folder / "artifacts" / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def write_artifact(self, key: str, name: str, content: bytes) -> str:
        """Put an artifact of a case in its place, and say where in the run's folder. Raises `StoreError`."""
        path = self.folder / "artifacts" / key / name
        _write_bytes_aside(path, content)
        return path.relative_to(self.folder).as_posix()

    def read(self) -> tuple[dict[str, Record], list[Damage]]:
        """All records by key, and the files that are not records, each with its reason."""
        records: dict[str, Record] = {}
        damaged: list[Damage] = []
        for path in sorted((self.folder / "records").glob("*.json")):
            try:
                record = _read(path, Record)
                _check_place(record, path)
            except StoreError as error:
                damaged.append(Damage(path, str(error)))
            else:
                records[record.key] = record
        return records, damaged

    def set_aside(self, damage: Damage) -> None:
        """Take a damaged file out of the way, so that its case runs again and nothing is lost."""
        damage.path.replace(damage.path.with_suffix(".damaged"))


class Store:
    """A folder of runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def runs(self) -> list[Run]:
        """All runs, oldest first: a run's id begins with the moment of its creation."""
        return sorted((Run(path.parent) for path in self.folder.glob("*/run.json")), key=lambda run: run.id)

    def create(self, file: RunFile) -> Run:
        """A new run's folder, with its `run.json`. Raises `StoreError` where it cannot be written."""
        run = Run(self.folder / file.id)
        try:
            (run.folder / "records").mkdir(parents=True)
        except OSError as error:
            raise StoreError(
                f"cannot write to the store {self.folder}: {error.strerror}; give another with --store"
            ) from None
        run.write_file(file)
        return run

    def find(self, name: str) -> Run:
        """The run that an id, a unique prefix, `latest` or a path names. Raises `StoreError`."""
        if os.path.isfile(Path(name) / "run.json"):  # noqa: PTH113  (it takes any name, however long)
            return Run(Path(name))
        runs = self.runs()
        if not runs:
            raise StoreError(f"no runs in {self.folder}; `carousel run` makes one")
        if name == "latest":
            return runs[-1]
        matching = [run for run in runs if run.id == name] or [run for run in runs if run.id.startswith(name)]
        if len(matching) == 1:
            return matching[0]
        if matching:
            raise StoreError(
                f"{name!r} is the beginning of {len(matching)} runs: {', '.join(run.id for run in matching)}"
            )
        raise StoreError(f"no run {name!r} in {self.folder}; the latest is {runs[-1].id}")


def write_aside(path: Path, document: Strict) -> None:
    """Write a document so that the name only ever holds a whole one. Raises `StoreError`."""
    _write_bytes_aside(path, _sealed(document.model_dump_json(indent=1).encode()))


def _write_bytes_aside(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error.strerror}; what was written before is intact") from None


def _read(path: Path, kind: type[Document]) -> Document:
    """A document from disk. Raises `StoreError` in one line for anything that is not one."""
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise StoreError(f"larger than {LARGEST_FILE_BYTES >> 20} MiB")
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from None
    text = _unsealed(content)
    try:
        document = _validated(kind, content if text is None else text)
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("schema_version",) and isinstance(first["input"], int) and first["input"] > SCHEMA_VERSION:
            raise StoreError(f"written by a newer Carousel (schema {first['input']}); update to read it") from None
        where = ".".join(str(part) for part in first["loc"])
        where = where.encode("unicode_escape").decode()
        raise StoreError(f"damaged{f' at {where}' if where else ''}: {first['msg'].lower()}") from None
    if text is None:
        raise StoreError("damaged: its seal does not fit its content")
    return document


def _validated(kind: type[Document], text: bytes) -> Document:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        is_earlier = any(found["loc"] == ("schema_version",) for found in error.errors())
        if is_earlier and (later := upgraded(text)) is not None:
            return kind.model_validate_json(later)
        raise


def _sealed(text: bytes) -> bytes:
    """A JSON object with its digest as its last member."""
    return text.removesuffix(b"\n}") + SEAL + hashlib.sha256(text).hexdigest()[:16].encode() + b'"\n}\n'


def _unsealed(content: bytes) -> bytes | None:
    """What was sealed; None where a byte of it is not as it was written."""
    text = content.rpartition(SEAL)[0] + b"\n}"
    return text if content == _sealed(text) else None


def _check_place(record: Record, path: Path) -> None:
    if not record.key == record.case.key == path.stem:
        raise StoreError("its key does not belong to its case")
