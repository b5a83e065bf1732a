"""One step of a `transformer` block for a small batch.

Equation numbers refer to `arch/transformer.py`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from arch.kernels.simd.activation import exp
from arch.kernels.simd.matvec import apply, floats
from arch.kernels.simd.vector import LANES, fma, lane_max, lane_sum, larger, load_first, ramp, splat, store_first
from arch.kernels.streaming.position_step import add_learned, add_sinusoids, rotary_factors
from arch.kernels.streaming.recurrent_step import copy
from arch.kernels.training.gelu import MIN_EXPONENT, gelu
from arch.kernels.training.layer_norm import EPSILON

NO_POSITIONS, ROTARY, LEARNED, SINUSOIDAL = 0, 1, 2, 3
"""Kinds of position."""
POSITIONS = 14
"""Index of the address of the positions, among the addresses of the weights."""


@njit
def normalise(y, gain, offset, D, B, result):  # type: ignore[no-untyped-def]
    """Write the layer norm of each row of `y` to `result`.

    Args:
        y: Array of the rows, float32 numbers, (B, D).
        gain, offset: Addresses of the norm's weights, float32 numbers, (D,).
        D, B: Model width and batch size.
        result: Array of the result, float32 numbers, (B, D).
    """
    gains, offsets = floats(gain), floats(offset)
    for b in range(0, B * D, D):
        total, whole = splat(0.0), D - D % LANES
        for d in range(0, D, LANES):
            total += load_first(y, b + d, D - d)
        mean = splat(lane_sum(total) / np.float32(D))
        squares = splat(0.0)
        for d in range(0, whole, LANES):
            apart = load_first(y, b + d, D - d) - mean
            squares = fma(apart, apart, squares)
        variance = lane_sum(squares)
        for d in range(whole, D):
            variance += (y[b + d] - lane_max(mean)) ** 2
        scale = splat(np.float32(1) / math.sqrt(variance / np.float32(D) + EPSILON))
        for d in range(0, D, LANES):
            normal = (load_first(y, b + d, D - d) - mean) * scale
            store_first(result, b + d, D - d, fma(normal, load_first(gains, d, D - d), load_first(offsets, d, D - d)))


@njit
def rotate(qkv, at, rotates, pairs):  # type: ignore[no-untyped-def]
    """Rotate `pairs` pairs of adjacent numbers in `qkv` in place, from offset `at` on.

    Args:
        qkv: Flat array of queries, keys and values, float32 numbers.
        at: Offset of the first pair, in array elements.
        rotates: Array of alternating cosines and sines, float32 numbers, (2 · pairs,).
        pairs: Number of pairs.
    """
    for j in range(pairs):
        one, other = qkv[at + 2 * j], qkv[at + 2 * j + 1]
        cosine, sine = rotates[2 * j], rotates[2 * j + 1]
        qkv[at + 2 * j] = one * cosine - other * sine
        qkv[at + 2 * j + 1] = one * sine + other * cosine


@njit
def attend(q, q_at, keys, values, at, S, K, slope, weights, result, result_at):  # type: ignore[no-untyped-def]
    """Write equation (3) for one query of one head, over S steps of the cache, to `result`.

    Arrays are float32. Offsets count array elements.

    Args:
        q, q_at: Array of the queries, and the offset of the query, (K,).
        keys, values: Arrays of the cached keys and values, (S, K) from offset `at` on.
        at: Offset of the first step to read, in `keys` and `values`.
        S: Number of steps to read. The query belongs to the last of these steps.
        K: Head width.
        slope: ALiBi slope of the head, or 0 for no bias.
        weights: Array that serves as workspace for S numbers.
        result, result_at: Array of the results, and the offset of the result, (K,).
    """
    apply(keys, at, 0, S, K, q, q_at, K, 1, weights, 0, S, False)
    scale, whole = np.float32(1 / math.sqrt(K)), S - S % LANES
    highest = splat(-math.inf)
    for s in range(0, S, LANES):
        logit = load_first(weights, s, S - s) * splat(scale)
        if slope != 0:
            logit = fma(splat(slope), ramp() + splat(s + 1 - S), logit)
        store_first(weights, s, S - s, logit)
        if s < whole:
            highest = larger(highest, logit)
    top = lane_max(highest)
    for s in range(whole, S):
        top = max(top, weights[s])
    lowest, sums = splat(MIN_EXPONENT), splat(0.0)
    for s in range(0, S, LANES):
        weight = exp(larger(load_first(weights, s, S - s) - splat(top), lowest))
        store_first(weights, s, S - s, weight)
        if s < whole:
            sums += weight
    total = lane_sum(sums)
    for s in range(whole, S):
        total += weights[s]
    for k in range(0, K, LANES):
        count = K - k
        even, odd = splat(0.0), splat(0.0)
        for s in range(0, S - 1, 2):
            even = fma(splat(weights[s]), load_first(values, at + s * K + k, count), even)
            odd = fma(splat(weights[s + 1]), load_first(values, at + (s + 1) * K + k, count), odd)
        if S % 2 == 1:
            even = fma(splat(weights[S - 1]), load_first(values, at + (S - 1) * K + k, count), even)
        store_first(result, result_at + k, count, (even + odd) * splat(np.float32(1) / total))


@njit
def block_step(sizes, weights, cache, y, workspace, B):  # type: ignore[no-untyped-def]
    """Apply one block to the residual stream `y` in place, and write the keys and values of the step to the cache.

    Args:
        sizes: Model width D, number of heads N, MLP width E, kind of position, whether the bias is ALiBi, and the
            number of steps that attention reads, or 0 for all steps.
        weights: Addresses of float32 numbers: weight and bias of the attention norm, W_qkv, W_o, the norm before the
            MLP, W_1, W_2 and the final norm, in this order. The addresses of the final norm are 0 if there is none.
            Those of all norms and of the MLP are 0 if the layer is bare. `y` is then replaced by its output.
            The last word is the address of the learned positions, or of the frequencies of the other positions.
        cache: Addresses of keys and of values, (B, N, slots, D / N); number of slots; number of cached steps; position
            of the step.
        y: Array of the residual stream, float32 numbers, (B, D).
        workspace: Address of room for B · (5D + E) + D / N + S + 1 float32 numbers, where S is the number of cached
            steps.
        B: Batch size.
    """
    D, N, E, positions, slopes = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4] != 0
    keys, values = floats(cache[0]), floats(cache[1])
    slots, length, position, window = cache[2], cache[3], cache[4], sizes[5]
    first = max(0, length + 1 - window) if window != 0 else 0
    K = D // N
    normal, qkv, wide = floats(workspace), floats(workspace + 4 * B * D), floats(workspace + 16 * B * D)
    attended, rotary = floats(workspace + 4 * B * (4 * D + E)), floats(workspace + 4 * B * (5 * D + E))
    logits = floats(workspace + 4 * (B * (5 * D + E) + K))
    if positions == ROTARY:
        rotary_factors(position, weights[POSITIONS], K // 2, rotary)
    elif positions == LEARNED:
        add_learned(position, weights[POSITIONS], D, B, y)
    elif positions == SINUSOIDAL:
        add_sinusoids(position, weights[POSITIONS], D, B, y)
    is_bare = weights[0] == 0
    if is_bare:
        copy(y, B * D, normal)
    else:
        normalise(y, weights[0], weights[1], D, B, normal)
    apply(floats(weights[2]), 0, weights[3], 3 * D, D, normal, 0, D, B, qkv, 0, 3 * D, False)
    for b in range(B):
        for n in range(N):
            q_at = b * 3 * D + n * K
            if positions == ROTARY:
                rotate(qkv, q_at, rotary, K // 2)
                rotate(qkv, q_at + D, rotary, K // 2)
            start = (b * N + n) * slots * K
            new = start + length * K
            for k in range(K):
                keys[new + k], values[new + k] = qkv[q_at + D + k], qkv[q_at + 2 * D + k]
            slope = np.float32(2.0 ** (-8 * (n + 1) / N)) if slopes else np.float32(0)
            attend(
                qkv,
                q_at,
                keys,
                values,
                start + first * K,
                length + 1 - first,
                K,
                slope,
                logits,
                attended,
                b * D + n * K,
            )
    apply(floats(weights[4]), 0, weights[5], D, D, attended, 0, D, B, y, 0, D, not is_bare)  # (1)
    if is_bare:
        return
    normalise(y, weights[6], weights[7], D, B, normal)
    apply(floats(weights[8]), 0, weights[9], E, D, normal, 0, D, B, wide, 0, E, False)
    for at in range(0, B * E, LANES):
        store_first(wide, at, B * E - at, gelu(load_first(wide, at, B * E - at)))
    apply(floats(weights[10]), 0, weights[11], D, E, wide, 0, E, B, y, 0, D, True)  # (2)
    if weights[12] != 0:
        normalise(y, weights[12], weights[13], D, B, normal)
        copy(normal, B * D, y)
