"""The option `--allow` of `carousel check`, `compare` and `history`."""

from __future__ import annotations

from collections.abc import Sequence

from bench.errors import UsageError
from results.comparison import ALLOWABLE


def parse_allow(text: str | None, fields: Sequence[str] = ALLOWABLE) -> frozenset[str]:
    """Parse a comma-separated list of `fields`, in which `-` stands for a space. If `text` is None, return no field.

    Raises `UsageError` for an unknown field.
    """
    if text is None:
        return frozenset()
    known = {_plain(field): field for field in fields}
    for name in map(str.strip, text.split(",")):
        if _plain(name) not in known:
            choices = ", ".join(field.replace(" ", "-") for field in fields)
            raise UsageError(f"--allow: unknown field {name!r}; choose from {choices}")
    return frozenset(known[_plain(name)] for name in map(str.strip, text.split(",")))


def _plain(name: str) -> str:
    return name.replace("-", " ").replace("_", " ")
