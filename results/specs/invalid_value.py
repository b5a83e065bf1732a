"""Plain-English reasons for values that pydantic rejects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

BOOLEAN, WHOLE_NUMBER, NUMBER = "must be true or false", "must be a whole number", "must be a number"
REASONS: Mapping[str, str] = {
    "bool_parsing": BOOLEAN,
    "bool_type": BOOLEAN,
    "dict_type": "must be a table",
    "finite_number": "must be a finite number",
    "float_parsing": NUMBER,
    "float_type": NUMBER,
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": WHOLE_NUMBER,
    "int_parsing": WHOLE_NUMBER,
    "int_type": WHOLE_NUMBER,
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "missing": "is missing; add it",
    "model_type": "must be a table",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "string_type": "must be a string",
    "too_short": "must have at least {min_length} items",
    "tuple_type": "must be a list",
    "value_error": "{error}",
}
"""Reasons by the type of pydantic's error. The fields in braces are those of the error's context."""
MAX_SHOWN = 60
"""Maximum length of a rejected value in a message."""


def reason_of(error: ErrorDetails) -> str:
    """Return why a value was rejected, as the rest of a sentence that begins with the value's name.

    The reason is the message of the `ValueError` if a validator raised one. For a type of error that is not in
    `REASONS`, pydantic's text is quoted.
    """
    context = error.get("ctx", {})
    if context.get("min_length") == 1:
        return "must not be empty"
    template = REASONS.get(error["type"])
    if template is None:
        return f"is invalid ({error['msg']})"
    return template.format(**{name: _context_text(value) for name, value in context.items()})


def _context_text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def shown_value(value: object) -> str:
    """Return a rejected value as TOML writes it, shortened to one line of at most `MAX_SHOWN` characters."""
    text = repr(value) if isinstance(value, (str, float)) else json.dumps(value, default=str)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
