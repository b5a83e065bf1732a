"""The roofline model: the share of the machine's limits that a timing reaches (Williams, Waterman & Patterson 2009).

    attainable = min(peak, flops / bytes · bandwidth)         (1)  FLOP/s
    share = (flops / seconds) / attainable                    (2)

A pass over a whole sequence reuses its weights at every step, so its only limit is the peak. The peak is the rate of
the fastest matrix product with the shapes of the case. The products span one step of the batch, or all steps together.
The bandwidth is measured by reading as much memory as a step moves. Peak and bandwidth are measured, so noise may raise
a share above 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from results.schema.record import Measurement, Record

FLOPS_OF = {
    "forward_seconds": "forward_flops",
    "train_step_seconds": "train_step_flops",
    "step_seconds": "step_flops",
    "call_step_seconds": "step_flops",
}
"""For each timing metric, the metric that contains its analytic FLOP count."""
ANALYTIC = {*FLOPS_OF.values(), "step_bytes"}
"""Metrics whose values are calculated, not measured."""

At = frozenset[tuple[str, int]]


def attainable(flops: float, moved_bytes: float | None, peak: float, bandwidth: float | None) -> float:
    """Return the attainable FLOP/s, by equation (1).

    Args:
        flops: FLOPs of the operation.
        moved_bytes: Bytes that the operation moves; None if memory is not a limit.
        peak: Peak rate in FLOP/s.
        bandwidth: Memory bandwidth in bytes/s; None if memory is not a limit.
    """
    if moved_bytes is None or bandwidth is None:
        return peak
    return min(peak, flops / moved_bytes * bandwidth)


class Limits:
    """The machine limits and FLOP counts in one record, indexed once for all timings of the record."""

    def __init__(self, record: Record) -> None:
        self._analytic: dict[tuple[str, At], float] = {}
        self._peaks: list[Measurement] = []
        self._bandwidths: list[Measurement] = []
        rates = {"matmul_flops_per_second": self._peaks, "read_bytes_per_second": self._bandwidths}
        for measurement in record.measurements:
            metric, samples = measurement.metric, measurement.samples
            if not samples:
                continue
            if metric in ANALYTIC:
                self._analytic.setdefault((metric, frozenset(measurement.at.items())), samples[0])
            elif metric in rates:
                rates[metric].append(measurement)

    def share(self, measurement: Measurement) -> float | None:
        """Return the share (2) that the median of a timing reaches.

        The result is None if the FLOP count or a limit is unknown. The result is also None if there are no samples or
        the median is 0.
        """
        name, location = FLOPS_OF.get(measurement.metric), frozenset(measurement.at.items())
        if name is None or not measurement.samples or not (flops := self._analytic.get((name, location))):
            return None
        # A measurement without a batch size is of a single stream, so its peak is that of batch 1.
        if not (peak := _best(self._peaks, {"batch": measurement.at.get("batch", 1)})):
            return None
        moved = bandwidth = None
        if name == "step_flops":
            moved, bandwidth = self._analytic.get(("step_bytes", location)), _best(self._bandwidths, measurement.at)
            if not moved or not bandwidth:
                return None
        seconds = median(measurement.samples)
        return flops / seconds / attainable(flops, moved, peak, bandwidth) if seconds > 0 else None


def _best(rates: Sequence[Measurement], at: dict[str, int]) -> float | None:
    """Return the highest rate at a location, or None if no rate was measured there."""
    return max((max(rate.samples) for rate in rates if at.items() <= rate.at.items()), default=None)
