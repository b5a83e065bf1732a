"""One step of `gla` for a small batch. Equation numbers refer to `arch/gla.py`."""

from __future__ import annotations

import math

import numpy as np

from arch.kernels.runtime.jit import kernel
from arch.kernels.simd.activation import SIGMOID_SATURATES, exp, softplus
from arch.kernels.simd.matvec import apply, floats
from arch.kernels.simd.vector import LANES, larger, load_first, splat, store_first
from arch.kernels.streaming.heads.parts import gate, remember, rms_norm, scale
from arch.kernels.streaming.record import LAYER_SIGNATURE, parts_of

EXPONENT = np.float32(1 / 16)
"""The exponent of equation (2)."""


@kernel(LAYER_SIGNATURE)
def step(record, x, y, workspace, B):  # type: ignore[no-untyped-def]
    """Write the output of one step and update the memory in place."""
    sizes, weights, state = parts_of(record)
    D, H, N, R, S = sizes[0], sizes[1], sizes[2], sizes[3], floats(state[0])
    G, P = H // 2, 3 * H + R
    K, V = G // N, H // N
    projected, decays = floats(workspace), floats(workspace + 4 * B * P)
    reads = floats(workspace + 4 * B * (P + G))
    apply(floats(weights[0]), 0, 0, P, D, floats(x), 0, D, B, projected, 0, P, False)  # (1)
    apply(floats(weights[3]), 0, weights[4], G, R, projected, 3 * H, P, B, decays, 0, G, False)
    for at in range(0, B * G, LANES):
        total = -softplus(-load_first(decays, at, B * G - at)) * splat(EXPONENT)
        store_first(decays, at, B * G - at, exp(larger(total, splat(-SIGMOID_SATURATES))))  # (2)
    for b in range(B):
        scale(projected, b * P, G, np.float32(1) / np.float32(math.sqrt(K)))
        for n in range(N):
            of_q, of_v, of_y, at = b * P + n * K, b * P + H + n * V, b * H + n * V, (b * N + n) * K * V
            remember(
                S,
                at,
                K,
                V,
                decays,
                b * G + n * K,
                K,
                projected,
                of_q + G,
                projected,
                of_v,
                projected,
                of_q,
                reads,
                of_y,
            )  # (3), (4)
            rms_norm(reads, of_y, V, weights[2])
        gate(reads, b * H, projected, b * P + 2 * H, H)
    apply(floats(weights[1]), 0, 0, H, H, reads, 0, H, B, floats(y), 0, H, False)  # (5)
