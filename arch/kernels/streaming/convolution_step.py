"""One step of two dilated causal convolutions for a small batch.

Equation numbers refer to `arch/tcn.py`. All arrays are float32. The filters are read in place. With weight norm, the
lengths |V| are computed at each step, so the weights are always current.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from arch.kernels.runtime.jit import kernel
from arch.kernels.simd.matvec import apply, floats
from arch.kernels.simd.reduction import lane_sum
from arch.kernels.simd.vector import LANES, fma, larger, load_first, splat, store_first
from arch.kernels.streaming.record import LAYER_SIGNATURE, parts_of
from arch.kernels.streaming.recurrent_step import bias_of


@njit
def gather(x, D, past, oldest, K, apart, B, taps):  # type: ignore[no-untyped-def]
    """Write the inputs that a convolution reads to `taps`, oldest first, and put the newest into the ring buffer.

    Args:
        x: Array of the inputs of this step, (B, D).
        D: Input width of the convolution.
        past: Array of the ring buffer, (B, N, D), with N = (K - 1) · apart slots. It is updated in place.
        oldest: Slot of the oldest input.
        K, apart: Number of taps, and their distance in steps.
        B: Batch size.
        taps: Array that receives the inputs, (B, K, D).
    """
    slots = (K - 1) * apart
    for b in range(B):
        for tap in range(K - 1):
            slot = oldest + tap * apart
            slot -= slots if slot >= slots else 0
            for d in range(0, D, LANES):
                remembered = load_first(past, (b * slots + slot) * D + d, D - d)
                store_first(taps, (b * K + tap) * D + d, D - d, remembered)
        for d in range(0, D, LANES):
            now = load_first(x, b * D + d, D - d)
            store_first(taps, (b * K + K - 1) * D + d, D - d, now)
            store_first(past, (b * slots + oldest) * D + d, D - d, now)


@njit
def convolve(V, gain, bias, taps, depth, H, B, result, scales):  # type: ignore[no-untyped-def]
    """Write relu(b + Σ_k W_k x_k) to `result`: equation (1) or (2), with W of (4).

    Args:
        V: Address of the filters, (H, depth).
        gain: Address of g, (H,), or 0 for no weight norm.
        bias: Address of b, (H,).
        taps: Array of the inputs that the convolution reads, (B, depth).
        depth: Numbers per filter: taps times input width.
        H, B: Number of filters, and batch size.
        result: Array of the result, (B, H).
        scales: Array that serves as workspace for H numbers.
    """
    filters, gains = floats(V), floats(gain)
    if gain != 0:
        for row in range(H):
            even, odd = splat(0.0), splat(0.0)  # two sums, so that an addition need not wait for the last one
            for at in range(0, depth, 2 * LANES):
                one = load_first(filters, row * depth + at, depth - at)
                other = load_first(filters, row * depth + at + LANES, depth - at - LANES)
                even, odd = fma(one, one, even), fma(other, other, odd)
            scales[row] = gains[row] / np.float32(math.sqrt(lane_sum(even + odd)))
    apply(filters, 0, 0, H, depth, taps, 0, depth, B, result, 0, H, False)
    for b in range(B):
        for unit in range(0, H, LANES):
            count, total = H - unit, load_first(result, b * H + unit, H - unit)
            if gain != 0:
                total = total * load_first(scales, unit, count)  # (4)
            total += bias_of(bias, unit, count)
            store_first(result, b * H + unit, count, larger(total, splat(0.0)))


@kernel(LAYER_SIGNATURE)
def convolution_step(record, x_at, y_at, workspace, B):  # type: ignore[no-untyped-def]
    """Run one step of a layer of `arch/tcn.py`. The arguments are those of `LAYER_SIGNATURE`.

    The sizes are D, H, K and the distance of the taps. The weights are V, g and b of (1), those of (2), P and p. The
    words of the state are the addresses of the ring buffers of x and u, and the slot of their oldest inputs.
    """
    sizes, weights, state = parts_of(record)
    D, H, K, apart = sizes[0], sizes[1], sizes[2], sizes[3]
    x, y, oldest = floats(x_at), floats(y_at), state[2]
    taps, u = floats(workspace), floats(workspace + 4 * B * K * max(D, H))
    v, scales = floats(workspace + 4 * B * (K * max(D, H) + H)), floats(workspace + 4 * B * (K * max(D, H) + 2 * H))
    gather(x, D, floats(state[0]), oldest, K, apart, B, taps)
    convolve(weights[0], weights[1], weights[2], taps, K * D, H, B, u, scales)  # (1)
    gather(u, H, floats(state[1]), oldest, K, apart, B, taps)
    convolve(weights[3], weights[4], weights[5], taps, K * H, H, B, v, scales)  # (2)
    if weights[6] != 0:
        apply(floats(weights[6]), 0, weights[7], H, D, x, 0, D, B, y, 0, H, False)
    shortcut = y if weights[6] != 0 else x
    for at in range(0, B * H, LANES):
        total = load_first(shortcut, at, B * H - at) + load_first(v, at, B * H - at)
        store_first(y, at, B * H - at, larger(total, splat(0.0)))  # (3)
    state[2] = (oldest + 1) % ((K - 1) * apart)
