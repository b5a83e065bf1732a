"""Print and write the output of commands."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from bench.errors import UsageError
from results import Record, RunFile, StoreError, write_atomically


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
    """Print one JSON document on standard output. Numbers that are not finite become null, since JSON has none."""
    print(json.dumps(_finite(document), indent=1, allow_nan=False))


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, (list, tuple)) else value


def print_lines(lines: Iterable[object], console: Console, *, style: str | None = None) -> None:
    """Print each line on `console`, without markup, highlighting or wrapping. `style` applies to every line."""
    for line in lines:
        console.print(str(line), style=style, markup=False, highlight=False, soft_wrap=True)


def warn_skipped(reason: object) -> None:
    """Report on standard error that a file was skipped. `reason` names the file and says why."""
    print_lines([f"skipped {reason}"], Console(stderr=True), style="yellow")


def run_document(
    file: RunFile, records: Sequence[Record], unusable: Mapping[str, str] | None = None
) -> dict[str, object]:
    """Return a run and its records as one document for `print_json`.

    `unusable` says why a record cannot be used, by the key of its case. None stands for no such record.
    """
    return {
        "run": file.model_dump(mode="json"),
        "records": [record.model_dump(mode="json") for record in records],
        "unusable": dict(unusable or {}),
    }
