"""Exit codes, exceptions for mistakes of the user, and the description of any exception in one line.

The command line reports each mistake of the user in one line.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import ClassVar

OK, REGRESSED, USAGE, FAILED, NOT_COMPARABLE, NOTHING_SELECTED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
UNEXPECTED = 70
"""Exit code of an unexpected error: `EX_SOFTWARE` in `sysexits.h`."""


class UsageError(ValueError):
    """Error in the user's input. Its message says what is wrong and what to do."""

    exit_code: ClassVar[int] = USAGE


class NothingSelected(UsageError):
    """Error for a filter that selects nothing."""

    exit_code: ClassVar[int] = NOTHING_SELECTED


class NotComparable(UsageError):
    """Error for two versions or runs that cannot be compared."""

    exit_code: ClassVar[int] = NOT_COMPARABLE


def informative_line(message: str) -> str:
    """Return the first line of a message that says something, or "" if there is none.

    Empty lines, rulers and the lines of a traceback say nothing by themselves.
    """
    in_traceback = False
    for line in message.splitlines():
        text = line.strip()
        if text.endswith("Traceback (most recent call last):"):
            in_traceback = True
        elif in_traceback and (line[:1].isspace() or not text):
            continue
        elif any(character.isalnum() for character in text):
            return text
    return ""


def printable(text: str) -> str:
    """Return the text as one line that a terminal prints as it is.

    Each unprintable character, such as a line break or an escape, becomes a replacement character.
    """
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def message_of(error: BaseException) -> str:
    """Return the whole message of an exception, or "" if its `__str__` raises an error itself."""
    try:
        return str(error)
    except Exception:  # the exception may be a plugin's
        return ""


def name_and_message(error: BaseException) -> str:
    """Describe an exception in one line: its class, and the first line of its message that says something."""
    message = informative_line(message_of(error))
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def show_warnings_in_one_line() -> None:
    """Write each Python warning as one line to standard error, without the path and the text of its source.

    Messages that matplotlib logs about its folders and fonts are left out, since it draws without them. With
    CAROUSEL_DEBUG=1, everything is written as usual.
    """
    if os.environ.get("CAROUSEL_DEBUG") == "1":
        return
    logging.getLogger("matplotlib").setLevel(logging.ERROR)

    def show(message: Warning | str, *_: object, **__: object) -> None:
        text = message_of(message) if isinstance(message, Warning) else message
        if sys.stderr is not None:
            print(f"carousel: warning: {informative_line(text) or type(message).__name__}", file=sys.stderr)

    warnings.showwarning = show
