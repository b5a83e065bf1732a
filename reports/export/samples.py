"""Every sample for other programs: CSV for spreadsheets, Parquet for data frames, pytest-benchmark's JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.format.escape import FORMULA_STARTS
from results import METRICS, Measurement, Record, RunFile, sample_frame

if TYPE_CHECKING:
    import pandas

BENCHMARK_FORMAT = "5.3.0"
"""The release of pytest-benchmark whose file this is; its readers need no more than the fields below."""
WHISKER = 1.5
"""Interquartile ranges beyond which a sample is an outlier (Tukey 1977), as pytest-benchmark counts them."""


class MissingLibrary(ValueError):
    """An export that needs a library which is not installed."""


def samples_as_csv(run: RunFile, records: Sequence[Record]) -> str:
    """One line a sample; every text in quotes, none of it a formula, every number as it was measured."""
    table = sample_frame(run, records)
    for name in table.columns:
        if table[name].dtype.kind == "b":
            table[name] = table[name].astype(str)
        elif table[name].dtype.kind not in "iuf":
            table[name] = table[name].map(neutral)
    out = io.StringIO()
    table.to_csv(out, index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return out.getvalue()


def samples_as_parquet(run: RunFile, records: Sequence[Record]) -> bytes:
    """One row a sample, repeated texts stored once. Raises `MissingLibrary` without pyarrow."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingLibrary("Parquet needs pyarrow: pip install 'carousel-bench[parquet]', or use csv") from None
    table = sample_frame(run, records)
    for name in table.columns:
        if table[name].dtype.kind not in "iufb":
            table[name] = _one_kind(table[name])
    # Arrow's own buffer and one thread: with Python's file objects its threads may outlive the interpreter, and abort.
    out = pyarrow.BufferOutputStream()
    arrow = pyarrow.Table.from_pandas(table, preserve_index=False, nthreads=1)
    pyarrow.parquet.write_table(arrow, out, compression="zstd")
    content: bytes = out.getvalue().to_pybytes()
    return content


def timings_as_pytest_benchmark(run: RunFile, records: Sequence[Record]) -> str:
    """The timings as a file of pytest-benchmark: one benchmark a case, metric and place, with all samples."""
    benchmarks = [
        _benchmark(record, measurement)
        for record in records
        for metric in dict.fromkeys(measurement.metric for measurement in record.measurements)
        if metric in METRICS and METRICS[metric].kind == "timing"
        for measurement in record.of(metric)
        if measurement.samples
    ]
    document = {
        "machine_info": _machine(run),
        "commit_info": {"id": run.commit or run.code, "time": run.created, "dirty": bool(run.modified)},
        "benchmarks": benchmarks,
        "datetime": run.created.replace("Z", "+00:00"),
        "version": BENCHMARK_FORMAT,
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _benchmark(record: Record, measurement: Measurement) -> dict[str, Any]:
    case = record.case
    place = "".join(f"-{name}={value}" for name, value in measurement.at.items())
    return {
        "group": f"{measurement.metric} {case.task} L{case.length}",
        "name": f"{measurement.metric}[{case.arch}-{case.task}-L{case.length}-s{case.seed}{place}]",
        "fullname": f"{record.key}::{measurement.metric}{place}",
        "params": {
            "arch": case.arch,
            "task": case.task,
            "length": case.length,
            "seed": case.seed,
            **measurement.at,
        },
        "param": None,
        "extra_info": {"key": record.key, "processes": record.repetitions, "status": record.status},
        "options": {
            "disable_gc": False,
            "timer": "perf_counter",
            "min_rounds": len(measurement.samples),
            "max_time": 0.0,
            "min_time": 0.0,
            "warmup": False,
        },
        "stats": {**_statistics(measurement.samples), "iterations": 1, "data": list(measurement.samples)},
    }


def _statistics(samples: Sequence[float]) -> dict[str, Any]:
    """The figures that pytest-benchmark keeps of a benchmark."""
    ordered = np.sort(samples)
    first, middle, third = (float(value) for value in np.quantile(ordered, (0.25, 0.5, 0.75)))
    mean, spread = float(ordered.mean()), float(ordered.std(ddof=1)) if len(ordered) > 1 else 0.0
    low, high = first - WHISKER * (third - first), third + WHISKER * (third - first)
    within = ordered[(ordered >= low) & (ordered <= high)]
    beyond_whisker = int(len(ordered) - len(within))
    beyond_deviation = int(np.sum(np.abs(ordered - mean) > spread))
    return {
        "min": float(ordered[0]),
        "max": float(ordered[-1]),
        "mean": mean,
        "stddev": spread,
        "rounds": len(ordered),
        "median": middle,
        "iqr": third - first,
        "q1": first,
        "q3": third,
        "iqr_outliers": beyond_whisker,
        "stddev_outliers": beyond_deviation,
        "outliers": f"{beyond_deviation};{beyond_whisker}",
        "ld15iqr": float(within[0]),
        "hd15iqr": float(within[-1]),
        "ops": 1 / mean if mean > 0 else 0.0,
        "total": float(ordered.sum()),
    }


def _machine(run: RunFile) -> dict[str, Any]:
    environment = run.environment
    return {
        "node": environment.host or "",
        "system": environment.system,
        "python_version": environment.python,
        "cpu": {"brand_raw": environment.cpu, "count": environment.cores},
        "torch": environment.torch,
        "device": environment.device,
        "threads": environment.threads,
    }


def neutral(value: object) -> object:
    """Keep a spreadsheet from reading a text as a formula; booleans become text."""
    if isinstance(value, bool):
        return str(value)
    return f"'{value}" if isinstance(value, str) and value.lstrip(" ").startswith(FORMULA_STARTS) else value


def _one_kind(column: pandas.Series[Any]) -> pandas.Series[Any]:
    """A column that holds truth values stays so, any other of mixed kinds becomes text: Parquet knows one kind each."""
    kinds = {type(value) for value in column.dropna()}
    if kinds <= {str}:
        return column.astype("string").astype("category")
    if kinds <= {bool}:
        return column.astype("boolean")
    if kinds <= {int, float}:
        return column.astype("Float64")
    return column.map(lambda value: None if value is None else str(value)).astype("string")
