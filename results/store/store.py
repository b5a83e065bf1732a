"""The store: runs in folders, records in files, each written aside and renamed into place.

    <store>/<run-id>/run.json                  what was planned, how, where
                     records/<case-key>.json   one file a case
                     artifacts/<case-key>/     curves, traces, weights

A reader never sees half a file: a name exists only once its content is whole and on disk.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from results.schema.record import Record
from results.schema.run import RunFile
from results.store.document import NewerSchema, StoreError, read_document, reading_many, write_aside, write_bytes_aside

MAX_FILE_BYTES = 64 << 20
"""An artifact is far smaller; a larger file is not one of ours, and is not read into memory."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A file that is not what it should be, and why."""

    path: Path
    reason: str
    is_newer: bool = False
    """Whether it is whole, and a newer Carousel's: then it stays where it is."""

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
            return read_document(path, RunFile)
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
        """The folder of a case's artifacts, made if it is not there. Raises `StoreError`."""
        folder = self.folder / "artifacts" / key
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make {folder}: {error.strerror}") from None
        return folder

    def write_artifact(self, key: str, name: str, content: bytes) -> str:
        """Put an artifact of a case in its place, and say where in the run's folder. Raises `StoreError`."""
        path = self.folder / "artifacts" / key / name
        write_bytes_aside(path, content)
        return path.relative_to(self.folder).as_posix()

    def with_artifacts(self, record: Record, artifacts: Mapping[str, bytes]) -> Record:
        """Put safetensors files of a record in their places by name; the record then says where, and their digests."""
        places = {
            name: self.write_artifact(record.key, f"{name}.safetensors", content) for name, content in artifacts.items()
        }
        digests = {name: artifact_digest(content) for name, content in artifacts.items()}
        return record.model_copy(update={"artifacts": places, "artifact_digests": digests})

    def read(self) -> tuple[dict[str, Record], list[Damage]]:
        """All records by key, and the files that are not records, each with its reason."""
        records: dict[str, Record] = {}
        damaged: list[Damage] = []
        with reading_many():
            for path in self.record_paths():
                try:
                    record = read_document(path, Record)
                    check_place(record, path)
                except StoreError as error:
                    damaged.append(Damage(path, str(error), isinstance(error, NewerSchema)))
                else:
                    records[record.key] = record
        return records, damaged

    def record_paths(self) -> list[Path]:
        """Everything that stands where a record stands, whole or not, by name."""
        return sorted((self.folder / "records").glob("*.json"), key=lambda path: path.name)

    def set_aside(self, damage: Damage) -> None:
        """Take a damaged file out of the way, so that its case runs again and nothing is lost."""
        damage.path.replace(next(place for place in _places_aside(damage.path) if not os.path.lexists(place)))


def _places_aside(path: Path) -> Iterator[Path]:
    yield path.with_suffix(".damaged")
    for number in itertools.count(2):
        yield path.with_suffix(f".{number}.damaged")


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


def artifact_digest(content: bytes) -> str:
    """Of an artifact's bytes, as its record keeps it."""
    return hashlib.sha256(content).hexdigest()[:16]


def check_place(record: Record, path: Path) -> None:
    """Raises `StoreError` where a record stands under a name that is not its own."""
    if not record.key == record.case.key == path.stem:
        raise StoreError("its key does not belong to its case")
