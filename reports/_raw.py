"""The records inside the page: one compressed file that a reader can save from it.

Streamed steps are thousands of samples a case; in the page they are counted and left out, and the store keeps them.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from dataclasses import dataclass

from results import Record, RunFile

LEFT_OUT = ("step_seconds",)
MOST_BYTES = 1_000_000
"""Of the attachment: a page must stay small enough to be sent."""


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
    lines = [run.model_dump_json()]
    left_out = 0
    for record in sorted(records, key=lambda record: record.key):
        kept = tuple(one for one in record.measurements if one.metric not in LEFT_OUT)
        left_out += sum(len(one.samples) for one in record.measurements if one.metric in LEFT_OUT)
        lines.append(record.model_copy(update={"measurements": kept}).model_dump_json(exclude_defaults=True))
    packed = base64.b64encode(gzip.compress("\n".join([*lines, ""]).encode(), mtime=0)).decode()
    if len(packed) > MOST_BYTES:
        return None
    return Attachment(
        name=f"{run.id}.jsonl.gz",
        link=f"data:application/gzip;base64,{packed}",
        records=len(records),
        left_out=left_out,
    )
