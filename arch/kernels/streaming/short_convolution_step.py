"""One step of a short convolution for a small batch. Equation numbers refer to `arch/core/convolution.py`."""

from __future__ import annotations

from numba import njit

from arch.kernels.cells.short_convolution import convolve as cell
from arch.kernels.runtime.tensors import CONV_STEPS
from arch.kernels.simd.activation import silu
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.vector import LANES, load_first, store_first
from arch.kernels.streaming.recurrent_step import bias_of


@njit
def convolve(u, apart, C, filters, bias, inputs, B, activates):  # type: ignore[no-untyped-def]
    """Replace the C channels of each stream by their convolution (1), or by its SiLU (2).

    Args:
        u, apart: Array of the channels, and the distance of two streams. It is changed in place.
        C: Number of channels.
        filters, bias: Addresses of the filters (4, C), and of the bias (C,) or 0 for no bias.
        inputs: Address of the last three inputs (B, 3, C), oldest first. They are updated in place.
        B: Batch size.
        activates: Whether SiLU follows.
    """
    w, before = floats(filters), floats(inputs)
    for c in range(0, C, LANES):
        count, offset = C - c, bias_of(bias, c, C - c)
        w_0, w_1 = load_first(w, c, count), load_first(w, C + c, count)
        w_2, w_3 = load_first(w, 2 * C + c, count), load_first(w, 3 * C + c, count)
        for b in range(B):
            first, at = b * (CONV_STEPS - 1) * C + c, b * apart + c
            older, latest = load_first(before, first + C, count), load_first(before, first + 2 * C, count)
            now = load_first(u, at, count)
            total = cell(w_0, w_1, w_2, w_3, offset, load_first(before, first, count), older, latest, now)  # (1)
            store_first(u, at, count, silu(total) if activates else total)  # (2)
            store_first(before, first, count, older)
            store_first(before, first + C, count, latest)
            store_first(before, first + 2 * C, count, now)
