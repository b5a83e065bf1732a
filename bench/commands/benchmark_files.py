"""The files of pytest-benchmark that `carousel check` and `carousel compare` accept in place of runs."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from bench.commands.comparison_options import parse_allow
from bench.errors import NotComparable, UsageError
from results.benchmarks import (
    ALLOWABLE_OF_FILES,
    BenchmarkError,
    BenchmarkRun,
    MixedFiles,
    benchmark_run,
    read_pytest_benchmark,
)
from results.comparison import Comparison, Thresholds, compare_benchmarks

WILDCARDS = "*?["
FORMS = "a file, a quoted pattern such as 'base-*.json', or a folder"


def benchmark_sides(base: str, new: str) -> tuple[list[Path], list[Path]] | None:
    """Return the files that two arguments name, or None if they name runs.

    Raises `UsageError` if a file is missing, or if only one of the arguments names files.
    """
    of_base, of_new = benchmark_files(base), benchmark_files(new)
    if of_base is None and of_new is None:
        return None
    if of_base is None or of_new is None:
        files, run = (base, new) if of_new is None else (new, base)
        raise UsageError(
            f"{files} names files and {run} a run: give files of pytest-benchmark for both BASE and NEW ({FORMS}), or "
            "two runs"
        )
    return of_base, of_new


def benchmark_files(name: str) -> list[Path] | None:
    """Return the files that an argument names, in the order of their names; None if it is the name of a run.

    An argument names files if it is an existing file, a pattern, a name that ends in `.json`, or a folder that holds
    JSON files, at any depth, and no run. Raises `UsageError` if there is no such file.
    """
    path = Path(name)
    try:
        if path.is_file():
            return [path]
        if path.is_dir():
            found = sorted(path.rglob("*.json"))
            return found if found and not any(each.name == "run.json" for each in found) else None
    except (OSError, ValueError):  # a name that no file can have
        return None
    if any(sign in name for sign in WILDCARDS):
        matching = sorted(glob.glob(name, recursive=True))  # noqa: PTH207  (a Path has no absolute patterns)
        if found := [each for each in map(Path, matching) if each.is_file()]:
            return found
        raise UsageError(f"no file matches {name!r}; give the id of a run, or files of pytest-benchmark ({FORMS})")
    if path.suffix == ".json":
        raise UsageError(f"no file {name}; write it with `pytest --benchmark-json={name}`")
    return None


def compare_files(
    base: tuple[str, Sequence[Path]], new: tuple[str, Sequence[Path]], *, thresholds: Thresholds, allow: str | None
) -> Comparison:
    """Compare the files of two sides, each given with its argument on the command line.

    Raises `UsageError` if a file cannot be used or `allow` is invalid. Raises `NotComparable` if the files of one side
    were not measured under equal conditions.
    """
    allowed = parse_allow(allow, ALLOWABLE_OF_FILES)
    try:
        return compare_benchmarks(_side(*base, allowed), _side(*new, allowed), thresholds=thresholds, allow=allowed)
    except MixedFiles as error:
        raise NotComparable(str(error)) from None
    except BenchmarkError as error:
        raise UsageError(str(error)) from None


def _side(name: str, files: Sequence[Path], allow: frozenset[str]) -> BenchmarkRun:
    return benchmark_run(name, [read_pytest_benchmark(path) for path in files], allow)
