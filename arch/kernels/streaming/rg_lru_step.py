"""One step of `rg_lru`. Equation numbers refer to `arch/rg_lru.py`. All arrays are float32."""

from __future__ import annotations

import numpy as np
from numba import njit

from arch.kernels.cells import diagonal as cells
from arch.kernels.runtime.jit import kernel
from arch.kernels.simd.activation import softplus
from arch.kernels.simd.matvec import apply, floats, row_sums
from arch.kernels.simd.vector import LANES, fma, load_first, splat, store_first
from arch.kernels.streaming.record import LAYER_SIGNATURE, parts_of
from arch.kernels.streaming.recurrent_step import bias_of
from arch.kernels.training.gelu import gelu

TAPS = 4
"""Number of steps that the convolution reads."""
SHARPNESS = np.float32(8.0)
"""The constant in equation (5)."""


@njit(forceinline=True)
def _convolve(H, filters, bias, before, v, v_at):  # type: ignore[no-untyped-def]
    """Replace v of one stream by u (2), and shift the inputs of the convolution.

    Args:
        H: Width.
        filters: Array of w (4, H).
        bias: Address of b_c (H,).
        before: Array of the last three inputs of this stream, (3, H), from offset 0 on.
        v, v_at: Array of v, and the offset of its first unit.
    """
    for unit in range(0, H, LANES):
        count = H - unit
        first, second = load_first(before, unit, count), load_first(before, H + unit, count)
        third, now = load_first(before, 2 * H + unit, count), load_first(v, v_at + unit, count)
        total = fma(load_first(filters, unit, count), first, bias_of(bias, unit, count))
        total = fma(load_first(filters, H + unit, count), second, total)
        total = fma(load_first(filters, 2 * H + unit, count), third, total)
        store_first(v, v_at + unit, count, fma(load_first(filters, 3 * H + unit, count), now, total))
        store_first(before, unit, count, second)
        store_first(before, H + unit, count, third)
        store_first(before, 2 * H + unit, count, now)


@kernel(LAYER_SIGNATURE)
def rg_lru(record, x, y, workspace, B):  # type: ignore[no-untyped-def]
    """Step an RG-LRU.

    Its weights are W_v and W_g (2H, D) and their biases, W_r and W_i (2H, H) and their biases, Λ (H,), W_y (H, H) and
    b_y (H,), and w (4, H) and b_c (H,) if it has a convolution. The workspace is v and W_g x + b_g (B, 2H), then the
    input of W_y (B, H).
    """
    sizes, weights, state = parts_of(record)
    D, H = sizes[0], sizes[1]
    vg, W_ri, decay, h = floats(workspace), floats(weights[2]), floats(weights[4]), floats(state[0])
    gated_at = 2 * B * H
    apply(floats(weights[0]), 0, weights[1], 2 * H, D, floats(x), 0, D, B, vg, 0, 2 * H, False)  # (1), (7)
    if weights[7] != 0:
        for b in range(B):
            before = floats(state[1] + 4 * b * (TAPS - 1) * H)
            _convolve(H, floats(weights[7]), weights[8], before, vg, 2 * b * H)
    for unit in range(0, H, LANES):
        count = H - unit
        c = splat(-SHARPNESS) * softplus(load_first(decay, unit, count))
        for b in range(B):
            at, u_at = b * H + unit, 2 * b * H
            r = row_sums(W_ri, unit * H, count, vg, u_at, H) + bias_of(weights[3], unit, count)
            i = row_sums(W_ri, (H + unit) * H, count, vg, u_at, H) + bias_of(weights[3], H + unit, count)
            decayed, written = cells.rg_lru(r, i, load_first(vg, u_at + unit, count), c)
            after = fma(decayed, load_first(h, at, count), written)  # (6)
            store_first(h, at, count, after)
            store_first(vg, gated_at + at, count, after * gelu(load_first(vg, u_at + H + unit, count)))
    apply(floats(weights[5]), 0, weights[6], H, H, vg, gated_at, H, B, floats(y), 0, H, False)  # (7)
