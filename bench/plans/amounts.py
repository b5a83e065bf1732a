"""Read amounts with a unit, such as `4KiB` or `40k`, from plans and options."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, ByteSize, Field, TypeAdapter, ValidationError

from results.specs import shown_value

AMOUNT = re.compile(r"[0-9._]+\s*[a-z]*", re.IGNORECASE)
"""A number with an optional unit. `pydantic.ByteSize` alone would ignore any text after the unit."""
COUNT = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([kmg]?)", re.IGNORECASE | re.ASCII)
"""A number with an optional prefix of the SI."""
PREFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def parse_bytes(text: str) -> int | None:
    """Return the number of bytes in an amount such as `4GiB`, `500 MB` or `1073741824`, or None if it is invalid."""
    try:
        return int(TypeAdapter(ByteSize).validate_python(text)) if AMOUNT.fullmatch(text.strip()) else None
    except (ValidationError, OverflowError):
        return None


def budget_bytes(value: object) -> object:
    """Replace a text such as `4KiB` by its number of bytes. Any other value is returned unchanged.

    Raises `ValueError` for another text.
    """
    if not isinstance(value, str):
        return value
    number = parse_bytes(value)
    if number is None:
        raise ValueError(f"give a number of bytes such as 4096 or 4KiB, not {shown_value(value)}")
    return number


def budget_count(value: object) -> object:
    """Replace a text such as `40k` by its number. Any other value is returned unchanged.

    Raises `ValueError` for another text.
    """
    if not isinstance(value, str):
        return value
    found = COUNT.fullmatch(value.strip())
    number = Fraction(found[1]) * PREFIXES[found[2].lower()] if found is not None else Fraction(1, 2)
    if number.denominator != 1:
        raise ValueError(f"give a whole number such as 40000 or 40k, not {shown_value(value)}")
    return int(number)


BudgetBytes = Annotated[int, Field(ge=1, le=2**31), BeforeValidator(budget_bytes)]
"""A number of bytes, or a text such as `4KiB`."""
BudgetCount = Annotated[int, Field(ge=1, le=2**31), BeforeValidator(budget_count)]
"""A number, or a text such as `40k`."""
