"""One step of a `mamba` layer for a small batch: projections, short convolution, state update and gate.

Equation numbers refer to `arch/mamba.py`. All arrays are float32.
"""

from __future__ import annotations

from numba import njit

from arch.kernels.cells.state_space import decay, rate
from arch.kernels.runtime.jit import kernel
from arch.kernels.simd.activation import silu, softplus
from arch.kernels.simd.matvec import apply, floats
from arch.kernels.simd.vector import LANES, fma, load_first, splat, store_first
from arch.kernels.streaming.record import LAYER_SIGNATURE, parts_of
from arch.kernels.streaming.short_convolution_step import convolve

W_U, W_Z, FILTERS, BIAS, W_BC, W_R, W_P, B_P, A_LOG, SKIP, W_Y = range(11)
"""Indices of the addresses of the weights, which have the names and shapes of `Mamba`."""
STATES, INPUTS = 0, 1
"""Indices of the addresses of the parts of the state."""


@njit
def _update(E, N, R, negative, weights, h_at, low, BC, c, z, B):  # type: ignore[no-untyped-def]
    """Compute Δ by (3) and (4), update the states by (5), and replace c (B, E) with s silu(z) of (6) and (7).

    Args:
        E, N, R: Number of channels, of states per channel, and of numbers of r.
        negative: Whether decays lie in (-1, 1).
        weights: Addresses of the weights.
        h_at: Address of the states (B, N, E), updated in place.
        low, BC, c, z: Arrays of r (B, R), of B and C (B, 2N), of c and z (B, E).
        B: Batch size.
    """
    A_log, skip, h = floats(weights[A_LOG]), floats(weights[SKIP]), floats(h_at)
    W_p, biases = floats(weights[W_P]), floats(weights[B_P])
    least = splat(-1.0 if negative else 0.0)
    for e in range(0, E, LANES):
        count = E - e
        for b in range(B):
            at = b * E + e
            p = load_first(biases, e, count)
            for row in range(R):
                p = fma(load_first(W_p, row * E + e, count), splat(low[b * R + row]), p)  # (3)
            step, value = softplus(p), load_first(c, at, count)  # (4)
            write, s = step * value, load_first(skip, e, count) * value
            for n in range(N):
                place, of_B = (b * N + n) * E + e, b * 2 * N + n
                kept = decay(step, rate(load_first(A_log, n * E + e, count)), least)
                h_n = fma(kept, load_first(h, place, count), write * splat(BC[of_B]))  # (5)
                store_first(h, place, count, h_n)
                s = fma(h_n, splat(BC[of_B + N]), s)  # (6)
            store_first(c, at, count, s * silu(load_first(z, at, count)))


@kernel(LAYER_SIGNATURE)
def mamba_step(record, x_at, y_at, workspace, B):  # type: ignore[no-untyped-def]
    """Step a layer. The arguments are those of `LAYER_SIGNATURE`."""
    sizes, weights, state = parts_of(record)
    D, H, E, N, R = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    x, y, wide = floats(x_at), floats(y_at), 4 * B * E
    c, z = floats(workspace), floats(workspace + wide)
    BC, low = floats(workspace + 2 * wide), floats(workspace + 2 * wide + 8 * B * N)
    apply(floats(weights[W_U]), 0, 0, E, D, x, 0, D, B, c, 0, E, False)
    apply(floats(weights[W_Z]), 0, 0, E, D, x, 0, D, B, z, 0, E, False)  # (1)
    if weights[FILTERS] != 0:
        convolve(c, E, E, weights[FILTERS], weights[BIAS], state[INPUTS], B, True)  # (2)
    else:
        for at in range(0, B * E, LANES):
            store_first(c, at, B * E - at, silu(load_first(c, at, B * E - at)))
    apply(floats(weights[W_BC]), 0, 0, 2 * N, E, c, 0, E, B, BC, 0, 2 * N, False)
    apply(floats(weights[W_R]), 0, 0, R, E, c, 0, E, B, low, 0, R, False)
    _update(E, N, R, sizes[5], weights, state[STATES], low, BC, c, z, B)
    apply(floats(weights[W_Y]), 0, 0, H, E, c, 0, E, B, y, 0, H, False)  # (7)
