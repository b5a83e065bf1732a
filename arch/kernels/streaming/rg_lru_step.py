"""One step of `rg_lru`. Equation numbers refer to `arch/rg_lru.py`. All arrays are float32."""

from __future__ import annotations

import numpy as np

from arch.kernels.cells import diagonal as cells
from arch.kernels.runtime.jit import kernel
from arch.kernels.simd.activation import gelu, sigmoid, softplus
from arch.kernels.simd.matvec import apply, floats, row_sums
from arch.kernels.simd.vector import LANES, fma, load_first, splat, store_first
from arch.kernels.streaming.record import LAYER_SIGNATURE, parts_of
from arch.kernels.streaming.recurrent_step import bias_of
from arch.kernels.streaming.short_convolution_step import convolve

SHARPNESS = np.float32(8.0)
"""The constant in equation (5)."""


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
        convolve(vg, 2 * H, H, weights[7], weights[8], state[1], B, False)  # (2)
    for unit in range(0, H, LANES):
        count = H - unit
        c = splat(-SHARPNESS) * softplus(load_first(decay, unit, count))
        for b in range(B):
            at, u_at = b * H + unit, 2 * b * H
            r = row_sums(W_ri, unit * H, count, vg, u_at, H) + bias_of(weights[3], unit, count)
            i = row_sums(W_ri, (H + unit) * H, count, vg, u_at, H) + bias_of(weights[3], H + unit, count)
            decayed, written = cells.rg_lru(sigmoid(r), sigmoid(i), load_first(vg, u_at + unit, count), c)  # (3), (4)
            after = fma(decayed, load_first(h, at, count), written)  # (6)
            store_first(h, at, count, after)
            store_first(vg, gated_at + at, count, after * gelu(load_first(vg, u_at + H + unit, count)))
    apply(floats(weights[5]), 0, weights[6], H, H, vg, gated_at, H, B, floats(y), 0, H, False)  # (7)
