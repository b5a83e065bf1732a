"""Read stored runs. A damaged file is skipped with a warning, except the `run.json` of a single run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import reports
from bench.commands.output import warn_skipped
from bench.errors import UsageError
from results import Record, Run, RunFile, Store, StoreError, Traces, load_traces
from results.store import unusable_records


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """What a run planned, what can be read of it, and what cannot."""

    file: RunFile
    records: list[Record]
    """Readable records in the order of the cases."""
    unusable: Mapping[str, str] = field(default_factory=dict)
    """Why a record cannot be used, by the key of its case."""


def load_run(run: Run) -> StoredRun:
    """Read a run. Each rejected record is reported on standard error.

    Raises `StoreError` if `run.json` is missing or damaged.
    """
    file = run.file()
    records, damaged = run.read()
    for damage in damaged:
        warn_skipped(f"{damage.path}: {damage.reason}")  # several runs may have a record of this name
    readable = [records[case.key] for case in file.cases if case.key in records]
    return StoredRun(file=file, records=readable, unusable=unusable_records(file, damaged))


def read_run(run: Run) -> tuple[RunFile, list[Record]]:
    """Return the `run.json` of a run, and its readable records in the order of its cases.

    Raises `StoreError` if `run.json` is missing or damaged.
    """
    loaded = load_run(run)
    return loaded.file, loaded.records


def find_two(store: Path, base: str, new: str) -> tuple[Run, Run]:
    """Return the runs with the names `base` and `new`.

    A copy of a run is the same run. Raises `StoreError` if a run does not exist or its `run.json` is damaged. Raises
    `UsageError` if both names stand for the same run.
    """
    first, second = (Store(store).find(name) for name in (base, new))
    if first.folder.resolve() == second.folder.resolve() or first.file().id == second.file().id:
        raise UsageError(
            f"{base} and {new} are the same run, {first.file().id}: give two different runs; "
            "`carousel list runs` lists them"
        )
    return first, second


def read_runs(store: Store) -> Iterator[tuple[RunFile, list[Record]]]:
    """Yield the `run.json` and the readable records of every readable run of a store.

    Raises `StoreError` if the store has no runs.
    """
    for run in store.require_runs():
        try:
            yield read_run(run)
        except StoreError as error:
            warn_skipped(error)


def read_traces(run: Run, file: RunFile, records: Sequence[Record]) -> dict[str, Traces]:
    """Return the traces of the cases that a report shows, by case key."""
    by_key = {record.key: record for record in records}
    traces_by_key: dict[str, Traces] = {}
    for key in reports.shown_cases(file, records):
        try:
            if (traces := load_traces(run, by_key[key])) is not None:
                traces_by_key[key] = traces
        except StoreError as error:
            warn_skipped(error)
    return traces_by_key
