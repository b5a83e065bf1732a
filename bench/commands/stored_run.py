"""Read stored runs. A damaged file is skipped with a warning, except the `run.json` of a single run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import reports
from bench.commands.output import warn_skipped
from results import Record, Run, RunFile, Store, StoreError, Traces, load_traces


def read_run(run: Run) -> tuple[RunFile, list[Record]]:
    """Return the `run.json` of a run, and its readable records in the order of its cases.

    Raises `StoreError` if `run.json` is missing or damaged.
    """
    file = run.file()
    records, damaged = run.read()
    for damage in damaged:
        warn_skipped(damage)
    return file, [records[case.key] for case in file.cases if case.key in records]


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
