"""One step of `rwkv7` for a small batch. Equation numbers refer to `arch/rwkv7.py`."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from arch.kernels.cells.matrix_memory import read, write_corrected
from arch.kernels.runtime.jit import kernel
from arch.kernels.simd.activation import exp, sigmoid, tanh
from arch.kernels.simd.matvec import apply, floats
from arch.kernels.simd.reduction import lane_sum
from arch.kernels.simd.vector import LANES, fma, load_first, splat, store_first
from arch.kernels.streaming.heads.delta_rule import unit
from arch.kernels.streaming.heads.parts import group_norm
from arch.kernels.streaming.record import LAYER_SIGNATURE, parts_of
from arch.kernels.streaming.recurrent_step import copy

SLOWEST_DECAY = np.float32(math.exp(-0.5))
"""e^(-1/2) of equation (3)."""
HEAD_EPSILON = np.float32(1e-5)
"""ε of the norm of (8), per number of a head."""


@njit
def _mixed(x, last, mu, row, D, B, result):  # type: ignore[no-untyped-def]
    """Write x_c of (1) to `result`, (B, D). `mu` is the array of μ, and `row` its row for c."""
    for b in range(B):
        for d in range(0, D, LANES):
            count, at = D - d, b * D + d
            now = load_first(x, at, count)
            change = load_first(last, at, count) - now
            store_first(result, at, count, fma(load_first(mu, row * D + d, count), change, now))  # (1)


@kernel(LAYER_SIGNATURE)
def step(record, x, y, workspace, B):  # type: ignore[no-untyped-def]
    """Write the output of one step, and update the memory and the last input in place."""
    sizes, weights, state = parts_of(record)
    D, H, N, R, G = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    K, S, given, last, mu = H // N, floats(state[0]), floats(x), floats(state[1]), floats(weights[0])
    r, k, v = floats(workspace), floats(workspace + 4 * B * H), floats(workspace + 8 * B * H)
    w, a, g = floats(workspace + 12 * B * H), floats(workspace + 16 * B * H), floats(workspace + 20 * B * H)
    reads, mixed = floats(workspace + 24 * B * H), floats(workspace + 28 * B * H)
    narrow = floats(workspace + 28 * B * H + 4 * B * D)
    kappa, removed = (
        floats(workspace + 28 * B * H + 4 * B * (D + G)),
        floats(workspace + 28 * B * H + 4 * B * (D + G + K)),
    )
    xi, alpha, rho = floats(weights[12]), floats(weights[13]), floats(weights[14])
    _mixed(given, last, mu, 0, D, B, mixed)
    apply(floats(weights[1]), 0, 0, H, D, mixed, 0, D, B, r, 0, H, False)  # (2)
    _mixed(given, last, mu, 2, D, B, mixed)
    apply(floats(weights[2]), 0, 0, H, D, mixed, 0, D, B, k, 0, H, False)  # (2)
    _mixed(given, last, mu, 3, D, B, mixed)
    apply(floats(weights[3]), 0, 0, H, D, mixed, 0, D, B, v, 0, H, False)  # (2)
    _mixed(given, last, mu, 1, D, B, mixed)
    apply(floats(weights[4]), 0, 0, R, D, mixed, 0, D, B, narrow, 0, R, False)
    for at in range(0, B * R, LANES):
        store_first(narrow, at, B * R - at, tanh(load_first(narrow, at, B * R - at)))
    apply(floats(weights[5]), 0, weights[6], H, R, narrow, 0, R, B, w, 0, H, False)
    _mixed(given, last, mu, 4, D, B, mixed)
    apply(floats(weights[7]), 0, 0, R, D, mixed, 0, D, B, narrow, 0, R, False)
    apply(floats(weights[8]), 0, weights[9], H, R, narrow, 0, R, B, a, 0, H, False)
    _mixed(given, last, mu, 5, D, B, mixed)
    apply(floats(weights[10]), 0, 0, G, D, mixed, 0, D, B, narrow, 0, G, False)
    for at in range(0, B * G, LANES):
        store_first(narrow, at, B * G - at, sigmoid(load_first(narrow, at, B * G - at)))
    apply(floats(weights[11]), 0, 0, H, G, narrow, 0, G, B, g, 0, H, False)  # (5)
    copy(given, B * D, last)
    for at in range(0, B * H, LANES):
        count = B * H - at
        store_first(w, at, count, exp(-splat(SLOWEST_DECAY) * sigmoid(load_first(w, at, count))))  # (3)
        store_first(a, at, count, sigmoid(load_first(a, at, count)))  # (4)
    for b in range(B):
        for head in range(N):
            unit_at, at, memory = head * K, b * H + head * K, (b * N + head) * K * K
            for key in range(0, K, LANES):
                count = K - key
                store_first(kappa, key, count, load_first(xi, unit_at + key, count) * load_first(k, at + key, count))
            unit(kappa, 0, K)  # (6)
            bonus = splat(0.0)
            for key in range(0, K, LANES):
                count, place = K - key, at + key
                rate, factor = load_first(a, place, count), load_first(alpha, unit_at + key, count)
                store_first(removed, key, count, -(rate * load_first(kappa, key, count)))
                replacement = load_first(k, place, count) * fma(factor, rate - splat(1.0), splat(1.0))  # (6)
                store_first(k, place, count, replacement)
                weighted = load_first(rho, unit_at + key, count) * load_first(r, place, count)
                bonus = fma(weighted, replacement, bonus)
            for value in range(0, K, LANES):
                count, place = K - value, memory + value
                given_value = load_first(v, at + value, count)
                seen = read(S, place, K, count, kappa, 0, K)
                write_corrected(S, place, K, count, w, at, K, removed, 0, seen, k, at, given_value, K)  # (7)
                store_first(reads, at + value, count, read(S, place, K, count, r, at, K))
            group_norm(reads, at, K, weights[15] + 4 * unit_at, weights[16] + 4 * unit_at, np.float32(K) * HEAD_EPSILON)
            extra = splat(lane_sum(bonus))
            for value in range(0, K, LANES):
                count, place = K - value, at + value
                h = fma(extra, load_first(v, place, count), load_first(reads, place, count))  # (8)
                store_first(reads, place, count, load_first(g, place, count) * h)
    apply(floats(weights[17]), 0, 0, H, H, reads, 0, H, B, floats(y), 0, H, False)  # (9)
