"""Damage files as a failing disk would, and list the damaged copies that are accepted."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from results import Record, RunFile, write_document
from results.store.document import StoreError, parsed


def changes(content: bytes, every: int) -> Iterator[tuple[str, bytes]]:
    """Yield descriptions and damaged copies of the content.

    There is a truncated copy per `every` bytes, and a copy with one flipped bit per `every` bits.
    """
    for length in range(0, len(content), every):
        yield f"truncated to {length} bytes", content[:length]
    for bit in range(0, 8 * len(content), every):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << (bit % 8)
        yield f"bit {bit} flipped", bytes(flipped)


def accepted_after_any_change(document: Record | RunFile, *, every: int) -> list[str]:
    """Return descriptions of the changes after which `parsed` still accepts the file.

    The list is empty if every change is detected.

    Args:
        document: The document to write and damage.
        every: Distance between two truncations in bytes, and between two flipped bits in bits.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.json"
        write_document(path, document)
        content = path.read_bytes()
    assert parsed(content, type(document)) == document
    return [change for change, changed in changes(content, every) if _is_accepted(changed, type(document))]


def _is_accepted(content: bytes, kind: type[Record] | type[RunFile]) -> bool:
    try:
        parsed(content, kind)
    except StoreError as error:
        assert "\n" not in str(error)
        return False
    return True
