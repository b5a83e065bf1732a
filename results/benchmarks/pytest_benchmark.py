"""Read the JSON files of pytest-benchmark: those of `--benchmark-json`, `--benchmark-save` and `--benchmark-autosave`.

A file holds the timings of one process. `data` holds the seconds per call of each round. Files that were saved without
`--benchmark-save-data` lack it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from results.benchmarks.benchmark_run import BenchmarkError, BenchmarkProcess

MAX_FILE_BYTES = 256 << 20
"""Maximum size of a file. A round takes about 24 bytes."""
ASV_KEYS = (
    frozenset({"commit_hash", "results"}),
    frozenset({"machine", "num_cpu", "ram"}),
)
"""Keys of two kinds of asv files: the results of a commit, and the description of a machine."""
WRITE_IT = "write it with `pytest --benchmark-json=FILE`"

Line = Annotated[str, StringConstraints(max_length=10_000)]
Seconds = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    """A part of a file. Unknown fields are ignored, since each version of pytest-benchmark has its own."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


class _Stats(_Part):
    data: tuple[Seconds, ...] | None = None


class _Benchmark(_Part):
    fullname: Annotated[Line, Field(min_length=1)]
    options: dict[str, Any] = Field(default_factory=dict)
    stats: _Stats


class _Processor(_Part):
    brand_raw: Line | None = None
    brand: Line | None = None
    count: int | None = None


class _Machine(_Part):
    node: Line | None = None
    machine: Line | None = None
    processor: Line | None = None
    system: Line | None = None
    release: Line | None = None
    python_version: Line | None = None
    python_implementation: Line | None = None
    cpu: _Processor = _Processor()


class _Commit(_Part):
    id: Line | None = None


class _File(_Part):
    machine_info: _Machine
    commit_info: _Commit = _Commit()
    benchmarks: tuple[_Benchmark, ...]
    datetime: Line
    version: Line | None = None


def read_pytest_benchmark(path: Path) -> BenchmarkProcess:
    """Return what one process of pytest-benchmark measured.

    If a benchmark has several entries, their rounds are joined, since one process measured them.

    Raises:
        BenchmarkError: The file cannot be read, is no file of pytest-benchmark, or lacks the timings of single rounds.
    """
    found = _parsed(path)
    try:
        time = datetime.fromisoformat(found.datetime)
    except ValueError:
        raise _not_a_file(path, f"datetime is {found.datetime!r}") from None
    seconds: dict[str, tuple[float, ...]] = {}
    for each in found.benchmarks:
        if not each.stats.data:
            raise BenchmarkError(
                f"{path} has no timings of single rounds for {each.fullname}: save it with "
                "--benchmark-save-data, or use --benchmark-json=FILE, which always keeps them"
            )
        seconds[each.fullname] = seconds.get(each.fullname, ()) + each.stats.data
    machine = found.machine_info
    return BenchmarkProcess(
        file=str(path),
        time=time if time.tzinfo is not None else time.replace(tzinfo=UTC),
        environment={
            "host": machine.node or None,
            "cpu": machine.cpu.brand_raw or machine.cpu.brand or machine.processor or machine.machine or None,
            "cores": None if machine.cpu.count is None else str(machine.cpu.count),
            "system": machine.system or None,
            "python": " ".join(filter(None, (machine.python_implementation, machine.python_version))) or None,
        },
        reported={"system release": machine.release or None, "pytest-benchmark": found.version},
        commit=None if found.commit_info.id == "unversioned" else found.commit_info.id,
        seconds=seconds,
        settings={
            each.fullname: {
                name: str(each.options.get(name.replace(" ", "_"), "not recorded"))[:100]
                for name in ("timer", "disable gc", "warmup")
            }
            for each in found.benchmarks
        },
    )


def _parsed(path: Path) -> _File:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise BenchmarkError(
                f"{path} is too large ({size:,} bytes): at most {MAX_FILE_BYTES >> 20} MiB are read; lower "
                "--benchmark-max-time"
            )
        content = path.read_bytes()
    except OSError as error:
        raise BenchmarkError(f"cannot read {path}: {error.strerror}; name a readable file") from None
    try:
        return _File.model_validate_json(content)
    except ValidationError as error:
        if _is_of_asv(content):
            raise BenchmarkError(
                f"{path} is a file of asv, whose results are not read; compare two commits with `asv compare`, or run "
                "the benchmarks with pytest-benchmark: `pytest --benchmark-json=FILE`"
            ) from None
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise _not_a_file(path, f"{where + ': ' if where else ''}{first['msg']}") from None


def _is_of_asv(content: bytes) -> bool:
    """Return whether a file was written by asv (airspeed velocity)."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return False
    if not isinstance(found, dict):
        return False
    benchmarks = [each for name, each in found.items() if name != "version"]
    return any(found.keys() >= keys for keys in ASV_KEYS) or (
        bool(benchmarks)
        and all(isinstance(each, dict) and {"code", "param_names"} <= each.keys() for each in benchmarks)
    )


def _not_a_file(path: Path, reason: str) -> BenchmarkError:
    return BenchmarkError(f"{path} is no JSON file of pytest-benchmark ({reason}); {WRITE_IT}")
