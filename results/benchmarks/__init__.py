"""Timings of other benchmark programs, read from their files."""

from results.benchmarks.benchmark_run import (
    ALLOWABLE_OF_FILES,
    BenchmarkError,
    BenchmarkProcess,
    BenchmarkRun,
    MixedFiles,
    benchmark_run,
)
from results.benchmarks.pytest_benchmark import read_pytest_benchmark

__all__ = [
    "ALLOWABLE_OF_FILES",
    "BenchmarkError",
    "BenchmarkProcess",
    "BenchmarkRun",
    "MixedFiles",
    "benchmark_run",
    "read_pytest_benchmark",
]
