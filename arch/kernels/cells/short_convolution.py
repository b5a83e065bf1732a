"""Cells of the short convolution: its sum over four steps, and the scale of unit vectors.

Equation numbers refer to `arch/core/convolution.py`. Each argument is a vector of LANES float32 numbers,
one per channel.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from arch.kernels.runtime.tensors import UNIT_EPSILON
from arch.kernels.simd.reduction import lane_sum
from arch.kernels.simd.vector import fma

EPSILON = np.float32(UNIT_EPSILON)
"""The summand under the root of (3)."""


@njit(forceinline=True)
def convolve(w_0, w_1, w_2, w_3, bias, oldest, older, latest, now):  # type: ignore[no-untyped-def]
    """Return the convolution (1).

    Args:
        w_0, w_1, w_2, w_3: The filters of the four steps.
        bias: The bias.
        oldest, older, latest, now: The inputs of the four steps.
    """
    return fma(w_0, oldest, bias) + fma(w_1, older, w_2 * latest) + w_3 * now  # (1)


@njit(forceinline=True)
def scale_to_unit(squares):  # type: ignore[no-untyped-def]
    """Return the factor of (3) from a vector whose lanes add up to Σ x²."""
    return np.float32(1) / np.float32(math.sqrt(lane_sum(squares) + EPSILON))
