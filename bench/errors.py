"""Exit codes, and exceptions for mistakes of the user. The command line reports each such exception in one line."""

from __future__ import annotations

from typing import ClassVar

OK, REGRESSED, USAGE, FAILED, NOT_COMPARABLE, NOTHING_SELECTED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


class UsageError(ValueError):
    """Error in the user's input. Its message says what is wrong and what to do."""

    exit_code: ClassVar[int] = USAGE


class NothingSelected(UsageError):
    """Error for a filter that selects nothing."""

    exit_code: ClassVar[int] = NOTHING_SELECTED
