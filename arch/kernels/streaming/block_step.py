"""One step of a `transformer` block for a small batch.

Equation numbers refer to `arch/transformer.py`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from arch.kernels.runtime.native import address_of
from arch.kernels.simd.activation import gelu
from arch.kernels.simd.matvec import apply, floats
from arch.kernels.simd.panels import apply_packed, pack_changed, packed_bytes
from arch.kernels.simd.reduction import lane_sum
from arch.kernels.simd.vector import LANES, first_or, fma, load, load_first, splat, store, store_first, swap_pairs
from arch.kernels.streaming.attention_step import attend
from arch.kernels.streaming.position_step import add_learned, add_sinusoids, rotary_factors
from arch.kernels.streaming.record import MAX_WEIGHTS
from arch.kernels.streaming.recurrent_step import copy
from arch.kernels.training.layer_norm import EPSILON

NO_POSITIONS, ROTARY, LEARNED, SINUSOIDAL = 0, 1, 2, 3
"""Kinds of position."""
POSITIONS = MAX_WEIGHTS
"""Index of the address of the positions, right after the addresses of the weights."""
OF_QKV, OF_O, OF_1, OF_2 = 2, 4, 8, 10
"""Indices of the addresses of the matrices, among the addresses of the weights. They are packed in this order."""


@njit
def normalise(y, gain, offset, D, B, result):  # type: ignore[no-untyped-def]
    """Write the layer norm of each row of `y` to `result`.

    Args:
        y: Array of the rows, float32 numbers, (B, D).
        gain, offset: Addresses of the norm's weights, float32 numbers, (D,).
        D, B: Model width and batch size.
        result: Array of the result, float32 numbers, (B, D).
    """
    gains, offsets, whole = floats(gain), floats(offset), D & -LANES
    part, per_number = D - whole, np.float32(1) / np.float32(D)
    for b in range(0, B * D, D):
        total, squares = splat(0.0), splat(0.0)
        for d in range(0, whole, LANES):
            total += load(y, b + d)
        if part > 0:
            total += load_first(y, b + whole, part)
        mean = splat(lane_sum(total) * per_number)
        for d in range(0, whole, LANES):
            apart = load(y, b + d) - mean
            squares = fma(apart, apart, squares)
        if part > 0:
            apart = first_or(load_first(y, b + whole, part) - mean, part, splat(0.0))
            squares = fma(apart, apart, squares)
        scale = splat(np.float32(1) / math.sqrt(lane_sum(squares) * per_number + np.float32(EPSILON)))
        for d in range(0, whole, LANES):
            store(result, b + d, fma((load(y, b + d) - mean) * scale, load(gains, d), load(offsets, d)))
        if part > 0:
            normal = (load_first(y, b + whole, part) - mean) * scale
            normal = fma(normal, load_first(gains, whole, part), load_first(offsets, whole, part))
            store_first(result, b + whole, part, normal)


@njit(forceinline=True)
def _rotate(numbers, at, rotary, K):  # type: ignore[no-untyped-def]
    """Rotate K / 2 pairs of adjacent numbers in place, from offset `at` on, by `position_step.rotary_factors`."""
    for k in range(0, K, LANES):
        pairs = load_first(numbers, at + k, K - k)
        turned = swap_pairs(pairs) * load_first(rotary, K + k, K - k)
        store_first(numbers, at + k, K - k, fma(pairs, load_first(rotary, k, K - k), turned))


@njit
def _multiply(matrix, bias, rows, depth, packed, numbers, B, result, adds):  # type: ignore[no-untyped-def]
    """Write the product of a matrix with B vectors, plus its bias, from packed weights if there are any.

    Returns the address behind the packed weights of this matrix, or 0 if there are none.

    Args:
        matrix, bias: Addresses of the matrix (rows, depth) and of the bias (rows,), or 0 for no bias.
        rows, depth: Shape of the matrix.
        packed: Address of the packed matrix, or 0.
        numbers: Address of the vectors, (B, depth).
        B: Number of vectors.
        result: Address of the results, (B, rows).
        adds: Whether to add to the results.
    """
    if packed == 0:
        apply(floats(matrix), 0, bias, rows, depth, floats(numbers), 0, depth, B, floats(result), 0, rows, adds)
        return 0
    apply_packed(packed, bias, rows, depth, numbers, B, result, rows, adds)
    return packed + packed_bytes(rows, depth)


@njit
def pack_block(sizes, weights, copied, packed):  # type: ignore[no-untyped-def]
    """Pack each matrix of a block, unless it equals the one that was packed last.

    Args:
        sizes, weights: As for `block_step`.
        copied: Address of the matrices that were packed last, one after the other.
        packed: Address of the packed matrices, one after the other.
    """
    D, E = sizes[0], sizes[2]
    for place, rows, depth in ((OF_QKV, 3 * D, D), (OF_O, D, D), (OF_1, E, D), (OF_2, D, E)):
        pack_changed(weights[place], rows, depth, copied, packed)
        copied += 4 * rows * depth
        packed += packed_bytes(rows, depth)


@njit
def drop_unread_steps(cache, rows, K, window):  # type: ignore[no-untyped-def]
    """Move the last window - 1 steps to the first slots of a full cache, so that it has room for further steps.

    Args:
        cache: As for `block_step`. The number of cached steps is updated. There are at least `window` slots.
        rows: Batch size times number of heads.
        K: Head width.
        window: Number of steps that attention reads.
    """
    slots, kept = cache[2], window - 1
    for at in range(0, 4 * rows * slots * K, 4 * slots * K):
        dropped = at + 4 * (slots - kept) * K
        copy(floats(cache[0] + dropped), kept * K, floats(cache[0] + at))
        copy(floats(cache[1] + dropped), kept * K, floats(cache[1] + at))
    cache[3] = kept


@njit
def block_step(sizes, weights, packed, cache, y, workspace, B):  # type: ignore[no-untyped-def]
    """Apply one block to the residual stream `y` in place, and write the keys and values of the step to the cache.

    If a cache with a window is full, steps that no later step reads are dropped first.

    Args:
        sizes: Model width D, number of heads N, MLP width E, kind of position, whether the bias is ALiBi, and the
            number of steps that attention reads, or 0 for all steps.
        weights: Addresses of float32 numbers: weight and bias of the attention norm, W_qkv, W_o, the norm before the
            MLP, W_1, W_2 and the final norm, in this order. The addresses of the final norm are 0 if there is none.
            Those of all norms and of the MLP are 0 if the layer is bare. `y` is then replaced by its output.
            The last word is the address of the learned positions, or of the frequencies of the other positions.
        packed: Address of the matrices that `pack_block` has packed, or 0 to read the weights in place.
        cache: Addresses of keys and of values, (B, N, slots, D / N); number of slots; number of cached steps; position
            of the step.
        y: Array of the residual stream, float32 numbers, (B, D).
        workspace: Address of room for B · (5D + E) + 2D / N + CHUNK float32 numbers.
        B: Batch size.
    """
    D, N, E, positions, slopes = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4] != 0
    window = sizes[5]
    if window != 0 and cache[3] == cache[2]:
        drop_unread_steps(cache, B * sizes[1], sizes[0] // sizes[1], window)
    slots, length, position = cache[2], cache[3], cache[4]
    first = max(0, length + 1 - window) if window != 0 else 0
    K, S, stream = D // N, length + 1 - first, address_of(y)
    normal_at, qkv_at, wide_at = workspace, workspace + 4 * B * D, workspace + 16 * B * D
    attended_at = workspace + 4 * B * (4 * D + E)
    rotary_at = attended_at + 4 * B * D
    numbers_at = rotary_at + 8 * K
    normal, qkv, wide, rotary = floats(normal_at), floats(qkv_at), floats(wide_at), floats(rotary_at)
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
    packed = _multiply(weights[OF_QKV], weights[3], 3 * D, D, packed, normal_at, B, qkv_at, False)
    for b in range(B):
        for n in range(N):
            q_at = b * 3 * D + n * K
            if positions == ROTARY:
                _rotate(qkv, q_at, rotary, K)
                _rotate(qkv, q_at + D, rotary, K)
            start = 4 * (b * N + n) * slots * K
            keys, values = cache[0] + start, cache[1] + start
            key, value = floats(keys + 4 * length * K), floats(values + 4 * length * K)
            for k in range(0, K, LANES):
                store_first(key, k, K - k, load_first(qkv, q_at + D + k, K - k))
                store_first(value, k, K - k, load_first(qkv, q_at + 2 * D + k, K - k))
            slope = np.float32(2.0 ** (-8 * (n + 1) / N)) if slopes else np.float32(0)
            skipped, result = 4 * first * K, attended_at + 4 * (b * D + n * K)
            attend(qkv_at + 4 * q_at, keys + skipped, values + skipped, S, K, slope, numbers_at, result)
    packed = _multiply(weights[OF_O], weights[5], D, D, packed, attended_at, B, stream, not is_bare)  # (1)
    if is_bare:
        return
    normalise(y, weights[6], weights[7], D, B, normal)
    packed = _multiply(weights[OF_1], weights[9], E, D, packed, normal_at, B, wide_at, False)
    for at in range(0, B * E, LANES):
        store_first(wide, at, B * E - at, gelu(load_first(wide, at, B * E - at)))
    _multiply(weights[OF_2], weights[11], D, E, packed, wide_at, B, stream, True)  # (2)
    if weights[12] != 0:
        normalise(y, weights[12], weights[13], D, B, normal)
        copy(normal, B * D, y)
