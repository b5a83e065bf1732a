"""Sentences and table cells computed from stored results."""

from reports.text.comparison import (
    case_text,
    change_of,
    differences_in_words,
    headline,
    missing_text,
    name_of,
    witness_of,
)
from reports.text.history import history_rows, levels, run_rows
from reports.text.reasons import reasons_in_words

__all__ = [
    "case_text",
    "change_of",
    "differences_in_words",
    "headline",
    "history_rows",
    "levels",
    "missing_text",
    "name_of",
    "reasons_in_words",
    "run_rows",
    "witness_of",
]
