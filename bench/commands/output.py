"""Print and write the output of commands."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from bench.errors import UsageError
from reports.format import new_console, print_lines
from results import Record, RunFile, convergence, is_standard_output, write_output_file

Format = TypeVar("Format", bound=str)
MAX_PRINTED = 1_000_000
"""The largest number of characters of a document that is printed on a terminal."""

__all__ = ["new_console", "print_json", "print_lines", "run_document", "warn_skipped", "write_output", "write_outputs"]


def write_output(path: Path, content: bytes, *, option: str = "-o") -> None:
    """Write `content` as `write_output_file` does.

    Raises `UsageError` if `path` cannot be written; the message names `option`.
    """
    try:
        write_output_file(path, content)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another file with {option}") from None


def write_outputs(files: Mapping[str, Path | None], contents: Mapping[str, Callable[[], bytes]]) -> None:
    """Write each file that is not None. A file that cannot be written does not keep the others from being written.

    `files` and `contents` have the same keys: the options of the files. Raises `UsageError` for the first file that
    cannot be written.
    """
    errors = []
    for option, path in files.items():
        if path is not None:
            try:
                write_output(path, contents[option](), option=option)
            except UsageError as error:
                errors.append(error)
    if errors:
        raise errors[0]


def format_by_ending(path: Path | None, formats: Mapping[str, Format], *, option: str = "-o") -> Format | None:
    """Return the format of a file according to its ending.

    Return None if there is no ending to decide, as for `-`. Pipes and devices may have any ending.

    Args:
        path: The file to write, or None if there is none.
        formats: The known formats by ending, such as `.csv`.
        option: The option that gives the path, for the error message.

    Raises `UsageError` if the ending is unknown.
    """
    if path is None or not path.suffix:
        return None
    if path.suffix.lower() in formats:
        return formats[path.suffix.lower()]
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113  (a Path fails for very long names)
        return None
    raise UsageError(
        f"{option}: cannot write a file that ends in {path.suffix}: {path}; choose a file that ends in "
        f"{' or '.join(formats)}"
    )


def require_folder(path: Path | None, option: str) -> None:
    """Raise `UsageError` if `path`, which receives several files, is standard output. None is accepted."""
    if path is not None and is_standard_output(path):
        raise UsageError(f"{option} writes several files into a folder, not to {path}; choose a folder")


def require_distinct(files: Mapping[str, Path | None]) -> None:
    """Raise `UsageError` if two options name the same file, since the second output would replace the first.

    Pipes and devices can receive several outputs.
    """
    option_of: dict[str, str] = {}
    for option, path in files.items():
        if path is None or is_standard_output(path):
            continue
        real = os.path.realpath(path)
        if real in option_of and (os.path.isfile(real) or not os.path.exists(real)):  # noqa: PTH110, PTH113
            raise UsageError(f"{option_of[real]} and {option} name the same file, {path}; choose two files")
        option_of[real] = option


def console_beside(files: Mapping[str, Path | None], *, as_json: bool) -> Console:
    """Return the console for texts: standard error if a file goes to standard output, otherwise standard output.

    `files` maps options to files. Raises `UsageError` if two documents would go to standard output.
    """
    documents = [option for option, path in files.items() if path is not None and is_standard_output(path)]
    if len(documents) + as_json > 1:
        both = " and ".join([*documents, *(["--json"] if as_json else [])])
        raise UsageError(f"{both} exclude each other on standard output; choose a file instead of -")
    return new_console(stderr=bool(documents))


def print_json(document: Mapping[str, object] | Sequence[object]) -> None:
    """Print one JSON document on standard output. Numbers that are not finite become null, since JSON has none."""
    print(_json(document))


def print_long_json(document: Mapping[str, object], *, command: str) -> None:
    """Print one JSON document on standard output, unless that is a terminal and the document is long.

    Raises `UsageError` for more than `MAX_PRINTED` characters on a terminal. `command` printed the document.
    """
    text = _json(document)
    if len(text) > MAX_PRINTED and sys.stdout.isatty():
        raise UsageError(
            f"a document of {len(text) / 1e6:,.0f} MB is too much for a terminal: redirect it, as in `{command} > "
            "run.json`"
        )
    print(text)


def _json(document: Mapping[str, object] | Sequence[object]) -> str:
    return json.dumps(_finite(document), indent=1, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, (list, tuple)) else value


def warn_skipped(reason: object) -> None:
    """Report on standard error that a file was skipped. `reason` names the file and says why."""
    print_lines([f"skipped {reason}"], new_console(stderr=True), style="yellow")


def run_document(
    file: RunFile, records: Sequence[Record], unusable: Mapping[str, str] | None = None
) -> dict[str, object]:
    """Return a run and its records as one document for `print_json`.

    Records that only serve to choose learning rates are listed apart from those of reported cases. The rows of the
    leaderboard, and the convergence of each reported case, are computed from the records. `unusable` says why a record
    cannot be used, by the key of its case. None stands for no such record.
    """
    import reports  # most commands need no reports, and their import takes time

    return {
        "run": file.model_dump(mode="json"),
        "leaderboard": reports.leaderboard_document(file, records),
        "records": [record.model_dump(mode="json") for record in records if record.case.is_reported],
        "tuning_records": [record.model_dump(mode="json") for record in records if not record.case.is_reported],
        "convergence": {record.key: convergence(record) for record in records if record.case.is_reported},
        "unusable": dict(unusable or {}),
    }
