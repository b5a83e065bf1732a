"""How near a timing comes to what the machine can do (Williams, Waterman & Patterson 2009, the roofline).

    attainable = min(peak, flops / bytes · bandwidth)         (1)  FLOPs a second
    share = (flops / seconds) / attainable                    (2)

Whole sequences reuse their weights at every step, so for them the peak alone is the limit. The peak is the
best matrix product at the case's own shapes, a step of the batch or all steps at once; the bandwidth is that of
reading as much memory as a step moves. A share is of the best that was measured, so noise may lift it above 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from results.schema.record import Measurement, Record

FLOPS_OF = {"forward_seconds": "forward_flops", "train_step_seconds": "train_step_flops", "step_seconds": "step_flops"}
"""The closed form of each timing."""
STATED = {*FLOPS_OF.values(), "step_bytes"}

At = frozenset[tuple[str, int]]


def attainable(flops: float, moved_bytes: float | None, peak: float, bandwidth: float | None) -> float:
    """Equation (1), in FLOPs a second; the peak alone where no bytes or no bandwidth is given."""
    if moved_bytes is None or bandwidth is None:
        return peak
    return min(peak, flops / moved_bytes * bandwidth)


class Limits:
    """What one record says of the machine's limits, looked up once for all of its timings."""

    def __init__(self, record: Record) -> None:
        self._stated: dict[tuple[str, At], float] = {}
        self._peaks: list[Measurement] = []
        self._bandwidths: list[Measurement] = []
        rates = {"matmul_flops_per_second": self._peaks, "read_bytes_per_second": self._bandwidths}
        for one in record.measurements:
            if not one.samples:
                continue
            if one.metric in STATED:
                self._stated.setdefault((one.metric, frozenset(one.at.items())), one.samples[0])
            elif one.metric in rates:
                rates[one.metric].append(one)

    def share(self, measurement: Measurement) -> float | None:
        """Equation (2) of a timing's median; None where the architecture or the run states no limit."""
        name, place = FLOPS_OF.get(measurement.metric), frozenset(measurement.at.items())
        if name is None or not measurement.samples or not (flops := self._stated.get((name, place))):
            return None
        # The best product of a batch as large; of a single stream's where there is no batch.
        if not (peak := _best(self._peaks, {"batch": measurement.at.get("batch", 1)})):
            return None
        moved = bandwidth = None
        if measurement.metric == "step_seconds":
            moved, bandwidth = self._stated.get(("step_bytes", place)), _best(self._bandwidths, measurement.at)
            if not moved or not bandwidth:
                return None
        seconds = median(measurement.samples)
        return flops / seconds / attainable(flops, moved, peak, bandwidth) if seconds > 0 else None


def _best(rates: Sequence[Measurement], at: dict[str, int]) -> float | None:
    return max((max(one.samples) for one in rates if at.items() <= one.at.items()), default=None)
