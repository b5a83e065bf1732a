"""Exit codes, and the exceptions that report a user's mistake as one line."""

from __future__ import annotations

from typing import ClassVar

OK, REGRESSED, USAGE, FAILED, NOT_COMPARABLE, NOTHING_SELECTED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


class UsageError(ValueError):
    """A mistake in the user's input. The message says what is wrong and what to do."""

    exit_code: ClassVar[int] = USAGE


class NothingSelected(UsageError):
    """A filter that selects nothing."""

    exit_code: ClassVar[int] = NOTHING_SELECTED
