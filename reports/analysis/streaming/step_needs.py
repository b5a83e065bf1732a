"""What one streamed step needs besides time: FLOPs, bytes moved, and bytes of weights.

FLOPs and bytes moved are closed-form counts that the architecture states. The bytes of weights include buffers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, median

from results import Record

AT_A_POSITION = ("step_flops", "step_bytes")
"""Metrics that depend on the position in the stream."""
WEIGHTS = "weight_bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepNeeds:
    """What one step of one stream needs, as medians over cases. A field is None if it is unknown."""

    flops: float | None
    """FLOPs of the step."""
    moved_bytes: float | None
    """Bytes that the step reads and writes."""
    weight_bytes: float | None
    """Bytes of the weights and buffers of the model."""


def step_needs(records: Iterable[Record], position: int | None) -> StepNeeds:
    """Return what a step at `position` needs. With the position None, only the bytes of weights are known."""
    at = {"position": position}
    values: defaultdict[str, list[float]] = defaultdict(list)
    for record in records:
        for measurement in record.measurements:
            metric = measurement.metric
            if metric == WEIGHTS or (metric in AT_A_POSITION and measurement.at == at):
                values[metric] += [fmean(measurement.samples)] if measurement.samples else []
    medians = {metric: median(of_metric) for metric, of_metric in values.items() if of_metric}
    return StepNeeds(
        flops=medians.get("step_flops"), moved_bytes=medians.get("step_bytes"), weight_bytes=medians.get(WEIGHTS)
    )
