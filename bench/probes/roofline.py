"""limits: what the machine can do at the sizes of a case, and what the case's equations ask of it.

The limits are measured by the lane that times, with the same threads, once for each size: FLOPs a second of the
products that an architecture is made of, of one step of a batch and of all its steps at once, (rows × H) · (H × 4H);
and bytes a second when as much memory is read over and over as a step moves. Every sample is the mean
of a block; readers take the best. What is asked is in closed form: see `arch`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch

from bench.machine.timer import seconds_a_call
from bench.plans.plan import Timing
from bench.probes.subject import Subject
from results import Measurement

PRODUCT_COLUMNS = 4
"""The products of gates and of perceptrons are mostly four times as wide as the model."""
BLOCKS = 5
BLOCK_SECONDS = 0.005
PASS_BYTES = 8 << 20
"""A call reads at least so much, so that its own cost, about a microsecond, is nothing beside it."""

Seconds = Callable[[Callable[[], object], int, torch.device], float]
"""Mean seconds of a call, made so many times on a device."""


def measure(
    subjects: Sequence[Subject], timing: Timing, seconds: Seconds = seconds_a_call
) -> dict[str, list[Measurement]]:
    """Measurements by case key: limits at the case's sizes, and the closed forms where the architecture states them."""
    return {subject.case.key: [*_asked(subject, timing), *_limits(subject, timing, seconds)] for subject in subjects}


def _asked(subject: Subject, timing: Timing) -> list[Measurement]:
    model, length = subject.model, subject.case.length
    stated: list[tuple[str, dict[str, int], int | None]] = [
        ("forward_flops", {"batch": batch}, model.forward_flops(batch, length))
        for batch in dict.fromkeys((1, timing.batch))
    ]
    stated.append(("train_step_flops", {"batch": timing.batch}, model.train_step_flops(timing.batch, length)))
    for position in timing.positions:
        stated.append(("step_flops", {"position": position}, model.step_flops(position)))
        stated.append(("step_bytes", {"position": position}, model.step_bytes(position)))
    return [
        Measurement(metric=metric, at=at, samples=(float(number),))
        for metric, at, number in stated
        if number is not None
    ]


def _limits(subject: Subject, timing: Timing, seconds: Seconds) -> list[Measurement]:
    model, device, threads = subject.model, str(subject.device), torch.get_num_threads()
    found = []
    for batch in dict.fromkeys((1, timing.batch)):
        for rows in dict.fromkeys((batch, batch * subject.case.length)):
            rates = product_rates(rows, model.width, device, threads, seconds)
            at = {"batch": batch, "rows": rows}
            found.append(Measurement(metric="matmul_flops_per_second", at=at, samples=rates))
    for position in timing.positions:
        moved = model.step_bytes(position)
        if moved is not None:
            rates = read_rates(moved, device, threads, seconds)
            at = {"position": position}
            found.append(Measurement(metric="read_bytes_per_second", at=at, samples=rates))
    return found


@lru_cache(maxsize=1024)
def product_rates(rows: int, width: int, device: str, threads: int, seconds: Seconds) -> tuple[float, ...]:
    """FLOPs a second of (rows × width) · (width × 4 width), a block each; `threads` are those set in torch."""
    where = torch.device(device)
    left = torch.full((rows, width), 0.5, device=where)
    right = torch.full((width, PRODUCT_COLUMNS * width), 0.5, device=where)
    out = torch.empty(rows, PRODUCT_COLUMNS * width, device=where)

    def product() -> None:
        torch.mm(left, right, out=out)

    with torch.inference_mode():
        return _rates(2 * rows * width * PRODUCT_COLUMNS * width, product, where, seconds)


@lru_cache(maxsize=1024)
def read_rates(read_bytes: int, device: str, threads: int, seconds: Seconds) -> tuple[float, ...]:
    """Bytes a second when so many are read over and over by a sum, a block each; `threads` as above."""
    where, passes, count = torch.device(device), -(-PASS_BYTES // read_bytes), -(-read_bytes // 4)
    numbers_PN = torch.ones(count, device=where).expand(passes, count)
    with torch.inference_mode():
        return _rates(4 * count * passes, lambda: numbers_PN.sum(1), where, seconds)


def _rates(work: int, call: Callable[[], object], device: torch.device, seconds: Seconds) -> tuple[float, ...]:
    call()
    once = seconds(call, 1, device)
    calls = max(1, round(BLOCK_SECONDS / once)) if once > 0 else 1
    return tuple(work / max(seconds(call, calls, device), 1e-9) for _ in range(BLOCKS))
