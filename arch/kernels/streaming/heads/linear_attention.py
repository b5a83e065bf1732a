"""One step of `linear_attention` for a small batch. Equation numbers refer to `arch/linear_attention.py`."""

from __future__ import annotations

import numpy as np
from numba import njit

from arch.kernels.runtime.jit import kernel
from arch.kernels.runtime.tensors import TOTAL_EPSILON
from arch.kernels.simd.activation import SIGMOID_SATURATES, exp
from arch.kernels.simd.matvec import apply, floats
from arch.kernels.simd.vector import LANES, larger, load_first, positive, smaller, splat, store_first
from arch.kernels.streaming.heads.parts import remember, scale
from arch.kernels.streaming.record import LAYER_SIGNATURE, parts_of

EPSILON = np.float32(TOTAL_EPSILON)
"""ε of equation (4)."""


@njit(forceinline=True)
def feature(x):  # type: ignore[no-untyped-def]
    """Return φ(x) = elu(x) + 1 of a vector: e^x if x < 0, else x + 1."""
    below = exp(larger(smaller(x, splat(0.0)), splat(-SIGMOID_SATURATES)))
    return below + positive(x, x)


@kernel(LAYER_SIGNATURE)
def step(record, x, y, workspace, B):  # type: ignore[no-untyped-def]
    """Write the output of one step and update the memory in place."""
    sizes, weights, state = parts_of(record)
    D, H, N, S = sizes[0], sizes[1], sizes[2], floats(state[0])
    K, U, P = H // N, H // N + 1, 3 * H
    projected, values, reads = floats(workspace), floats(workspace + 4 * B * P), floats(workspace + 4 * (B * P + U))
    apply(floats(weights[0]), 0, weights[1], P, D, floats(x), 0, D, B, projected, 0, P, False)  # (1)
    for b in range(B):
        for at in range(0, 2 * H, LANES):
            store_first(projected, b * P + at, 2 * H - at, feature(load_first(projected, b * P + at, 2 * H - at)))
        for n in range(N):
            at = b * P + n * K
            for value in range(0, K, LANES):
                store_first(values, value, K - value, load_first(projected, at + 2 * H + value, K - value))
            values[K] = np.float32(1)
            remember(
                S, (b * N + n) * K * U, K, U, S, 0, 0, projected, at + H, values, 0, projected, at, reads, 0
            )  # (2), (3)
            scale(reads, 0, K, np.float32(1) / (reads[K] + EPSILON))  # (4)
            for value in range(0, K, LANES):
                store_first(projected, at + value, K - value, load_first(reads, value, K - value))
    apply(floats(weights[2]), 0, weights[3], H, H, projected, 0, P, B, floats(y), 0, H, False)  # (5)
