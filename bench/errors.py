"""What a user can do wrong, as exceptions that become one line and an exit code."""

from __future__ import annotations

from typing import ClassVar

OK, REGRESSED, USAGE, FAILED, NOT_COMPARABLE, NOTHING_SELECTED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


class UsageError(ValueError):
    """Something that the user asked for is wrong; the message says what, and what to do."""

    exit_code: ClassVar[int] = USAGE


class NothingSelected(UsageError):
    """A filter that leaves no case."""

    exit_code: ClassVar[int] = NOTHING_SELECTED
