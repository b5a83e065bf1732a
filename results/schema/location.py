"""Locations of measurements: a test length, a range of test lengths, a position in a stream and others.

A location is a dict, such as `{"length": 64}`. A range of test lengths is the location `{"from": 40, "to": 256}`.
Plans, reports and exports write it as `40..256`. Its measurements are means over lengths drawn from the range.
"""

from __future__ import annotations

from collections.abc import Mapping

LengthRange = tuple[int, int]
"""The first and the last length of a range, both included."""


def location_of_range(lengths: LengthRange) -> dict[str, int]:
    """Return the location of measurements over a range of test lengths."""
    return {"from": lengths[0], "to": lengths[1]}


def range_at(at: Mapping[str, int]) -> LengthRange | None:
    """Return the range of test lengths at a location, or None if the location is no such range."""
    return (at["from"], at["to"]) if at.keys() == {"from", "to"} else None


def range_text(lengths: LengthRange) -> str:
    """Return a range as a plan writes it, such as `40..256`."""
    return f"{lengths[0]}..{lengths[1]}"


def location_parts(at: Mapping[str, int], *, separator: str = "") -> list[tuple[str, str]]:
    """Return the names and values of a location as text, with a range as one value: `[("length", "40..256")]`.

    `separator` separates thousands in other values.
    """
    if (lengths := range_at(at)) is not None:
        return [("length", range_text(lengths))]
    return [(name, f"{value:{separator}}") for name, value in at.items()]
