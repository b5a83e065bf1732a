"""Split the rows of a batch into one share per thread, and wait for all threads once per kernel call.

Rows are independent, so their results do not depend on the number of threads. Sums over rows are kept per share or per
block of rows, and added in a fixed order. Therefore, these sums do not depend on which thread finishes first. Kernels
release the GIL. The calling thread runs the first share, and a thread pool of Carousel runs the remaining shares.
torch's threads are not used, because they busy-wait between torch's operations.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

MIN_WORK = 1 << 17
"""Minimum number of products or elementwise results per thread. With fewer, a thread costs more time than it saves."""

TILED = 16
"""Number of products in a tiled matrix product that count as one unit of `work`, because tiled products are fast.

Handing a share to a thread takes 25 µs, the time of 1.6 million tiled products.
"""

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def split_rows(rows: int, work: int, run: Callable[[int, int], object], multiple: int = 16) -> None:
    """Split `rows` into shares and call `run` for each share, on at most as many threads as torch uses.

    Args:
        rows: Number of rows.
        work: Total work, in products or elementwise results (see `TILED`). It limits the number of threads to
            work / `MIN_WORK`, or to 1 if that is less.
        run: Called with the first row of a share, and the row after its last one.
        multiple: The number of rows of each share, except for the last share, is a multiple of this number.
    """
    threads = min(torch.get_num_threads(), work // MIN_WORK, -(-rows // multiple))
    if threads <= 1:
        run(0, rows)
        return
    blocks = -(-rows // multiple)
    bounds = [min(rows, multiple * (blocks * share // threads)) for share in range(threads + 1)]
    flushes = flushes_denormals()
    waiting = [
        _pool(threads - 1).submit(_run, run, first, last, flushes) for first, last in itertools.pairwise(bounds[1:])
    ]
    run(bounds[0], bounds[1])
    for future in waiting:
        future.result()


def _run(run: Callable[[int, int], object], first: int, last: int, flushes: bool) -> None:
    torch.set_flush_denormal(flushes)
    run(first, last)


def flushes_denormals() -> bool:
    """Return whether the calling thread flushes denormals to zero.

    `split_rows` applies the setting of its calling thread to the pool threads.
    """
    return float(np.float32(1e-38) * np.float32(1e-3)) == 0.0


def _pool(threads: int) -> ThreadPoolExecutor:
    """Return this process's pool of `threads` threads. The first call for this number of threads creates the pool.

    The keys of `_pools` contain the process id, because threads do not survive a fork of the process.
    """
    key = os.getpid(), threads
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="carousel")
    return _pools[key]
