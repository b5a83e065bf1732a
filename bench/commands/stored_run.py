"""Read a stored run for the commands that show or report it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console

from results import Record, Run, RunFile


def as_document(file: RunFile, records: Sequence[Record]) -> str:
    """A run and its records as one JSON document."""
    return json.dumps(
        {"run": file.model_dump(mode="json"), "records": [record.model_dump(mode="json") for record in records]},
        indent=1,
    )


def read_run(run: Run) -> tuple[RunFile, list[Record]]:
    """A run and its readable records in the order of its cases; damaged files are named on standard error."""
    file = run.file()
    records, damaged = run.read()
    for damage in damaged:
        Console(stderr=True).print(f"[yellow]left out[/] {damage}", highlight=False)
    return file, [records[case.key] for case in file.cases if case.key in records]
