"""Reading memory as fast as one thread can: the yardstick of what a step must move."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch


@cache
def reader() -> Callable[[Any, Any], None]:
    """A function of (numbers, sums), both float32: one pass over the numbers for every sum, compiled once a machine.

    Each pass ends in a write that might alter the numbers, so that none can be left out.
    """
    import numba

    def passes(numbers: Any, sums: Any) -> None:
        for i in range(len(sums)):
            total = np.float32(0)
            for number in numbers:
                total += number
            sums[i] = total

    compiled: Callable[[Any, Any], None] = numba.njit(
        "void(float32[::1], float32[::1])", cache=True, nogil=True, fastmath=True
    )(passes)
    return compiled


def read_call(read_bytes: int, passes: int, device: torch.device) -> Callable[[], object]:
    """A call that reads so many bytes, so many times over, on one thread of the processor, or on a GPU."""
    count = max(1, read_bytes // 4)
    if device.type != "cpu":
        numbers_PN = torch.ones(count, device=device).expand(passes, count)
        return lambda: numbers_PN.sum(1)
    numbers, sums, read = np.ones(count, np.float32), np.empty(passes, np.float32), reader()
    return lambda: read(numbers, sums)
