"""One step of an echo state network for a small batch. Equation numbers refer to `arch/esn.py`."""

from __future__ import annotations

import numpy as np
from numba import njit

from arch.kernels.cells.reservoir import leaky_tanh
from arch.kernels.runtime.jit import kernel
from arch.kernels.simd.matvec import bits, floats
from arch.kernels.simd.vector import LANES, load_first, splat, store_first
from arch.kernels.streaming.record import LAYER_SIGNATURE, parts_of
from arch.kernels.streaming.recurrent_step import copy


@njit(forceinline=True)
def _product(weights, sources, first, count, numbers, numbers_at):  # type: ignore[no-untyped-def]
    """Return the product of a row of a sparse matrix and a vector.

    Args:
        weights, sources: Arrays of the weights, float32, and of what they read, int32.
        first, count: Offset of the row in both arrays, and its length.
        numbers, numbers_at: Array of the vector, and its offset.
    """
    total = np.float32(0)
    for at in range(first, first + count):
        total += weights[at] * numbers[numbers_at + sources[at]]
    return total


@kernel(LAYER_SIGNATURE)
def reservoir_step(record, x_at, y_at, workspace, B):  # type: ignore[no-untyped-def]
    """Write the outputs (B, H) and update the state. `LAYER_SIGNATURE` describes the arguments.

    The record has the sizes D, H, J and K; the weights W (H, J), their sources, b (H,), U (H, K), their sources and the
    leak (1,); and the state h (B, H).
    """
    sizes, weights, state = parts_of(record)
    D, H, J, K = sizes[0], sizes[1], sizes[2], sizes[3]
    W, of_x, bias, U = floats(weights[0]), bits(weights[1]), floats(weights[2]), floats(weights[3])
    of_h, leak = bits(weights[4]), splat(floats(weights[5])[0])
    x, y, h = floats(x_at), floats(y_at), floats(state[0])
    for b in range(B):
        for unit in range(H):
            driven = bias[unit] + _product(W, of_x, unit * J, J, x, b * D)
            y[b * H + unit] = driven + _product(U, of_h, unit * K, K, h, b * H)  # (1)
    for at in range(0, B * H, LANES):
        count = B * H - at
        _, output = leaky_tanh(load_first(y, at, count), load_first(h, at, count), leak)  # (2)
        store_first(y, at, count, output)
    copy(y, B * H, h)
