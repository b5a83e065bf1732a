"""Roofline: the limits of the machine at the sizes of a case, and the needs of the case's architecture.

The limits are measured once per size, in the process that times the models. They use as many threads as the models:

    matmul_flops_per_second    FLOP/s of a product (rows × H) · (H × 4H), similar to the main operation of a model
    read_bytes_per_second      bytes per second of repeated reads of as much memory as one step moves

The number of rows is the batch size, or the batch size times the length.
Every sample is the mean rate of one block. Reports use the best sample. The needs of an architecture are closed-form
counts of FLOPs and bytes; see `arch.SequenceModel.step_flops`.
"""

# Shape suffixes: P passes over the memory, N numbers

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch

from bench.machine.timer import seconds_per_call
from bench.plans.plan import Timing
from bench.probes.subject import Subject
from results import Measurement

PRODUCT_COLUMNS = 4
"""Width of the timed products, relative to the width H of the model. An LSTM projects its state to this width."""
BLOCKS = 5
BLOCK_SECONDS = 0.005
MIN_READ_BYTES = 8 << 20
"""Smallest number of bytes that one timed call reads, so that the overhead of the call (about 1 µs) is negligible."""

Seconds = Callable[[Callable[[], object], int, torch.device], float]
"""Function that takes a call, a number of repetitions and a device, and returns the mean seconds per call."""


def measure(
    subjects: Sequence[Subject], timing: Timing, seconds: Seconds = seconds_per_call
) -> dict[str, list[Measurement]]:
    """Measure the limits at the sizes of each case, and compute the needs of its architecture.

    Counts for which an architecture states no closed form are omitted.

    Returns:
        Measurements by case key.
    """
    return {subject.case.key: [*_needs(subject, timing), *_limits(subject, timing, seconds)] for subject in subjects}


def _needs(subject: Subject, timing: Timing) -> list[Measurement]:
    model, length = subject.model, subject.case.length
    counts: list[tuple[str, dict[str, int], int | None]] = [
        ("forward_flops", {"batch": batch}, model.forward_flops(batch, length))
        for batch in dict.fromkeys((1, timing.batch))
    ]
    counts.append(("train_step_flops", {"batch": timing.batch}, model.train_step_flops(timing.batch, length)))
    for position in timing.positions:
        counts.append(("step_flops", {"position": position}, model.step_flops(position)))
        counts.append(("step_bytes", {"position": position}, model.step_bytes(position)))
    return [
        Measurement(metric=metric, at=at, samples=(float(count),)) for metric, at, count in counts if count is not None
    ]


def _limits(subject: Subject, timing: Timing, seconds: Seconds) -> list[Measurement]:
    model, device, threads = subject.model, str(subject.device), torch.get_num_threads()
    measurements = []
    for batch in dict.fromkeys((1, timing.batch)):
        for rows in dict.fromkeys((batch, batch * subject.case.length)):
            rates = product_rates(rows, model.width, device, threads, seconds)
            at = {"batch": batch, "rows": rows}
            measurements.append(Measurement(metric="matmul_flops_per_second", at=at, samples=rates))
    for position in timing.positions:
        step_bytes = model.step_bytes(position)
        if step_bytes is not None:
            rates = read_rates(step_bytes, device, threads, seconds)
            at = {"position": position}
            measurements.append(Measurement(metric="read_bytes_per_second", at=at, samples=rates))
    return measurements


@lru_cache(maxsize=1024)
def product_rates(rows: int, width: int, device: str, threads: int, seconds: Seconds) -> tuple[float, ...]:
    """Measure the rate of the product (rows × width) · (width × 4 width).

    Args:
        rows: rows of the left matrix.
        width: columns of the left matrix; the right matrix has four times as many columns.
        device: name of the device, such as `cpu` or `cuda:0`.
        threads: number of threads that torch uses; part of the cache key only.
        seconds: returns the mean seconds per call; see `Seconds`.

    Returns:
        FLOP/s of each block.
    """
    torch_device = torch.device(device)
    left = torch.full((rows, width), 0.5, device=torch_device)
    right = torch.full((width, PRODUCT_COLUMNS * width), 0.5, device=torch_device)
    out = torch.empty(rows, PRODUCT_COLUMNS * width, device=torch_device)

    def product() -> None:
        torch.mm(left, right, out=out)

    with torch.inference_mode():
        return _rates(2 * rows * width * PRODUCT_COLUMNS * width, product, torch_device, seconds)


@lru_cache(maxsize=1024)
def read_rates(read_bytes: int, device: str, threads: int, seconds: Seconds) -> tuple[float, ...]:
    """Measure the rate at which repeated sums read the same memory.

    Args:
        read_bytes: size of the memory in bytes.
        device: name of the device, such as `cpu` or `cuda:0`.
        threads: number of threads that torch uses; part of the cache key only.
        seconds: returns the mean seconds per call; see `Seconds`.

    Returns:
        Bytes per second of each block.
    """
    torch_device, passes, count = torch.device(device), -(-MIN_READ_BYTES // read_bytes), -(-read_bytes // 4)
    numbers_PN = torch.ones(count, device=torch_device).expand(passes, count)
    with torch.inference_mode():
        return _rates(4 * count * passes, lambda: numbers_PN.sum(1), torch_device, seconds)


def _rates(work: int, call: Callable[[], object], device: torch.device, seconds: Seconds) -> tuple[float, ...]:
    call()
    call_seconds = seconds(call, 1, device)
    calls = max(1, round(BLOCK_SECONDS / call_seconds)) if call_seconds > 0 else 1
    return tuple(work / max(seconds(call, calls, device), 1e-9) for _ in range(BLOCKS))
