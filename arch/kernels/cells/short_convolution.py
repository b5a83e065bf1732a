"""Cells of the short convolution: its sum over four steps, and the scale of unit vectors.

Equation numbers refer to `arch/core/short_convolution.py`. Each argument is a vector of LANES float32 numbers, one per
channel.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from arch.kernels.runtime.tensors import UNIT_EPSILON
from arch.kernels.simd.vector import fma, lane_sum, load_first

EPSILON = np.float32(UNIT_EPSILON)
"""The summand under the root of (3)."""


@njit(forceinline=True)
def convolve(filters, at, C, count, bias, oldest, older, last, now):  # type: ignore[no-untyped-def]
    """Return the convolution (1) of LANES channels.

    Args:
        filters, at: Array of the filters (4, C), and the first channel.
        C: Number of channels.
        count: Number of channels to compute. Those above LANES are not read.
        bias: The bias of these channels.
        oldest, older, last, now: The inputs of the four steps.
    """
    total = fma(load_first(filters, at, count), oldest, bias)
    total = fma(load_first(filters, C + at, count), older, total)
    total = fma(load_first(filters, 2 * C + at, count), last, total)
    return fma(load_first(filters, 3 * C + at, count), now, total)  # (1)


@njit(forceinline=True)
def scale_to_unit(squares):  # type: ignore[no-untyped-def]
    """Return the factor of (3) from a vector whose lanes add up to Σ x²."""
    return np.float32(1) / np.float32(math.sqrt(lane_sum(squares) + EPSILON))
