"""The records inside the page: one compressed file that a reader can save from it.

Streamed steps are thousands of samples a case; in the page they are counted and left out, and the store keeps them.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from results import Record, RunFile

LEFT_OUT = ("step_seconds",)
MAX_BYTES = 1_000_000
"""Of the attachment: a page must stay small enough to be sent."""
GZIP = 31
"""The window of zlib's compressor that writes a gzip header without a date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file inside the page."""

    name: str
    link: str
    records: int
    left_out: int
    """Samples that only the store has."""


def attachment(run: RunFile, records: Sequence[Record]) -> Attachment | None:
    """One JSON document a line, the run first, compressed; None where there is nothing or it would be too large."""
    if not records:
        return None
    packed = _packed(_lines(run, records))
    if packed is None:
        return None
    return Attachment(
        name=f"{run.id}.jsonl.gz",
        link=f"data:application/gzip;base64,{packed}",
        records=len(records),
        left_out=sum(len(one.samples) for record in records for one in record.measurements if one.metric in LEFT_OUT),
    )


def _lines(run: RunFile, records: Sequence[Record]) -> Iterable[str]:
    yield run.model_dump_json()
    for record in sorted(records, key=lambda record: record.key):
        kept = tuple(one for one in record.measurements if one.metric not in LEFT_OUT)
        yield record.model_copy(update={"measurements": kept}).model_dump_json(exclude_defaults=True)


def _packed(lines: Iterable[str]) -> str | None:
    """As base64; no line more is written once they are too many."""
    compressor = zlib.compressobj(9, wbits=GZIP)
    packed = bytearray()
    for line in lines:
        packed += compressor.compress(f"{line}\n".encode())
        if _encoded(len(packed)) > MAX_BYTES:
            return None
    packed += compressor.flush()
    return base64.b64encode(packed).decode() if _encoded(len(packed)) <= MAX_BYTES else None


def _encoded(count: int) -> int:
    """Letters of that many bytes in base64."""
    return 4 * -(-count // 3)
