"""Load records as pandas tables."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.schema.location import location_parts
from results.schema.metrics import METRICS, central_value
from results.schema.record import Block, Measurement, Record
from results.schema.run import RunFile
from results.specs.spec import value_text
from results.statistics.convergence import convergence
from results.store.store import Run, Store

if TYPE_CHECKING:
    import pandas

COLUMNS = ("key", "arch", "task", "length", "seed", "status", "parameters", "metric")
NOT_COLUMNS = ("protocol", "tuning")
"""Fields of a case whose parts have columns of their own."""
SAMPLE_COLUMNS = ("run", "key", "metric", "process", "block", "sample", "value", "unit")


def load(path: str | Path) -> pandas.DataFrame:
    """Load a run as a table with one row per measurement.

    `path` is the folder of a run, or `<store>/latest`. Each row has the case with its status and parameter count, the
    metric and its location (`at_length`, `at_position` and others). A mean over a range of lengths has `at_from` and
    `at_to` instead of `at_length`. Each row also has the samples with their number and median. Raises `StoreError` if
    there is no such run. Damaged records are omitted with a warning.

    >>> import results
    >>> frame = results.load("carousel-runs/latest")
    >>> frame[["metric", "at_length", "at_position", "count", "median"]].head(3)
             metric  at_length  at_position  count   median
    0      accuracy       32.0          NaN      1  0.87500
    1      accuracy       64.0          NaN      1  0.62500
    2  step_seconds        NaN         16.0      3  0.00002
    """
    return frame(_records_of(_run_at(path)).values())


def samples(path: str | Path) -> pandas.DataFrame:
    """Load a run as a table with one row per sample.

    `path` is the folder of a run, or `<store>/latest`. Raises `StoreError` if there is no such run, or if its
    `run.json` is damaged. Damaged records are omitted with a warning. The columns are, in groups:

    - the run, its code and its environment
    - the case and every field of its protocol
    - the metric, its unit and its location
    - the process and the block that measured the sample
    - the index and the value of the sample

    >>> import results
    >>> steps = results.samples("carousel-runs/latest").query("metric == 'step_seconds'")
    >>> steps[["arch", "protocol_batch", "environment_torch", "block", "value"]]
                     arch  protocol_batch environment_torch  block    value
    2  lstm:forget_bias=1               8            2.13.0      0  0.00001
    3  lstm:forget_bias=1               8            2.13.0      0  0.00003
    4  lstm:forget_bias=1               8            2.13.0      0  0.00002
    """
    run = _run_at(path)
    return sample_frame(run.file(), _records_of(run).values())


def cases(path: str | Path) -> pandas.DataFrame:
    """Load a run as a table with one row per case. Cases that only serve to choose a learning rate are left out.

    `path` is the folder of a run, or `<store>/latest`. The columns are the case, its status with the reason, and a
    summary of its training. In addition, there is one column per metric and location. This column contains the
    median of a timing, or the mean of any other metric. A planned case without a record has the status `missing`.
    Raises `StoreError` if there is no such run, or if its `run.json` is damaged. Damaged records are omitted with a
    warning.

    >>> import results
    >>> table = results.cases("carousel-runs/latest")
    >>> table[["arch", "seed", "status", "parameters", "train_steps", "accuracy length=64"]]
                     arch  seed status  parameters  train_steps  accuracy length=64
    0  lstm:forget_bias=1     0     ok        3538          100               0.625
    """
    run = _run_at(path)
    return case_frame(run.file(), _records_of(run))


def _records_of(run: Run) -> dict[str, Record]:
    records, damaged = run.read()
    if damaged:
        warnings.warn(
            f"omitted {len(damaged)} of {len(records) + len(damaged)} records of {run.folder}: they cannot be read; "
            f"run `carousel verify {run.folder.parent}` to list them",
            stacklevel=3,
        )
    return records


def frame(records: Iterable[Record]) -> pandas.DataFrame:
    """Return a table of records with one row per measurement. The columns are those of `load`."""
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


def sample_frame(file: RunFile, records: Iterable[Record]) -> pandas.DataFrame:
    """Return a table of records with one row per sample. The columns are those of the function `samples`."""
    import numpy as np
    import pandas

    run = _identity_of_run(file)
    rows: list[dict[str, Any]] = []
    measurements: list[Measurement] = []
    for record in records:
        case = run | _identity_of_case(record)
        for measurement in record.measurements:
            at = {f"at_{name}": value for name, value in measurement.at.items()}
            metric = METRICS.get(measurement.metric)
            unit = None if metric is None else metric.unit
            rows.append(case | {"metric": measurement.metric, "unit": unit, **at, "process": measurement.process})
            measurements.append(measurement)
    if not rows:
        return pandas.DataFrame(columns=list(SAMPLE_COLUMNS))
    counts = [len(measurement.samples) for measurement in measurements]
    table = pandas.DataFrame({name: _column([row.get(name) for row in rows]) for name in _names(rows)})
    table = table.loc[table.index.repeat(counts)].reset_index(drop=True)
    blocks = [block for measurement in measurements for block in _blocks_of(measurement)]
    table["block"] = pandas.array([index for index, _ in blocks], dtype="Int64")
    for field in Block.model_fields:
        table[f"block_{field}"] = _column([getattr(block, field, None) for _, block in blocks])
    table["sample"] = np.concatenate([np.arange(count) for count in counts])
    table["value"] = np.array([sample for measurement in measurements for sample in measurement.samples], dtype=float)
    return table


def case_frame(file: RunFile, records: dict[str, Record]) -> pandas.DataFrame:
    """Return a table of a run with one row per reported case, from its records by key. See `cases` for the columns."""
    import pandas

    rows = []
    for case in file.reported_cases:
        record = records.get(case.key)
        if record is None:
            rows.append(_identity_of_case(Record(key=case.key, case=case, status="crashed")) | {"status": "missing"})
            continue
        training = record.training
        curve = () if training is None else training.curve
        row = _identity_of_case(record) | {
            "reason": record.reason,
            "train_steps": None if training is None else training.steps,
            "train_seconds": None if training is None else training.seconds,
            "validation_score": curve[-1].validation_score if curve else None,
            "best_validation_score": max((point.validation_score for point in curve), default=None),
            "stopped": None if training is None else training.stopped,
            "learning_rate": None if training is None else training.learning_rate,
            "learning_rate_source": None if training is None else training.learning_rate_source,
            "learning_rate_found_by": None if training is None else training.learning_rate_found_by,
            "convergence": convergence(record),
        }
        for metric in dict.fromkeys(measurement.metric for measurement in record.measurements):
            for measurement in record.of(metric):
                if measurement.samples:
                    location = "".join(f" {name}={value}" for name, value in location_parts(measurement.at))
                    row[f"{metric}{location}"] = central_value(metric, measurement.samples)
        rows.append(row)
    return pandas.DataFrame({name: _column([row.get(name) for row in rows]) for name in _names(rows)})


def _run_at(path: str | Path) -> Run:
    path = Path(path)
    return Store(path.parent).find(path.name if path.name == "latest" else str(path))


def _identity_of_run(file: RunFile) -> dict[str, Any]:
    environment = {
        f"environment_{name}": json.dumps(value, sort_keys=True) if isinstance(value, dict) else value
        for name, value in file.environment.model_dump(mode="json").items()
    }
    return {
        "run": file.id,
        "plan": file.plan,
        "plan_digest": file.plan_digest,
        "created": file.created,
        "code": file.code,
        "commit": file.commit,
        "modified": file.modified,
        "plugins": json.dumps(file.plugins, sort_keys=True),
        **environment,
    }


def _identity_of_case(record: Record) -> dict[str, Any]:
    case = record.case
    protocol = {name: _plain(getattr(case.protocol, name)) for name in type(case.protocol).model_fields}
    return {
        "key": record.key,
        **{name: getattr(case, name) for name in type(case).model_fields if name not in NOT_COLUMNS},
        "tuning_learning_rates": None if case.tuning is None else _plain(case.tuning.learning_rates),
        "tuning_seeds": None if case.tuning is None else case.tuning.seeds,
        **{f"protocol_{name}": value for name, value in protocol.items()},
        "status": record.status,
        "parameters": record.model.parameters if record.model else None,
        "model_state_bytes": record.model.state_bytes if record.model else None,
        "model_step_flops": record.model.step_flops if record.model else None,
    }


def _plain(value: Any) -> Any:
    return value_text(value) if isinstance(value, tuple) else value


def _blocks_of(measurement: Measurement) -> list[tuple[int | None, Block | None]]:
    """Return, for each sample, the index of its block and the block. Both are None if there are no blocks.

    Samples are distributed over the blocks evenly and in order.
    """
    count, blocks = len(measurement.samples), measurement.blocks
    if not blocks:
        return [(None, None)] * count
    return [(index, blocks[index]) for index in (sample * len(blocks) // count for sample in range(count))]


def _names(rows: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _column(values: Sequence[Any]) -> Any:
    """Return the values of a column in a form that pandas stores without loss.

    Integers stay integers even if some values are missing. If any integer needs more than 64 bits, all integers
    become text.
    """
    import pandas

    known = [value for value in values if value is not None]
    if not known or not all(type(value) is int for value in known):
        return list(values)
    if any(abs(value) >= 1 << 63 for value in known):
        return [None if value is None else str(value) for value in values]
    return pandas.array(list(values), dtype="Int64") if len(known) < len(values) else list(values)
