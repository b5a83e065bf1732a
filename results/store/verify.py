"""Verify the checksum, schema, key, location and artifacts of every file in a store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from results.schema.record import Record
from results.schema.run import RunFile
from results.store.document import (
    NewerSchema,
    StoreError,
    Unreadable,
    may_contain,
    read_bytes,
    read_document,
    reading_many,
)
from results.store.store import MAX_FILE_BYTES, Run, Store, artifact_digest, check_file_name
from results.store.temporary import TEMPORARY, is_left_over

Kind = Literal[
    "damaged", "unreadable", "newer", "missing", "misplaced", "left over", "set aside", "conflict", "unclaimed"
]
HARMLESS: frozenset[Kind] = frozenset(("left over", "set aside", "conflict", "unclaimed"))
"""Kinds of flaws that do not affect the records of a store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """A file with a problem, and the reason."""

    path: Path
    kind: Kind
    reason: str

    @property
    def is_harmless(self) -> bool:
        """Whether the flaw leaves the records of the store intact."""
        return self.kind in HARMLESS


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The numbers of verified runs, records and artifacts, with all flaws."""

    runs: int
    records: int
    artifacts: int
    flaws: tuple[Flaw, ...]

    @property
    def is_sound(self) -> bool:
        """Whether there are runs, and all flaws are harmless."""
        return self.runs > 0 and all(flaw.is_harmless for flaw in self.flaws)


def verify(store: Store) -> Inspection:
    """Verify every file of every run, and return the flaws with the numbers of verified files.

    Raises `StoreError` if the store is not a readable folder.
    """
    try:
        paths = sorted(store.folder.iterdir())
    except OSError as error:
        raise StoreError(
            f"cannot read the store {store.folder}: {error.strerror}; choose another with --store"
        ) from None
    runs = [Run(path) for path in paths if looks_like_a_run(path)]
    verifiers = [_RunVerifier(run) for run in runs]
    with reading_many():
        flaws = [flaw for verifier in verifiers for flaw in verifier.flaws()]
    flaws += [flaw for path in paths if path.is_file() for flaw in _left_over(path)]
    flaws += [
        Flaw(path=path, kind="missing", reason="the link leads to nothing; it may have led to a run")
        for path in paths
        if path.is_symlink() and not os.path.lexists(os.path.realpath(path))
    ]
    return Inspection(
        runs=len(runs),
        records=sum(verifier.records for verifier in verifiers),
        artifacts=sum(verifier.artifacts for verifier in verifiers),
        flaws=tuple(flaws),
    )


def looks_like_a_run(folder: Path) -> bool:
    """Return whether a folder contains a run or what is left of one, or cannot be searched for it."""
    return any(may_contain(folder, name) for name in ("run.json", "records", "artifacts"))


class _RunVerifier:
    """Verifier of the files of one run."""

    def __init__(self, run: Run) -> None:
        self.run, self.records, self.artifacts = run, 0, 0
        self.claimed: set[Path] = set()

    def flaws(self) -> Iterator[Flaw]:
        planned: set[str] | None = None
        expected: set[str] = set()
        path = self.run.folder / "run.json"
        try:
            file = read_document(path, RunFile)
            planned = {case.key for case in file.cases}
            expected = planned if file.finished is not None else set()
            if file.id != self.run.id:
                yield Flaw(path=path, kind="misplaced", reason=f"it belongs to run {file.id}")
        except StoreError as error:
            yield Flaw(path=path, kind=kind_of(error, path), reason=str(error))
        try:
            paths = self.run.record_paths()
        except Unreadable as error:
            yield Flaw(path=self.run.folder / "records", kind="unreadable", reason=str(error))
        else:
            for path in paths:
                yield from self._of_record(path, planned)
            for key in sorted(expected - {path.stem for path in paths}):
                reason = "the run has finished, but this case has no record"
                yield Flaw(path=self.run.record_path(key), kind="missing", reason=reason)
        yield from self._other_files()

    def _of_record(self, path: Path, planned: set[str] | None) -> Iterator[Flaw]:
        self.records += 1
        try:
            record = read_document(path, Record)
        except StoreError as error:
            yield Flaw(path=path, kind=kind_of(error, path), reason=str(error))
            return
        try:
            check_file_name(record, path)
        except StoreError as error:
            yield Flaw(path=path, kind="misplaced", reason=str(error))
            return
        if planned is not None and record.key not in planned:
            yield Flaw(path=path, kind="misplaced", reason="the run has no such case")
        for name, relative in record.artifacts.items():
            artifact = self.run.folder / relative
            self.artifacts += 1
            self.claimed.add(artifact)
            reason = damage_of_artifact(self.run, record, name)
            if reason is not None:
                is_there = may_contain(artifact.parent, artifact.name)
                yield Flaw(path=artifact, kind="damaged" if is_there else "missing", reason=reason)

    def _other_files(self) -> Iterator[Flaw]:
        for folder, _, names in os.walk(self.run.folder):
            is_artifacts = (self.run.folder / "artifacts") in (Path(folder), *Path(folder).parents)
            for name in sorted(names):
                path = Path(folder) / name
                if name.endswith(".damaged"):
                    yield Flaw(path=path, kind="set aside", reason="a damaged record that was set aside")
                elif name.endswith(".conflict"):
                    yield Flaw(path=path, kind="conflict", reason="a merge found a different file with the same name")
                elif TEMPORARY.fullmatch(name):
                    yield from _left_over(path)
                elif is_artifacts and path not in self.claimed:
                    yield Flaw(path=path, kind="unclaimed", reason="no record refers to it")


def kind_of(error: StoreError, path: Path) -> Kind:
    """Return the kind of flaw that an error in reading a file stands for."""
    if isinstance(error, NewerSchema):
        return "newer"
    if not isinstance(error, Unreadable):
        return "damaged"
    return "unreadable" if may_contain(path.parent, path.name) else "missing"


def _left_over(path: Path) -> Iterator[Flaw]:
    match = TEMPORARY.fullmatch(path.name)
    if match is not None and is_left_over(path):
        reason = f"a process was stopped while it wrote {match['name']}"
        yield Flaw(path=path, kind="left over", reason=reason)


def clean(flaws: tuple[Flaw, ...]) -> list[Path]:
    """Remove the temporary files of killed processes that `flaws` lists, and return their paths.

    Raises `StoreError` if a file cannot be removed.
    """
    removed = [flaw.path for flaw in flaws if flaw.kind == "left over"]
    for path in removed:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot remove {path}: {error.strerror}; remove the file yourself") from None
    return removed


def damage_of_artifact(run: Run, record: Record, name: str) -> str | None:
    """Return why an artifact does not match its record, or None if it matches."""
    relative, expected = record.artifacts[name], record.artifact_digests.get(name)
    path = run.folder / relative
    if not relative.startswith(f"artifacts/{record.key}/"):
        return "outside the artifact folder of its record"
    try:
        if not path.resolve().is_relative_to(run.folder.resolve()):
            return "outside its run's folder"
        content = read_bytes(path, MAX_FILE_BYTES)
    except (OSError, RuntimeError):
        return "cannot be read"
    except StoreError as error:
        return str(error)
    if expected is not None and artifact_digest(content) != expected:
        return "corrupt: digest differs from the record"
    return None
