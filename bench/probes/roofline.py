"""Roofline: the limits of the machine at the sizes of a case, and the needs of the case's architecture.

The limits are measured once per size, in the process that times the models. They use as many threads as the models:

    matmul_flops_per_second    FLOP/s of the fastest product of the width H, its fourfold 4H and a number of rows
    fma_flops_per_second       FLOP/s of multiply-adds in registers, which no program exceeds
    read_bytes_per_second      bytes per second of repeated reads of as much memory as one step moves

The number of rows is the batch size, or the batch size times the length. On a CPU, compiled kernels do the work
(`arch.kernels.limits`), and torch multiplies too. Without a compiler, torch does all work, and there is no limit of
multiply-adds. A sample is the rate of the fastest way in one block. Reports use the best sample. The needs of an
architecture are closed-form counts of FLOPs and bytes; see `arch.SequenceModel.step_flops`.
"""

# Shape suffixes: P passes over the memory, N numbers or columns, M rows, K products per sum

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import torch

from arch.kernels import obstacle
from bench.machine.timer import seconds_per_call
from bench.plans.plan import Timing
from bench.probes.subject import Subject
from results import Measurement

WIDER = 4
"""Larger width of the timed products, relative to the width H of the model. An LSTM projects its state to this width.

The MLP of a Transformer has it too."""
MAX_ROWS = 4096
"""Maximum number of rows of the timed products. More rows take more time, but do not make a product faster."""
BLOCKS = 5
BLOCK_SECONDS = 0.002
MIN_READ_BYTES = 32 << 20
"""Smallest number of bytes that one timed call reads, so that the overhead of the call (about 1 µs) is negligible."""

Work = tuple[int, Callable[[], object]]
"""An amount of work, in FLOPs or bytes, and a call that does it."""

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
    if _is_compiled(device):
        rates = multiply_add_rates(threads, seconds)
        measurements.append(Measurement(metric="fma_flops_per_second", at={}, samples=rates))
    for batch in dict.fromkeys((1, timing.batch)):
        for rows in dict.fromkeys((batch, batch * subject.case.length)):
            rates = product_rates(min(rows, MAX_ROWS), model.width, device, threads, seconds)
            at = {"batch": batch, "rows": rows}
            measurements.append(Measurement(metric="matmul_flops_per_second", at=at, samples=rates))
    for position in timing.positions:
        step_bytes = model.step_bytes(position)
        if step_bytes is not None:
            rates = read_rates(step_bytes, device, threads, seconds)
            at = {"position": position}
            measurements.append(Measurement(metric="read_bytes_per_second", at=at, samples=rates))
    return measurements


@lru_cache
def multiply_add_rates(threads: int, seconds: Seconds) -> tuple[float, ...]:
    """Measure the FLOP/s of multiply-adds in registers, in each block. It needs a compiler.

    `threads` is the number of threads that torch uses, and part of the cache key only.
    """
    from arch.kernels import limits

    return _rates([[limits.multiply_adds()]] * BLOCKS, torch.device("cpu"), seconds)


@lru_cache(maxsize=1024)
def product_rates(rows: int, width: int, device: str, threads: int, seconds: Seconds) -> tuple[float, ...]:
    """Measure the rate of the fastest product of a layer's forward or backward pass.

    Args:
        rows: rows of the layer's inputs.
        width: width of the layer. The other width is four times as large.
        device: name of the device, such as `cpu` or `cuda:0`.
        threads: number of threads that torch uses; part of the cache key only.
        seconds: returns the mean seconds per call; see `Seconds`.

    Returns:
        FLOP/s of the fastest product in each block.
    """
    wide, torch_device = WIDER * width, torch.device(device)
    shapes = ((rows, width, wide), (rows, wide, width), (width, rows, wide))  # the last one: gradient of the weights
    works = [_torch_product(*shape, torch_device) for shape in shapes]
    if _is_compiled(device):
        from arch.kernels import limits

        works += [work for shape in shapes for work in limits.products(*shape)]
    return _rates([works] * BLOCKS, torch_device, seconds)


@lru_cache(maxsize=1024)
def read_rates(read_bytes: int, device: str, threads: int, seconds: Seconds) -> tuple[float, ...]:
    """Measure the rate at which the same memory is read again and again.

    Args:
        read_bytes: size of the memory in bytes.
        device: name of the device, such as `cpu` or `cuda:0`.
        threads: number of threads that torch uses; part of the cache key only.
        seconds: returns the mean seconds per call; see `Seconds`.

    Returns:
        Bytes per second of the fastest order of reading in each block.
    """
    torch_device = torch.device(device)
    if _is_compiled(device):
        from arch.kernels import limits

        # Where the pages of a memory lie decides how much of it a cache holds, so each block has a memory of its own.
        memories = [
            limits.reads(read_bytes, MIN_READ_BYTES) for _ in range(BLOCKS if read_bytes < MIN_READ_BYTES else 1)
        ]
        return _rates([memories[block % len(memories)] for block in range(BLOCKS)], torch_device, seconds)
    return _rates([[_torch_read(read_bytes, torch_device)]] * BLOCKS, torch_device, seconds)


def _is_compiled(device: str) -> bool:
    return torch.device(device).type == "cpu" and obstacle() is None


def _torch_product(M: int, K: int, N: int, device: torch.device) -> Work:
    left_MK, right_KN = torch.full((M, K), 0.5, device=device), torch.full((K, N), 0.5, device=device)
    out_MN = torch.empty(M, N, device=device)
    return 2 * M * K * N, partial(torch.mm, left_MK, right_KN, out=out_MN)


def _torch_read(read_bytes: int, device: torch.device) -> Work:
    passes, count = -(-MIN_READ_BYTES // read_bytes), -(-read_bytes // 4)
    numbers_PN = torch.ones(count, device=device).expand(passes, count)
    return 4 * count * passes, partial(numbers_PN.sum, 1)


def _rates(blocks: Sequence[Sequence[Work]], device: torch.device, seconds: Seconds) -> tuple[float, ...]:
    """Return the highest rate of any work, in each block."""
    rates = []
    with torch.inference_mode():
        for works in blocks:
            calls = []
            for _, call in works:
                call_seconds = seconds(call, 1, device)
                calls.append(max(1, round(BLOCK_SECONDS / call_seconds)) if call_seconds > 0 else 1)
            timed = zip(works, calls, strict=True)
            rates.append(max(amount / max(seconds(call, count, device), 1e-9) for (amount, call), count in timed))
    return tuple(rates)
