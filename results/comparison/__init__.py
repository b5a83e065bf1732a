"""Compare two runs, and follow a case over many runs."""

from results.comparison.benchmarks import compare_benchmarks
from results.comparison.comparability import (
    ALLOWABLE,
    MACHINE,
    REQUIRED_EQUAL,
    Difference,
    EnvironmentDifferences,
    environment_differences,
    plugin_differences,
    run_differences,
)
from results.comparison.compare import compare
from results.comparison.history import HistoryPoint, Series, history, locations
from results.comparison.pairing import NOT_RUN, MissingCase
from results.comparison.renaming import (
    RenameError,
    new_name,
    rename_case,
    rename_cases,
    rename_run,
    renames,
    require_known,
    require_no_circle,
)
from results.comparison.rows import Comparison, Row, location_text
from results.comparison.turns import LOOKS
from results.comparison.units import COMPARED_AS, COMPARED_METRICS, METRIC_FAMILIES
from results.comparison.verdict import Thresholds
from results.statistics.witness import follows

__all__ = [
    "ALLOWABLE",
    "COMPARED_AS",
    "COMPARED_METRICS",
    "LOOKS",
    "MACHINE",
    "METRIC_FAMILIES",
    "NOT_RUN",
    "REQUIRED_EQUAL",
    "Comparison",
    "Difference",
    "EnvironmentDifferences",
    "HistoryPoint",
    "MissingCase",
    "RenameError",
    "Row",
    "Series",
    "Thresholds",
    "compare",
    "compare_benchmarks",
    "environment_differences",
    "follows",
    "history",
    "location_text",
    "locations",
    "new_name",
    "plugin_differences",
    "rename_case",
    "rename_cases",
    "rename_run",
    "renames",
    "require_known",
    "require_no_circle",
    "run_differences",
]
