"""One step of `ret_net` for a small batch. Equation numbers refer to `arch/ret_net.py`."""

from __future__ import annotations

import math

import numpy as np

from arch.kernels.cells.matrix_memory import read, write_rotated
from arch.kernels.runtime.jit import kernel
from arch.kernels.simd.matvec import apply, floats
from arch.kernels.simd.vector import LANES, load_first, store_first
from arch.kernels.streaming.heads.parts import gate, group_norm, scale
from arch.kernels.streaming.record import LAYER_SIGNATURE, parts_of


@kernel(LAYER_SIGNATURE)
def step(record, x, y, workspace, B):  # type: ignore[no-untyped-def]
    """Write the output of one step and update the memory in place."""
    sizes, weights, state = parts_of(record)
    D, H, N, C = sizes[0], sizes[1], sizes[2], sizes[3]
    K, V, P = H // N, C // N, 2 * H + 2 * C
    S, projected, reads = floats(state[0]), floats(workspace), floats(workspace + 4 * B * P)
    gammas, rotation = floats(weights[4]), floats(weights[5])
    apply(floats(weights[0]), 0, 0, P, D, floats(x), 0, D, B, projected, 0, P, False)  # (1)
    for b in range(B):
        scale(projected, b * P + H, H, np.float32(1) / np.float32(math.sqrt(K)))
        for n in range(N):
            of_q, of_v, of_y = b * P + n * K, b * P + 2 * H + n * V, b * C + n * V
            for value in range(0, V, LANES):
                count, at = V - value, (b * N + n) * K * V + value
                v = load_first(projected, of_v + value, count)
                write_rotated(S, at, V, count, gammas[n], rotation, projected, of_q + H, v, K)  # (2)
                store_first(reads, of_y + value, count, read(S, at, V, count, projected, of_q, K))  # (3)
            group_norm(reads, of_y, V, weights[2] + 4 * n * V, weights[3] + 4 * n * V)
        gate(reads, b * C, projected, b * P + 2 * H + C, C)
    apply(floats(weights[1]), 0, 0, H, C, reads, 0, C, B, floats(y), 0, H, False)  # (4)
