"""Damage of every kind that a disk can do to one file, and what a reader makes of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from results import Record, RunFile, write_aside
from results.store.document import StoreError, parsed


def changes(content: bytes, every: int) -> Iterator[tuple[str, bytes]]:
    """The content cut after each `every`-th byte, and with each `every`-th bit turned."""
    for length in range(0, len(content), every):
        yield f"cut to {length}", content[:length]
    for bit in range(0, 8 * len(content), every):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << (bit % 8)
        yield f"bit {bit} turned", bytes(flipped)


def accepted_after_any_change(document: Record | RunFile, *, every: int) -> list[str]:
    """The changes after which a file is still taken for whole: there must be none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.json"
        write_aside(path, document)
        content = path.read_bytes()
    assert parsed(content, type(document)) == document
    return [what for what, changed in changes(content, every) if _is_accepted(changed, type(document))]


def _is_accepted(content: bytes, kind: type[Record] | type[RunFile]) -> bool:
    try:
        parsed(content, kind)
    except StoreError as error:
        assert "\n" not in str(error)
        return False
    return True
