"""What several processes of another benchmark program measured: the base or the new side of a comparison.

Each process started the program once, and wrote one file. Processes are independent; the rounds of one process are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

ENVIRONMENT = ("host", "cpu", "cores", "system", "python")
"""Fields of the environment that two sides must share to be compared. They must also be equal within a side."""
SETTINGS = ("timer", "disable gc", "warmup")
"""Settings of a benchmark that the processes of both sides must share."""
ALLOWABLE_OF_FILES = (*ENVIRONMENT, *SETTINGS, "commit")
"""Fields that a user can allow to differ. The commit must be equal within a side only."""


class BenchmarkError(ValueError):
    """Error for a file of a benchmark program that cannot be used. Its message says what to do."""


class MixedFiles(BenchmarkError):
    """Error for files of one side that were not measured under equal conditions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkProcess:
    """What one process of a benchmark program measured."""

    file: str
    """Name of the file, for messages."""
    time: datetime
    """When the process ended."""
    environment: Mapping[str, str | None]
    """Values of the fields of `ENVIRONMENT`; None if a value is unknown."""
    reported: Mapping[str, str | None]
    """Other fields whose differences are shown, such as the release of the system."""
    commit: str | None
    seconds: Mapping[str, tuple[float, ...]]
    """Seconds per call in each round, in the order of measurement, by the name of the benchmark."""
    settings: Mapping[str, Mapping[str, str]]
    """Values of `SETTINGS` by the name of the benchmark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRun:
    """The processes of one side of a comparison, in the order in which they ended."""

    id: str
    """The files as the user named them."""
    processes: tuple[BenchmarkProcess, ...]

    @property
    def finished(self) -> str:
        """When the last process ended. A file is written at the end, so its process has always finished."""
        return self.processes[-1].time.isoformat()

    def environment(self) -> dict[str, str | None]:
        """Return the fields of `ENVIRONMENT`. Distinct values within the side, which the user allowed, are joined."""
        return {name: _joined([each.environment.get(name) for each in self.processes]) for name in ENVIRONMENT}

    def reported(self) -> dict[str, str | None]:
        """Return the other fields, with distinct values joined."""
        names = dict.fromkeys(name for each in self.processes for name in each.reported)
        return {name: _joined([each.reported.get(name) for each in self.processes]) for name in names}

    def settings(self, benchmark: str) -> dict[str, str | None]:
        """Return the values of `SETTINGS` of a benchmark, with distinct values joined."""
        found = [each.settings[benchmark] for each in self.processes if benchmark in each.settings]
        return {name: _joined([each.get(name) for each in found]) for name in SETTINGS}

    def with_benchmark(self, benchmark: str) -> list[BenchmarkProcess]:
        """Return the processes that measured a benchmark."""
        return [each for each in self.processes if benchmark in each.seconds]


def benchmark_run(
    name: str, processes: Sequence[BenchmarkProcess], allow: frozenset[str] = frozenset()
) -> BenchmarkRun:
    """Return the processes of one side.

    Args:
        name: The files as the user named them.
        processes: What was read from the files, in any order; at least one.
        allow: Names of fields from `ALLOWABLE_OF_FILES` in which the files may differ.

    Raises:
        BenchmarkError: Two files are copies of each other.
        MixedFiles: Files differ in a field of `ENVIRONMENT` or in the commit.
    """
    ordered = sorted(processes, key=lambda each: (each.time, each.file))
    require_distinct_processes(ordered)
    for field in (*ENVIRONMENT, "commit"):
        values: dict[str | None, str] = {}
        for each in ordered:
            values.setdefault(each.commit if field == "commit" else each.environment.get(field), each.file)
        if len(values) > 1 and field not in allow:
            (first, in_first), (second, in_second), *_ = values.items()
            raise MixedFiles(
                f"the files of {name} differ in {field}: {_shown(first)} in {in_first}, {_shown(second)} in "
                f"{in_second}; name files that agree, or add --allow {field}"
            )
    return BenchmarkRun(id=name, processes=tuple(ordered))


def require_distinct_processes(processes: Sequence[BenchmarkProcess]) -> None:
    """Raise `BenchmarkError` if two files hold the timings of the same process."""
    seen: dict[object, str] = {}
    for each in processes:
        content = each.time, tuple(sorted(each.seconds.items()))
        if content in seen:
            raise BenchmarkError(
                f"{seen[content]} and {each.file} have the same timings: name the file of each process once"
            )
        seen[content] = each.file


def _joined(values: Sequence[str | None]) -> str | None:
    distinct = list(dict.fromkeys(values))
    return distinct[0] if len(distinct) == 1 else " and ".join(map(_shown, distinct))


def _shown(value: str | None) -> str:
    return "not recorded" if value is None else value
