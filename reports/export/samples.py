"""Raw samples as CSV and Parquet, and those of timings as pytest-benchmark JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.analysis.groups import short_names
from reports.export.csv_text import frame_as_csv
from results import METRICS, Measurement, Record, RunFile, sample_frame

if TYPE_CHECKING:
    import pandas

BENCHMARK_FORMAT = "5.3.0"
"""The version of pytest-benchmark whose file format is written."""
NO_COMMIT = "unversioned"
"""The commit that pytest-benchmark writes if there is no repository."""
WHISKER = 1.5
"""A sample is an outlier if it is more than this many interquartile ranges outside the quartiles (Tukey 1977)."""


class MissingLibrary(ValueError):
    """The error raised if an export needs a library that is not installed."""


def samples_as_csv(run: RunFile, records: Sequence[Record]) -> str:
    """Return one line per sample as CSV, with unrounded numbers. `arch` is a full name and `label` a short one.

    Values are spelled as in `reports.export.csv_text`.
    """
    return frame_as_csv(_labelled(run, records))


def samples_as_parquet(run: RunFile, records: Sequence[Record]) -> bytes:
    """Return the bytes of a Parquet file with one row per sample, in which texts are dictionary-encoded.

    Raises `MissingLibrary` if pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingLibrary(
            "Parquet needs pyarrow: run `pip install '.[parquet]'` in a clone of Carousel, or choose --format csv"
        ) from None
    table = _labelled(run, records)
    for name in table.columns:
        if table[name].dtype.kind not in "iufb":
            table[name] = _single_type(table[name])
    # Use an Arrow buffer and one thread: threads that write to a Python file may outlive the interpreter and abort.
    out = pyarrow.BufferOutputStream()
    arrow = pyarrow.Table.from_pandas(table, preserve_index=False, nthreads=1)
    pyarrow.parquet.write_table(arrow, out, compression="zstd")
    content: bytes = out.getvalue().to_pybytes()
    return content


def _labelled(run: RunFile, records: Sequence[Record]) -> pandas.DataFrame:
    """Return the table of samples, with the short label of the architecture beside its full name.

    Cases that only serve to choose a learning rate have no label.
    """
    table = sample_frame(run, records)
    if "arch" in table:
        labels = {key: arch for key, (arch, _) in short_names(run, records).items()}
        table.insert(list(table.columns).index("arch") + 1, "label", [labels.get(key) for key in table["key"]])
    return table


def timings_as_pytest_benchmark(run: RunFile, records: Sequence[Record]) -> str:
    """Return the timings in seconds, in the JSON file format of pytest-benchmark.

    Each benchmark holds all samples of one measurement, such as the step time of one case at one position. The commit
    is that of the run, or `NO_COMMIT`. Its time is unknown. The digest of the code is not a commit, so it stands in
    `extra_info`.
    """
    benchmarks = [
        _benchmark(run, record, measurement)
        for record in records
        for metric in dict.fromkeys(measurement.metric for measurement in record.measurements)
        if metric in METRICS and METRICS[metric].kind == "timing"
        for measurement in record.of(metric)
        if measurement.samples
    ]
    document = {
        "machine_info": _machine(run),
        "commit_info": {"id": run.commit or NO_COMMIT, "time": None, "dirty": bool(run.modified)},
        "benchmarks": benchmarks,
        "datetime": run.created.replace("Z", "+00:00"),
        "version": BENCHMARK_FORMAT,
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _benchmark(run: RunFile, record: Record, measurement: Measurement) -> dict[str, Any]:
    case = record.case
    suffix = "".join(f"-{name}={value}" for name, value in measurement.at.items())
    return {
        "group": f"{measurement.metric} {case.task} L{case.length}",
        "name": f"{measurement.metric}[{case.arch}-{case.task}-L{case.length}-s{case.seed}{suffix}]",
        "fullname": f"{record.key}::{measurement.metric}{suffix}",
        "params": {
            "arch": case.arch,
            "task": case.task,
            "length": case.length,
            "seed": case.seed,
            **measurement.at,
        },
        "param": None,
        "extra_info": {
            "key": record.key,
            "processes": record.repetitions,
            "status": record.status,
            "code": run.code,
        },
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
    """Return the statistics that pytest-benchmark stores for a benchmark, computed from samples in seconds."""
    ordered = np.sort(samples)
    first, middle, third = (float(value) for value in np.quantile(ordered, (0.25, 0.5, 0.75)))
    mean, spread = float(ordered.mean()), float(ordered.std(ddof=1)) if len(ordered) > 1 else 0.0
    low, high = first - WHISKER * (third - first), third + WHISKER * (third - first)
    within = ordered[(ordered >= low) & (ordered <= high)]
    iqr_outliers = int(len(ordered) - len(within))
    stddev_outliers = int(np.sum(np.abs(ordered - mean) > spread))
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
        "iqr_outliers": iqr_outliers,
        "stddev_outliers": stddev_outliers,
        "outliers": f"{stddev_outliers};{iqr_outliers}",
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


def _single_type(column: pandas.Series[Any]) -> pandas.Series[Any]:
    """Return the column with a single type, as Parquet requires.

    A column of texts becomes categorical, and numbers become floats. Booleans stay Booleans. Any other column becomes
    text.
    """
    types = {type(value) for value in column.dropna()}
    if types <= {str}:
        return column.astype("string").astype("category")
    if types <= {bool}:
        return column.astype("boolean")
    if types <= {int, float}:
        return column.astype("Float64")
    return column.map(lambda value: None if value is None else str(value)).astype("string")
