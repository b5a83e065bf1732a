"""An amount of memory as people write it."""

from __future__ import annotations

import re

from bench.errors import UsageError

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
MIN_BYTES = 256 << 20
"""A lane holds about this much before it has done anything."""


def bytes_of(text: str) -> int:
    """`4GiB`, `4G`, `500 MB` or a plain number of bytes. Raises `UsageError`."""
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if found is None:
        raise UsageError(f"--memory takes an amount such as 4GiB or 500MB, not {text!r}")
    amount = int(float(found[1]) * UNITS[found[2].upper()])
    if amount < MIN_BYTES:
        raise UsageError(f"--memory {text}: a lane needs at least {MIN_BYTES >> 20} MiB to begin with")
    return amount
