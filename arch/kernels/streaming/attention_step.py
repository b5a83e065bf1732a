"""Attention of one query over the cached steps of a head: equation (3) of `arch/transformer.py`.

Keys and values are read once, in chunks, so that reads and arithmetic overlap. Each weight is e^(logit - reference).
The reference is an earlier logit. If a logit lies more than MARGIN above it, the highest logit of that block becomes
the reference, and the sums so far are scaled (Milakov & Gimelshein 2018, "Online normalizer calculation for softmax").
With such a margin this is rare, so no block waits for its own highest logit.
Weights up to e^MARGIN are as exact as others, and their sum stays far below the largest float32 number.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from arch.kernels.simd.activation import MIN_EXPONENT, exp
from arch.kernels.simd.matvec import floats, row_sums
from arch.kernels.simd.reduction import lane_max, lane_sum
from arch.kernels.simd.row_blocks import add_weighted_rows, fixed_row_sums, no_sums, scale_sums, store_sums
from arch.kernels.simd.vector import (
    LANES,
    any_above,
    first_or,
    fma,
    larger,
    load,
    load_first,
    ramp,
    splat,
    store,
    store_first,
)

MARGIN = 30.0
"""How far a logit may lie above the reference."""
CHUNK = 8 * LANES
"""Steps whose weights are computed before their values are summed: so many that no weight is read back at once."""


@njit(forceinline=True)
def _biased(sums, scale, slope, step):  # type: ignore[no-untyped-def]
    """Return the logits of LANES steps.

    Args:
        sums: Products of the query with the keys.
        scale: 1 / √K.
        slope: ALiBi slope of the head, or 0 for no bias.
        step: The first of the steps, relative to that of the query. It is not positive.
    """
    logits = sums * splat(scale)
    if slope != 0:
        logits = fma(splat(slope), ramp() + splat(np.float32(step)), logits)
    return logits


@njit(forceinline=True)
def _weights(logits, reference):  # type: ignore[no-untyped-def]
    """Return e^(logit - reference) of LANES logits."""
    return exp(larger(logits - splat(reference), splat(MIN_EXPONENT)))


def _attend_whole(vectors: int) -> Any:
    """Return the function `attend` for heads of `vectors` whole vectors, and for at least LANES steps."""
    sums_of_rows, zeros, add_rows = fixed_row_sums(vectors), no_sums(vectors), add_weighted_rows(vectors)
    scaled, write, K = scale_sums(vectors), store_sums(vectors), vectors * LANES

    @njit(forceinline=True)
    def attend_whole(query, keys, values, S, slope, workspace, result):  # type: ignore[no-untyped-def]
        q, key_rows, value_rows, scale = floats(query), floats(keys), floats(values), np.float32(1 / math.sqrt(K))
        # The block that ends with the query's step comes first. Steps that other blocks read as well have no weight.
        numbers, part, last = floats(workspace), S % LANES, S - LANES
        logits = _biased(sums_of_rows(key_rows, last * K, q, 0), scale, slope, 1 - LANES)
        reference = lane_max(logits)
        total = _weights(logits, reference)
        if part > 0:
            total = first_or(splat(0.0), LANES - part, total)
        store(numbers, 0, total)
        sums = add_rows(zeros(), numbers, 0, value_rows, last * K)
        others = S - (part if part > 0 else LANES)
        for first in range(0, others, CHUNK):
            count = min(others - first, CHUNK)
            for s in range(0, count, LANES):
                logits = _biased(sums_of_rows(key_rows, (first + s) * K, q, 0), scale, slope, first + s + 1 - S)
                if any_above(logits, reference + np.float32(MARGIN)):
                    top = lane_max(logits)
                    factor = _weights(splat(reference), top)
                    for before in range(0, s, LANES):
                        store(numbers, before, load(numbers, before) * factor)
                    reference, total, sums = top, total * factor, scaled(sums, factor)
                weights = _weights(logits, reference)
                total += weights
                store(numbers, s, weights)
            for s in range(0, count, LANES):
                sums = add_rows(sums, numbers, s, value_rows, (first + s) * K)
        write(floats(result), 0, scaled(sums, splat(np.float32(1) / lane_sum(total))))

    return attend_whole


_attend_whole_1, _attend_whole_2, _attend_whole_4, _attend_whole_8 = map(_attend_whole, (1, 2, 4, 8))


@njit
def _attend_any(query, keys, values, S, K, slope, workspace, result):  # type: ignore[no-untyped-def]
    """Do what `attend` does, for heads of any width and any number of steps. The sums are in memory."""
    q, key_rows, value_rows, scale = floats(query), floats(keys), floats(values), np.float32(1 / math.sqrt(K))
    numbers, sums, total, reference = floats(workspace), floats(result), splat(0.0), np.float32(-math.inf)
    for k in range(0, K, LANES):
        store_first(sums, k, K - k, splat(0.0))
    for s in range(0, S, LANES):
        count = min(S - s, LANES)
        logits = _biased(row_sums(key_rows, s * K, count, q, 0, K), scale, slope, s + 1 - S)
        logits = first_or(logits, count, splat(-math.inf))
        if any_above(logits, reference + np.float32(MARGIN)):
            top = lane_max(logits)
            factor = _weights(splat(reference), top)
            reference, total = top, total * factor
            for k in range(0, K, LANES):
                store_first(sums, k, K - k, load_first(sums, k, K - k) * factor)
        weights = first_or(_weights(logits, reference), count, splat(0.0))
        total += weights
        store(numbers, 0, weights)
        for k in range(0, K, LANES):
            sum_ = load_first(sums, k, K - k)
            for row in range(count):
                sum_ = fma(splat(numbers[row]), load_first(value_rows, (s + row) * K + k, K - k), sum_)
            store_first(sums, k, K - k, sum_)
    factor = splat(np.float32(1) / lane_sum(total))
    for k in range(0, K, LANES):
        store_first(sums, k, K - k, load_first(sums, k, K - k) * factor)


@njit
def attend(query, keys, values, S, K, slope, workspace, result):  # type: ignore[no-untyped-def]
    """Write equation (3) for one query of one head.

    Args:
        query: Address of the query, float32 numbers, (K,).
        keys, values: Addresses of the keys and values to read, float32 numbers, (S, K).
        S: Number of steps to read, at least 1. The query belongs to the last of these steps.
        K: Head width.
        slope: ALiBi slope of the head, or 0 for no bias.
        workspace: Address of room for CHUNK float32 numbers.
        result: Address of the result, float32 numbers, (K,).
    """
    if S < LANES:
        _attend_any(query, keys, values, S, K, slope, workspace, result)
    elif K == LANES:
        _attend_whole_1(query, keys, values, S, slope, workspace, result)
    elif K == 2 * LANES:
        _attend_whole_2(query, keys, values, S, slope, workspace, result)
    elif K == 4 * LANES:
        _attend_whole_4(query, keys, values, S, slope, workspace, result)
    elif K == 8 * LANES:
        _attend_whole_8(query, keys, values, S, slope, workspace, result)
    else:
        _attend_any(query, keys, values, S, K, slope, workspace, result)
