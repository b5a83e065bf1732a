"""Records as pandas tables, for a reader who wants to ask questions of their own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from results._schema import Record
from results._store import Store

if TYPE_CHECKING:
    import pandas


COLUMNS = ("key", "arch", "task", "length", "seed", "status", "parameters", "metric")


def load(path: str | Path) -> pandas.DataFrame:
    """One row a measurement of the run at `path`, or of the latest run for `<store>/latest`.

    Columns: the case's identity, the metric, where it was measured (`at_length` and its like), the number of samples,
    their median, and the samples. Raises `StoreError` where there is no such run.
    """
    path = Path(path)
    records, _ = Store(path.parent).find(path.name if path.name == "latest" else str(path)).read()
    return frame(records.values())


def frame(records: Iterable[Record]) -> pandas.DataFrame:
    """One row a measurement."""
    import numpy as np
    import pandas

    rows = [
        {
            "key": record.key,
            "arch": record.case.arch,
            "task": record.case.task,
            "length": record.case.length,
            "seed": record.case.seed,
            "status": record.status,
            "parameters": record.model.parameters if record.model else None,
            "metric": measurement.metric,
            **{f"at_{name}": value for name, value in measurement.at.items()},
            "samples": measurement.samples,
        }
        for record in records
        for measurement in record.measurements
    ]
    table = pandas.DataFrame(rows) if rows else pandas.DataFrame(columns=[*COLUMNS, "samples"])
    table["count"] = table["samples"].map(len)
    table["median"] = table["samples"].map(np.median)
    return table
