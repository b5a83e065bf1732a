"""Compare two runs, and follow a case over many runs."""

from results.comparison.compare import Comparison, Row, compare, place
from results.comparison.history import FALSE_ALARMS, Seen, Series, change_points, history
from results.comparison.pairing import ENVIRONMENT, MissingCase
from results.comparison.units import JUDGED
from results.comparison.verdict import Thresholds

__all__ = [
    "ENVIRONMENT",
    "FALSE_ALARMS",
    "JUDGED",
    "Comparison",
    "MissingCase",
    "Row",
    "Seen",
    "Series",
    "Thresholds",
    "change_points",
    "compare",
    "history",
    "place",
]
