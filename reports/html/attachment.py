"""A compressed file with the records of a run, which readers can download from the page.

The file leaves out the samples of streamed steps, because each case has thousands of them. The store keeps all samples.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from results import Record, RunFile

OMITTED_METRICS = ("step_seconds", "call_step_seconds")
MAX_BYTES = 1_000_000
"""The largest size of an attachment, in base64 characters. The limit keeps the page small enough to send."""
GZIP_WBITS = 31
"""The `wbits` value that makes zlib write a gzip header. The header contains no date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that is embedded in the page."""

    name: str
    link: str
    """The content as a data URI."""
    records: int
    left_out: int
    """The number of samples that the file leaves out."""


def attachment(run: RunFile, records: Sequence[Record]) -> Attachment | None:
    """Return the run and its records as compressed JSON lines.

    The first line is the run. Each other line is a record. Returns None without records, or if the file exceeds
    `MAX_BYTES`.
    """
    if not records:
        return None
    packed = pack(_lines(run, records))
    if packed is None:
        return None
    measurements = [measurement for record in records for measurement in record.measurements]
    return Attachment(
        name=f"{run.id}.jsonl.gz",
        link=f"data:application/gzip;base64,{packed}",
        records=len(records),
        left_out=sum(len(each.samples) for each in measurements if each.metric in OMITTED_METRICS),
    )


def _lines(run: RunFile, records: Sequence[Record]) -> Iterable[str]:
    yield run.model_dump_json()
    for record in sorted(records, key=lambda record: record.key):
        included = tuple(each for each in record.measurements if each.metric not in OMITTED_METRICS)
        yield record.model_copy(update={"measurements": included}).model_dump_json(exclude_defaults=True)


def pack(lines: Iterable[str]) -> str | None:
    """Return the lines as a gzip file in base64, or None if the result would exceed `MAX_BYTES` characters.

    No further line is read once the limit is exceeded.
    """
    compressor = zlib.compressobj(9, wbits=GZIP_WBITS)
    packed = bytearray()
    for line in lines:
        packed += compressor.compress(f"{line}\n".encode())
        if _base64_length(len(packed)) > MAX_BYTES:
            return None
    packed += compressor.flush()
    return base64.b64encode(packed).decode() if _base64_length(len(packed)) <= MAX_BYTES else None


def _base64_length(size: int) -> int:
    """Return the number of base64 characters for `size` bytes."""
    return 4 * -(-size // 3)
