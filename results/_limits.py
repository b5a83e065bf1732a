"""How near a timing comes to what the machine can do (Williams, Waterman & Patterson 2009, the roofline).

    attainable = min(peak, flops / bytes · bandwidth)         (1)  FLOPs a second
    share = (flops / seconds) / attainable                    (2)

Whole sequences reuse their weights at every step, so for them the peak alone is the limit. The peak is the
best matrix product at the case's own shapes, a step of the batch or all steps at once; the bandwidth is that of
reading as much memory as a step moves. A share is of the best that was measured, so noise may lift it above 1.
"""

from __future__ import annotations

from statistics import median

from results._schema import Measurement, Record

FLOPS_OF = {"forward_seconds": "forward_flops", "train_step_seconds": "train_step_flops", "step_seconds": "step_flops"}
"""The closed form of each timing."""


def attainable(flops: float, moved_bytes: float | None, peak: float, bandwidth: float | None) -> float:
    """Equation (1), in FLOPs a second; the peak alone where no bytes or no bandwidth is given."""
    if moved_bytes is None or bandwidth is None:
        return peak
    return min(peak, flops / moved_bytes * bandwidth)


def limit_share(record: Record, measurement: Measurement) -> float | None:
    """Equation (2) of a timing's median; None where the architecture or the run states no limit."""
    name = FLOPS_OF.get(measurement.metric)
    if name is None or not measurement.samples:
        return None
    if not (flops := _stated(record, name, measurement.at)) or not (peak := _peak(record, measurement.at)):
        return None
    moved = bandwidth = None
    if measurement.metric == "step_seconds":
        moved, bandwidth = (
            _stated(record, "step_bytes", measurement.at),
            _best(record, "read_bytes_per_second", measurement.at),
        )
        if not moved or not bandwidth:
            return None
    seconds = median(measurement.samples)
    return flops / seconds / attainable(flops, moved, peak, bandwidth) if seconds > 0 else None


def _peak(record: Record, at: dict[str, int]) -> float | None:
    """The best product of a batch as large; of a single stream's where there is no batch."""
    return _best(record, "matmul_flops_per_second", {"batch": at.get("batch", 1)})


def _best(record: Record, metric: str, at: dict[str, int]) -> float | None:
    found = [max(one.samples) for one in record.by_process(metric) if one.samples and at.items() <= one.at.items()]
    return max(found, default=None)


def _stated(record: Record, metric: str, at: dict[str, int]) -> float | None:
    return next((one.samples[0] for one in record.by_process(metric) if one.samples and one.at == at), None)
