"""Rows of a batch over threads: one fork and one join for a whole sequence.

The rows are independent, so that what is computed for each does not depend on how many threads there are; sums over
rows are made a share at a time, and do not depend on which thread is first. Kernels run without the interpreter's
lock; the calling thread takes the first share, and a pool of Carousel's own the others (torch's threads wait in a
spin between its operations, and are not ours to use).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

MIN_WORK = 1 << 17
"""Products, or numbers of an elementwise function, below which a thread of its own costs more than it brings."""

TILED = 16
"""Products in tiles that take as long as other work of size 1: handing a share over and waiting for it takes 25 µs,
in which tiles make 1.6 million products."""

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def over_rows(rows: int, work: int, run: Callable[[int, int], object], multiple: int = 16) -> None:
    """run(first, last) for shares of `rows` that are a `multiple` of rows each, on as many threads as torch uses."""
    threads = min(torch.get_num_threads(), work // MIN_WORK, -(-rows // multiple))
    if threads <= 1:
        run(0, rows)
        return
    blocks = -(-rows // multiple)
    bounds = [min(rows, multiple * (blocks * share // threads)) for share in range(threads + 1)]
    flushes = _flushes_denormals()
    waiting = [
        _pool(threads - 1).submit(_run, run, first, last, flushes) for first, last in itertools.pairwise(bounds[1:])
    ]
    run(bounds[0], bounds[1])
    for future in waiting:
        future.result()


def _run(run: Callable[[int, int], object], first: int, last: int, flushes: bool) -> None:
    torch.set_flush_denormal(flushes)
    run(first, last)


def _flushes_denormals() -> bool:
    """Whether this thread takes denormal numbers for zero: those of the pool do as their caller."""
    return float(np.float32(1e-38) * np.float32(1e-3)) == 0.0


def _pool(threads: int) -> ThreadPoolExecutor:
    """The pool of this process: threads do not survive a fork."""
    key = os.getpid(), threads
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="carousel")
    return _pools[key]
