"""Write files and JSON documents for commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from results import (
    StoreError,
    write_atomically,
)


def write_output(path: Path, content: bytes) -> None:
    """Write `content` to `path`. Raises `UsageError` if that fails."""
    try:
        write_atomically(path, content)
    except StoreError as error:
        raise UsageError(f"{error}; give another with -o") from None


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document on standard output."""
    print(json.dumps(document, indent=1, allow_nan=False))
