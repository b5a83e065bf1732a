"""One step of an echo state network for a small batch. Equation numbers refer to `arch/esn.py`."""

from __future__ import annotations

from numba import njit

from arch.kernels.cells.reservoir import leaky_tanh
from arch.kernels.runtime.jit import kernel
from arch.kernels.simd.matvec import bits, floats
from arch.kernels.simd.vector import LANES, load_first, splat, store_first
from arch.kernels.streaming.record import LAYER_SIGNATURE, parts_of
from arch.kernels.streaming.recurrent_step import copy


@njit
def _add_sparse(weights, sources, count, H, numbers, numbers_at, result, at):  # type: ignore[no-untyped-def]
    """Add the product of a sparse matrix and a vector to H numbers of the array `result`, from offset `at` on.

    Args:
        weights, sources: Addresses of the weights, float32, and of what they read, int32, each (count, H).
        count: Connections per unit.
        H: Number of units.
        numbers, numbers_at: Array of the vector, and its offset.
        result, at: Array of the result, and its offset.
    """
    weight, source = floats(weights), bits(sources)
    for first in range(0, count * H, H):
        for unit in range(H):
            result[at + unit] += weight[first + unit] * numbers[numbers_at + source[first + unit]]


@kernel(LAYER_SIGNATURE)
def reservoir_step(record, x_at, y_at, workspace, B):  # type: ignore[no-untyped-def]
    """Write the outputs (B, H) and update the state. `LAYER_SIGNATURE` describes the arguments.

    The record has the sizes D, H, J and K; the weights W (J, H), their sources, b (H,), U (K, H), their sources and the
    leak (1,); and the state h (B, H).
    """
    sizes, weights, state = parts_of(record)
    D, H, J, K = sizes[0], sizes[1], sizes[2], sizes[3]
    x, y, h, leak = floats(x_at), floats(y_at), floats(state[0]), splat(floats(weights[5])[0])
    for b in range(B):
        at = b * H
        for unit in range(0, H, LANES):
            store_first(y, at + unit, H - unit, load_first(floats(weights[2]), unit, H - unit))
        _add_sparse(weights[0], weights[1], J, H, x, b * D, y, at)
        _add_sparse(weights[3], weights[4], K, H, h, at, y, at)  # (1)
        for unit in range(at, at + H, LANES):
            count = at + H - unit
            _, output = leaky_tanh(load_first(y, unit, count), load_first(h, unit, count), leak)  # (2)
            store_first(y, unit, count, output)
    copy(y, B * H, h)
