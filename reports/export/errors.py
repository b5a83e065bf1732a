"""The error of an export without content."""

from __future__ import annotations


class NothingToShow(ValueError):
    """Error for a table whose values the run lacks. Its message says what is missing, and how to measure it."""
