"""One step of an `s4d` layer for a small batch: rotation and decay of the states, then the gated linear map.

Equation numbers refer to `arch/s4d.py`. All arrays are float32.

a and 2 C b take longer to compute than a step. So the layer keeps them, with a copy of the weights from which they were
computed. They are computed again if a weight has changed since.
"""

from __future__ import annotations

import math

from numba import njit

from arch.kernels.cells.state_space import rotated, zero_order_hold
from arch.kernels.runtime.jit import kernel
from arch.kernels.simd.activation import gelu, sigmoid
from arch.kernels.simd.matvec import apply, floats
from arch.kernels.simd.panels import is_equal
from arch.kernels.simd.vector import LANES, fma, load_first, store_first
from arch.kernels.streaming.record import LAYER_SIGNATURE, parts_of
from arch.kernels.streaming.recurrent_step import copy

STEP_LOG, A_LOG, A_IMAG, C, SKIP, W, BIAS = range(7)
"""Indices of the addresses of the weights, which have the names and shapes of `S4D`."""
REAL, IMAG, DISCRETISED = 0, 1, 2
"""Indices of the addresses of the parts of the state, and of what the layer keeps."""


def discretised_numbers(N: int, H: int) -> int:
    """Return how many numbers a layer of N stored states and H channels keeps: a and 2 C b, then the copied weights."""
    return 4 * N * H + 4 * N * H + H


@njit
def _discretise(N, H, weights, kept_at):  # type: ignore[no-untyped-def]
    """Write a of (1) and 2 C b of (3), each (2, N, H), to the address `kept_at`, unless the weights are unchanged.

    Args:
        N, H: Number of stored states per channel, and of channels.
        weights: Addresses of the weights.
        kept_at: Address of what the layer keeps.
    """
    NH = N * H
    copied = kept_at + 16 * NH
    if (
        is_equal(weights[A_LOG], copied, NH)
        and is_equal(weights[A_IMAG], copied + 4 * NH, NH)
        and is_equal(weights[C], copied + 8 * NH, 2 * NH)
        and is_equal(weights[STEP_LOG], copied + 16 * NH, H)
    ):
        return
    step_log, A_log, A_imag, C_both = (
        floats(weights[STEP_LOG]),
        floats(weights[A_LOG]),
        floats(weights[A_IMAG]),
        floats(weights[C]),
    )
    copy(A_log, NH, floats(copied))
    copy(A_imag, NH, floats(copied + 4 * NH))
    copy(C_both, 2 * NH, floats(copied + 8 * NH))
    copy(step_log, H, floats(copied + 16 * NH))
    kept = floats(kept_at)
    for n in range(N):
        for unit in range(H):
            at = n * H + unit
            step, A = math.exp(float(step_log[unit])), -math.exp(float(A_log[at]))
            real, imag, b, b_i = zero_order_hold(step, A, float(A_imag[at]))
            kept[at], kept[NH + at] = real, imag
            kept[2 * NH + at] = 2 * (C_both[at] * b - C_both[NH + at] * b_i)
            kept[3 * NH + at] = 2 * (C_both[at] * b_i + C_both[NH + at] * b)


@kernel(LAYER_SIGNATURE)
def s4d_step(record, x_at, y_at, workspace, B):  # type: ignore[no-untyped-def]
    """Step a layer. The arguments are those of `LAYER_SIGNATURE`."""
    sizes, weights, state = parts_of(record)
    H, N = sizes[1], sizes[2]
    NH = N * H
    _discretise(N, H, weights, state[DISCRETISED])
    x, y, skip, kept = floats(x_at), floats(y_at), floats(weights[SKIP]), floats(state[DISCRETISED])
    reals, imags = floats(state[REAL]), floats(state[IMAG])
    mixed, halves = floats(workspace), floats(workspace + 4 * B * H)
    for unit in range(0, H, LANES):
        count = H - unit
        for b in range(B):
            value = load_first(x, b * H + unit, count)
            s = load_first(skip, unit, count) * value
            for n in range(N):
                at, place = n * H + unit, b * NH + n * H + unit
                a, a_i = load_first(kept, at, count), load_first(kept, NH + at, count)
                h, h_i = rotated(a, a_i, load_first(reals, place, count), load_first(imags, place, count), value)  # (2)
                store_first(reals, place, count, h)
                store_first(imags, place, count, h_i)
                s = fma(load_first(kept, 2 * NH + at, count), h, s)  # (3)
                s = fma(-load_first(kept, 3 * NH + at, count), h_i, s)
            store_first(mixed, b * H + unit, count, gelu(s))
    apply(floats(weights[W]), 0, weights[BIAS], 2 * H, H, mixed, 0, H, B, halves, 0, 2 * H, False)
    for b in range(B):
        for unit in range(0, H, LANES):
            at, count = b * 2 * H + unit, H - unit
            gate = sigmoid(load_first(halves, at + H, count))
            store_first(y, b * H + unit, count, load_first(halves, at, count) * gate)  # (4)
