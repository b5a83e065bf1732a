"""Describe a field of a plan or a protocol that pydantic rejects, in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from results.specs import reason_of, shown_value

MAX_PATH = 200
"""Maximum length of a field's location in an error message."""
UNTRAINED_ADVICE = 'to time models without training them, write protocol = "untrained" into a plan'
"""What to do instead of training for no steps."""
UNION_MEMBERS = ("bool", "int", "float", "str", "constrained-int", "constrained-str")
"""Last part of the location of an error in a field that accepts several types."""


def first_error(error: ValidationError, content: Mapping[str, Any] | None = None) -> str:
    """Return the first error that pydantic found, as one line of text.

    `content` is the parsed content of a plan file. If it is given, an error in a claim is reported with the claim's
    name.
    """
    errors = error.errors(include_url=False)
    kind, value, location = errors[0]["type"], errors[0]["input"], errors[0]["loc"]
    reasons = [reason_of(errors[0])]
    if location and location[-1] in UNION_MEMBERS and kind != "extra_forbidden":
        location = location[:-1]
        reasons = [reason_of(each) for each in errors if each["loc"][:-1] == location]
    claim = ""
    if content is not None and len(location) > 1 and location[0] == "claims":
        with contextlib.suppress(LookupError, TypeError):  # the claim has no name, or is not a table
            claim = f"claim {shown_value(content['claims'][location[1]]['name'])}: "
            location = location[2:]
    field = _path(location)
    if kind == "extra_forbidden":
        return f"{claim}unknown field '{field}'; remove it or correct its name"
    if kind == "value_error":
        return f"{claim}{field}{': ' if field else ''}{reasons[0]}"
    text = f"{claim}{field} {', or '.join(dict.fromkeys(reasons))}"
    if kind == "missing" or "must not be empty" in reasons:
        return text
    advice = f"; {UNTRAINED_ADVICE}" if field.rpartition(".")[2] == "steps" and value == 0 else ""
    return f"{text}, not {shown_value(value)}{advice}"


def _path(location: Sequence[str | int]) -> str:
    """Return the location of a field as text, such as `extra[0].seeds`, in printable ASCII and shortened."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
    return text.encode("unicode_escape").decode()[:MAX_PATH]
