"""Whether a store still says what was written: every file's seal, schema, key, place and artifacts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from results.schema.record import Record
from results.schema.run import RunFile
from results.store.document import NewerSchema, StoreError, read_bytes, read_document, reading_many
from results.store.store import MAX_FILE_BYTES, Run, Store, artifact_digest, check_place

Kind = Literal["damaged", "newer", "missing", "misplaced", "left over", "set aside", "conflict", "unclaimed"]
HARMLESS: frozenset[Kind] = frozenset(("left over", "set aside", "conflict", "unclaimed"))
"""What stands beside a sound store and takes nothing from it."""
ASIDE = re.compile(r"\.(?P<name>.+)\.(?P<writer>[0-9]+)")
"""What a writer's file is called before it is renamed into place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """A file that is not as it should be, and why."""

    path: Path
    kind: Kind
    reason: str

    @property
    def is_harmless(self) -> bool:
        return self.kind in HARMLESS


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was looked at, and what was found."""

    runs: int
    records: int
    artifacts: int
    flaws: tuple[Flaw, ...]

    @property
    def is_sound(self) -> bool:
        return all(flaw.is_harmless for flaw in self.flaws)


def verify(store: Store) -> Inspection:
    """Look at every file of every run. Raises `StoreError` where the store is no folder that can be read."""
    try:
        folders = sorted(path for path in store.folder.iterdir() if path.is_dir())
    except OSError as error:
        raise StoreError(f"cannot read the store {store.folder}: {error.strerror}; give another with --store") from None
    runs = [Run(path) for path in folders if _looks_like_a_run(path)]
    looks = [_Look(run) for run in runs]
    with reading_many():
        flaws = [flaw for look in looks for flaw in look.flaws()]
    flaws += [flaw for path in store.folder.glob(".*") if path.is_file() for flaw in _left_over(path)]
    return Inspection(
        runs=len(runs),
        records=sum(look.records for look in looks),
        artifacts=sum(look.artifacts for look in looks),
        flaws=tuple(flaws),
    )


def _looks_like_a_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("run.json", "records", "artifacts"))


class _Look:
    """One run's folder, file by file."""

    def __init__(self, run: Run) -> None:
        self.run, self.records, self.artifacts = run, 0, 0
        self.claimed: set[Path] = set()

    def flaws(self) -> Iterator[Flaw]:
        planned: set[str] | None = None
        path = self.run.folder / "run.json"
        try:
            file = read_document(path, RunFile)
            planned = {case.key for case in file.cases}
            if file.id != self.run.id:
                yield Flaw(path=path, kind="misplaced", reason=f"it is the file of run {file.id}")
        except NewerSchema as error:
            yield Flaw(path=path, kind="newer", reason=str(error))
        except StoreError as error:
            yield Flaw(path=path, kind="damaged" if path.exists() else "missing", reason=str(error))
        for path in self.run.record_paths():
            yield from self._of_record(path, planned)
        yield from self._beside()

    def _of_record(self, path: Path, planned: set[str] | None) -> Iterator[Flaw]:
        self.records += 1
        try:
            record = read_document(path, Record)
        except NewerSchema as error:
            yield Flaw(path=path, kind="newer", reason=str(error))
            return
        except StoreError as error:
            yield Flaw(path=path, kind="damaged", reason=str(error))
            return
        try:
            check_place(record, path)
        except StoreError as error:
            yield Flaw(path=path, kind="misplaced", reason=str(error))
            return
        if planned is not None and record.key not in planned:
            yield Flaw(path=path, kind="misplaced", reason="its run has no such case")
        for name, place in record.artifacts.items():
            artifact = self.run.folder / place
            self.artifacts += 1
            self.claimed.add(artifact)
            reason = damage_of_artifact(self.run, record, name)
            if reason is not None:
                yield Flaw(path=artifact, kind="damaged" if artifact.exists() else "missing", reason=reason)

    def _beside(self) -> Iterator[Flaw]:
        for folder, _, names in os.walk(self.run.folder):
            is_artifacts = (self.run.folder / "artifacts") in (Path(folder), *Path(folder).parents)
            for name in sorted(names):
                path = Path(folder) / name
                if name.endswith(".damaged"):
                    yield Flaw(path=path, kind="set aside", reason="a damaged record that was set aside before")
                elif name.endswith(".conflict"):
                    yield Flaw(path=path, kind="conflict", reason="kept by a merge beside another of the same name")
                elif ASIDE.fullmatch(name):
                    yield from _left_over(path)
                elif is_artifacts and path not in self.claimed:
                    yield Flaw(path=path, kind="unclaimed", reason="no record names it")


def _left_over(path: Path) -> Iterator[Flaw]:
    found = ASIDE.fullmatch(path.name)
    if found is not None and not _is_alive(int(found["writer"])):
        reason = f"a writer that was stopped left it in place of {found['name']}"
        yield Flaw(path=path, kind="left over", reason=reason)


def _is_alive(process: int) -> bool:
    try:
        return psutil.pid_exists(process)
    except OverflowError:
        return False


def clean(flaws: tuple[Flaw, ...]) -> list[Path]:
    """Remove what killed writers left over, and say which. Raises `StoreError`."""
    removed = [flaw.path for flaw in flaws if flaw.kind == "left over"]
    for path in removed:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot remove {path}: {error.strerror}") from None
    return removed


def damage_of_artifact(run: Run, record: Record, name: str) -> str | None:
    """Why an artifact is not what its record says; None where it is."""
    place, expected = record.artifacts[name], record.artifact_digests.get(name)
    path = run.folder / place
    if not place.startswith(f"artifacts/{record.key}/"):
        return "it does not stand in its record's own folder"
    try:
        if not path.resolve().is_relative_to(run.folder.resolve()):
            return "it leads out of its run's folder"
        content = read_bytes(path, MAX_FILE_BYTES)
    except (OSError, RuntimeError):
        return "it cannot be read"
    except StoreError as error:
        return str(error)
    if expected is not None and artifact_digest(content) != expected:
        return "damaged: its digest is not the one that its record keeps"
    return None
