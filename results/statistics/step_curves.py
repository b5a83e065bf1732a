"""Curves of the cost of a streamed step: the timings of a case by a single process, at all its positions.

At each position, a curve has one median per block.
"""

# Shape suffixes: K blocks

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, islice, pairwise

import numpy as np
from numpy.typing import NDArray

from results.schema.record import Measurement, Record

Floats = NDArray[np.float64]
Curve = Mapping[int, tuple[float, ...]]
"""The timings of a case by a single process: the median of each block in seconds, by position."""


def step_metric(records: Iterable[Record]) -> str:
    """Return the metric that describes the cost of a step in all of these records.

    The metric is `step_seconds` if any record has it. Otherwise only calls from Python were timed, so the metric is
    `call_step_seconds`. The two metrics differ by the cost of a call, so they must not be compared with each other.
    """
    return "step_seconds" if any(record.by_process("step_seconds") for record in records) else "call_step_seconds"


def curves_of(records: Iterable[Record], metric: str | None = None) -> list[Curve]:
    """Return one cost curve, in seconds, per process of each record that has measurements of the metric.

    `metric` is `step_seconds` or `call_step_seconds`; None for the `step_metric` of the records.
    """
    records = list(records)
    metric = metric or step_metric(records)
    curves: dict[tuple[str, int], dict[int, tuple[float, ...]]] = {}
    for record in records:
        steps = [each for each in record.by_process(metric) if each.at.keys() == {"position"} and each.samples]
        blocks = [_blocks(measurement) for measurement in steps]
        medians = iter(medians_of([block for of_measurement in blocks for block in of_measurement]).tolist())
        for measurement, of_measurement in zip(steps, blocks, strict=True):
            curve = curves.setdefault((record.key, measurement.process), {})
            curve[measurement.at["position"]] = tuple(islice(medians, len(of_measurement)))
    return list(curves.values())


def _blocks(measurement: Measurement) -> list[tuple[float, ...]]:
    """Split the samples of a measurement into its blocks as evenly as possible, with longer blocks first."""
    count = len(measurement.blocks)
    if count < 2:
        return [measurement.samples]
    size, longer = divmod(len(measurement.samples), count)
    ends = [0, *accumulate([size + 1] * longer + [size] * (count - longer))]
    return [measurement.samples[start:end] for start, end in pairwise(ends) if end > start]


def medians_of(rows_K: Sequence[Sequence[float]]) -> Floats:
    """Return the median of each row. Rows of equal length share one call of `np.median`."""
    lengths_K = np.array([len(row) for row in rows_K])
    medians_K = np.empty(len(rows_K))
    for length in np.unique(lengths_K):
        indices = np.flatnonzero(lengths_K == length).tolist()
        medians_K[indices] = np.median(np.array([rows_K[index] for index in indices]), axis=1)
    return medians_K
