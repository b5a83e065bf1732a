"""One step of `mlstm` for a small batch. Equation numbers refer to `arch/mlstm.py`."""

from __future__ import annotations

import math

import numpy as np

from arch.kernels.runtime.jit import kernel
from arch.kernels.simd.activation import SIGMOID_SATURATES, exp, sigmoid, softplus
from arch.kernels.simd.matvec import apply, floats
from arch.kernels.simd.vector import LANES, larger, load_first, smaller, splat, store_first
from arch.kernels.streaming.heads.parts import group_norm, remember, scale
from arch.kernels.streaming.record import LAYER_SIGNATURE, parts_of

MAX_EXPONENT = 80.0
"""Upper limit of -m in the exponential of (6)."""


@kernel(LAYER_SIGNATURE)
def step(record, x, y, workspace, B):  # type: ignore[no-untyped-def]
    """Write the output of one step, and update the memory and the stabiliser in place."""
    sizes, weights, state = parts_of(record)
    D, H, N, S, stabilisers = sizes[0], sizes[1], sizes[2], floats(state[0]), floats(state[1])
    K, V, P, lowest = H // N, H // N + 1, 4 * H, splat(-SIGMOID_SATURATES)
    projected, gates = floats(workspace), floats(workspace + 4 * B * P)
    floors, values = floats(workspace + 4 * B * (P + 2 * N)), floats(workspace + 4 * B * (P + 3 * N))
    reads = floats(workspace + 4 * B * (P + 3 * N + V))
    per_root = np.float32(1) / np.float32(math.sqrt(K))
    apply(floats(weights[0]), 0, weights[1], P, D, floats(x), 0, D, B, projected, 0, P, False)  # (1)
    apply(floats(weights[2]), 0, weights[3], 2 * N, D, floats(x), 0, D, B, gates, 0, 2 * N, False)  # (2)
    for b in range(B):
        for n in range(0, N, LANES):
            count, of_i, of_f = N - n, 2 * b * N + n, (2 * b + 1) * N + n
            m, i = load_first(stabilisers, b * N + n, count), load_first(gates, of_i, count)
            kept = m - softplus(-load_first(gates, of_f, count))
            m = larger(kept, i)  # (3)
            store_first(stabilisers, b * N + n, count, m)
            store_first(gates, of_i, count, exp(larger(i - m, lowest)))  # (4)
            store_first(gates, of_f, count, exp(larger(kept - m, lowest)))  # (4)
            store_first(floors, b * N + n, count, exp(larger(smaller(-m, splat(MAX_EXPONENT)), lowest)))
        for n in range(N):
            at, of_h, of_f = b * P + n * K, b * H + n * K, (2 * b + 1) * N + n
            scale(projected, at + H, K, per_root * gates[2 * b * N + n])
            for value in range(0, K, LANES):
                store_first(values, value, K - value, load_first(projected, at + 2 * H + value, K - value))
            values[K] = np.float32(1)
            remember(
                S, (b * N + n) * K * V, K, V, gates, of_f, 1, projected, at + H, values, 0, projected, at, values, 0
            )  # (5)
            scale(values, 0, K, np.float32(1) / max(abs(values[K]), floors[b * N + n]))  # (6)
            group_norm(values, 0, K, weights[4] + 4 * n * K, weights[5] + 4 * n * K)
            for value in range(0, K, LANES):
                count = K - value
                open_share = sigmoid(load_first(projected, at + 3 * H + value, count))
                store_first(reads, of_h + value, count, open_share * load_first(values, value, count))
    apply(floats(weights[6]), 0, weights[7], H, H, reads, 0, H, B, floats(y), 0, H, False)  # (7)
