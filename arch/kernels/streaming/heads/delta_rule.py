"""One step of `delta_net` and `gated_delta_net` for a small batch.

Equation numbers refer to `arch/core/memory/delta_rule.py`, or to `arch/gated_delta_net.py` if they start with G.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from arch.kernels.cells.matrix_memory import read, write
from arch.kernels.cells.short_convolution import scale_to_unit
from arch.kernels.runtime.jit import kernel
from arch.kernels.simd.activation import SIGMOID_SATURATES, exp, sigmoid, silu, softplus
from arch.kernels.simd.matvec import apply, floats
from arch.kernels.simd.vector import LANES, fma, larger, load_first, smaller, splat, store_first
from arch.kernels.streaming.heads.parts import gate, rms_norm
from arch.kernels.streaming.record import LAYER_SIGNATURE, parts_of
from arch.kernels.streaming.short_convolution_step import convolve


@njit
def unit(x, at, K):  # type: ignore[no-untyped-def]
    """Scale K numbers to norm 1: equation (2)."""
    squares = splat(0.0)
    for k in range(0, K, LANES):
        numbers = load_first(x, at + k, K - k)
        squares = fma(numbers, numbers, squares)
    scale = splat(scale_to_unit(squares))
    for k in range(0, K, LANES):
        store_first(x, at + k, K - k, load_first(x, at + k, K - k) * scale)


@njit(forceinline=True)
def decay_of(a, at, decays, k, count):  # type: ignore[no-untyped-def]
    """Return the decay of LANES keys from key `k` on: ones if `decays` is 0, the same number if it is 1."""
    if decays == 0:
        return splat(1.0)
    return splat(a[at]) if decays == 1 else load_first(a, at + k, count)


@njit
def replace(S, at, K, a, a_at, decays, k, k_at, v, v_at, beta, keys):  # type: ignore[no-untyped-def]
    """Set S = (I - β k kᵀ) diag(a) S + β k vᵀ for the memory of one head.

    Args:
        S, at, K: Array and offset of the memory (K, K), and its width.
        a, a_at, decays: Array and offset of the decay, and its length: K, 1 or 0.
        k, k_at, v, v_at: Arrays and offsets of key and value.
        beta: Strength of the write.
        keys: Array that serves as workspace for K numbers.
    """
    for key in range(0, K, LANES):
        count = K - key
        store_first(keys, key, count, load_first(k, k_at + key, count) * decay_of(a, a_at, decays, key, count))
    for value in range(0, K, LANES):
        count = K - value
        change = load_first(v, v_at + value, count) - read(S, at + value, K, count, keys, 0, K)
        write(S, at + value, K, count, a, a_at, decays, k, k_at, splat(beta) * change, K)


@njit
def _project_decays(weights, x, decays, narrow, D, A, N, K, B):  # type: ignore[no-untyped-def]
    """Write α (B, A) of (G1) to `decays`. `narrow` is workspace for B · K numbers."""
    numbers, depth = x, D
    if weights[9] != 0:
        apply(floats(weights[9]), 0, 0, K, D, x, 0, D, B, narrow, 0, K, False)
        numbers, depth = narrow, K
    apply(floats(weights[5]), 0, weights[6], A, depth, numbers, 0, depth, B, decays, 0, A, False)
    logs, each = floats(weights[7]), A // N
    for b in range(B):
        for n in range(N):
            rate = exp(smaller(splat(logs[n]), splat(SIGMOID_SATURATES)))
            for k in range(0, each, LANES):
                at, count = b * A + n * each + k, each - k
                exponent = rate * softplus(load_first(decays, at, count))
                store_first(decays, at, count, exp(larger(-exponent, splat(-SIGMOID_SATURATES))))  # (G1a), (G1b)


@njit
def _activate(c, count_all):  # type: ignore[no-untyped-def]
    """Replace the first `count_all` numbers by their SiLU."""
    for at in range(0, count_all, LANES):
        store_first(c, at, count_all - at, silu(load_first(c, at, count_all - at)))


@kernel(LAYER_SIGNATURE)
def step(record, x, y, workspace, B):  # type: ignore[no-untyped-def]
    """Write the output of one step, and update the memory and the last inputs in place."""
    sizes, weights, state = parts_of(record)
    D, H, N, n, largest, A = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]
    K, C, M, S = H // N, (1 + 2 * n) * H, n * N, floats(state[0])
    c, betas, alphas = floats(workspace), floats(workspace + 4 * B * C), floats(workspace + 4 * B * (C + M))
    keys, gates = floats(workspace + 4 * B * (C + M + A)), floats(workspace + 4 * B * (C + M + A + K))
    reads = floats(workspace + 4 * B * (C + M + A + K + H))
    apply(floats(weights[0]), 0, 0, C, D, floats(x), 0, D, B, c, 0, C, False)
    if weights[1] != 0:
        convolve(c, C, C, weights[1], 0, state[1], B, True)  # (1)
    else:
        _activate(c, B * C)  # (1)
    apply(floats(weights[2]), 0, 0, M, D, floats(x), 0, D, B, betas, 0, M, False)
    for at in range(0, B * M, LANES):
        store_first(
            betas, at, B * M - at, splat(np.float32(largest)) * sigmoid(load_first(betas, at, B * M - at))
        )  # (3)
    if A != 0:
        _project_decays(weights, floats(x), alphas, keys, D, A, N, K, B)
        apply(floats(weights[8]), 0, 0, H, D, floats(x), 0, D, B, gates, 0, H, False)
    for b in range(B):
        for head in range(N):
            of_q, memory = b * C + head * K, (b * N + head) * K * K
            decays = A // N
            unit(c, of_q, K)  # (2)
            for j in range(n):
                of_k = of_q + (1 + j) * H
                unit(c, of_k, K)  # (2)
                beta = betas[b * M + j * N + head]
                acting = decays if j == 0 else 0  # a token decays the memory once (G2a)
                replace(S, memory, K, alphas, b * A + head * decays, acting, c, of_k, c, of_k + n * H, beta, keys)
            for value in range(0, K, LANES):
                total = read(S, memory + value, K, K - value, c, of_q, K)
                store_first(reads, b * H + head * K + value, K - value, total)
            rms_norm(reads, b * H + head * K, K, weights[3])
        if A != 0 and weights[9] == 0:
            gate(reads, b * H, gates, b * H, H)  # (G3), (G4)
        elif A != 0:
            for at in range(b * H, (b + 1) * H, LANES):
                count = (b + 1) * H - at
                store_first(reads, at, count, load_first(reads, at, count) * sigmoid(load_first(gates, at, count)))
    apply(floats(weights[4]), 0, 0, H, H, reads, 0, H, B, floats(y), 0, H, False)
