"""Sentences and table cells computed from stored results."""

from reports.text.comparison import change_of, differences_in_words, headline, missing_text, name_of, witness_of
from reports.text.history import history_rows, levels, run_rows

__all__ = [
    "change_of",
    "differences_in_words",
    "headline",
    "history_rows",
    "levels",
    "missing_text",
    "name_of",
    "run_rows",
    "witness_of",
]
