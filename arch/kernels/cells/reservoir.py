"""The cell of `esn`: from the sums of the matrix products to the next state."""

from __future__ import annotations

from numba import njit

from arch.kernels.simd.activation import tanh
from arch.kernels.simd.vector import fma


@njit(forceinline=True)
def leaky_tanh(total, h, leak):  # type: ignore[no-untyped-def]
    """Return tanh(s), and h' of equation (2) of `arch/esn.py`. Each argument is a vector of LANES float32 numbers.

    Args:
        total: s of equation (1).
        h: The state before the step.
        leak: α.
    """
    new = tanh(total)
    return new, fma(leak, new - h, h)
