"""Compare two runs, and follow a case over many runs."""

from results.comparison.benchmarks import compare_benchmarks
from results.comparison.comparability import (
    ALLOWABLE,
    REQUIRED_EQUAL,
    Difference,
    EnvironmentDifferences,
    environment_differences,
    plugin_differences,
    run_differences,
)
from results.comparison.compare import compare
from results.comparison.history import FALSE_ALARMS, HistoryPoint, Series, change_points, history
from results.comparison.pairing import MissingCase
from results.comparison.rows import Comparison, Row, location_text
from results.comparison.turns import LOOKS
from results.comparison.units import COMPARED_AS, COMPARED_METRICS, METRIC_FAMILIES
from results.comparison.verdict import Thresholds

__all__ = [
    "ALLOWABLE",
    "COMPARED_AS",
    "COMPARED_METRICS",
    "FALSE_ALARMS",
    "LOOKS",
    "METRIC_FAMILIES",
    "REQUIRED_EQUAL",
    "Comparison",
    "Difference",
    "EnvironmentDifferences",
    "HistoryPoint",
    "MissingCase",
    "Row",
    "Series",
    "Thresholds",
    "change_points",
    "compare",
    "compare_benchmarks",
    "environment_differences",
    "history",
    "location_text",
    "plugin_differences",
    "run_differences",
]
