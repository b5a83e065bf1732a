"""Print and write the output of commands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.errors import UsageError
from reports.format import new_console, print_lines
from results import Record, RunFile, StoreError, write_atomically

__all__ = ["new_console", "print_json", "print_lines", "run_document", "warn_skipped", "write_output"]


def write_output(path: Path, content: bytes, *, option: str = "-o") -> None:
    """Write `content` to `path`. Raises `UsageError` if `path` cannot be written; the message names `option`."""
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            path.write_bytes(content)  # a link, a pipe or a device such as /dev/stdout must not be replaced by a file
        else:
            write_atomically(path, content)
    except (OSError, StoreError) as error:
        message = str(error) if isinstance(error, StoreError) else f"cannot write {path}: {error.strerror}"
        raise UsageError(f"{message}; choose another file with {option}") from None


def print_json(document: Mapping[str, object] | Sequence[object]) -> None:
    """Print one JSON document on standard output."""
    print(json.dumps(document, indent=1))


def warn_skipped(reason: object) -> None:
    """Report on standard error that a file was skipped. `reason` names the file and says why."""
    print_lines([f"skipped {reason}"], new_console(stderr=True), style="yellow")


def run_document(file: RunFile, records: Sequence[Record]) -> dict[str, object]:
    """Return a run and its records as one document for `print_json`."""
    return {"run": file.model_dump(mode="json"), "records": [record.model_dump(mode="json") for record in records]}
