"""Parts of the token mix of `rwkv7`, for some steps of one sequence: mixes, products, the way back through heads.

Equation numbers refer to `arch/kernels/training/heads/token_mix.py`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from arch.kernels.cells.short_convolution import scale_to_unit
from arch.kernels.simd.activation import exp, sigmoid, tanh
from arch.kernels.simd.matmul import ROWS, multiply, pack_transposed, panels_of, tile_rows_more
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.reduction import lane_sum
from arch.kernels.simd.vector import LANES, first_or, fma, load, load_first, splat, store, store_first

STEPS_AT_ONCE = 64
"""Number of steps of a sequence that pass through the equations together."""
SLOWEST_DECAY = np.float32(math.exp(-0.5))
"""1/√e of (3)."""
MIXES = 6
"""Number of the x_c: those of r, w, k, v, a and g, in this order."""
OF_R, OF_W, OF_K, OF_V, OF_A, OF_G = range(MIXES)


@njit
def layout(H, R, G):  # type: ignore[no-untyped-def]
    """Return the widths of the p_c, their first columns in an array of all of them, and its padded width."""
    h, r = panels_of(H) * LANES, panels_of(R) * LANES
    columns = (0, h, h + r, 2 * h + r, 3 * h + r, 3 * h + 2 * r)
    return (H, R, H, H, R, G), columns, 3 * h + 2 * r + panels_of(G) * LANES


@njit
def packed_weights(args):  # type: ignore[no-untyped-def]
    """Return the six W_c and the three W↑ in panels."""
    D, H, R, G = args.D, args.H, args.R, args.G
    down = (
        pack_transposed(floats(args.W_r), 0, H, H, D),
        pack_transposed(floats(args.W_w), 0, R, R, D),
        pack_transposed(floats(args.W_k), 0, H, H, D),
        pack_transposed(floats(args.W_v), 0, H, H, D),
        pack_transposed(floats(args.W_a), 0, R, R, D),
        pack_transposed(floats(args.W_g), 0, G, G, D),
    )
    up = (
        pack_transposed(floats(args.up_w), 0, H, H, R),
        pack_transposed(floats(args.up_a), 0, H, H, R),
        pack_transposed(floats(args.up_g), 0, H, H, G),
    )
    return down, up


@njit
def mix_steps(args, row, begin, steps, mixed, changes, tall, narrow):  # type: ignore[no-untyped-def]
    """Write all x_c of (1) of some steps to `mixed` (6, STEPS_AT_ONCE, tall), and x₋ - x to `changes` (steps, narrow).

    Args:
        args: Arguments of the kernel.
        row, begin, steps: Row of the batch, first step, and number of steps.
        mixed, changes, tall, narrow: Arrays of the results, and their row strides.
    """
    T, D, x, before, mu = args.T, args.D, floats(args.x), floats(args.before), floats(args.mu)
    for step in range(steps):
        at = (row * T + begin + step) * D
        for d in range(0, D, LANES):
            count, now = D - d, load_first(x, at + d, D - d)
            last = load_first(x, at + d - D, count) if begin + step > 0 else load_first(before, row * D + d, count)
            change = last - now
            store(changes, step * narrow + d, change)
            for c in range(MIXES):
                to = (c * STEPS_AT_ONCE + step) * tall + d
                store_first(mixed, to, count, fma(load_first(mu, c * D + d, count), change, now))  # (1)


@njit
def multiply_all(args, mixed, tall, steps, packed, p, stride, gates, apart):  # type: ignore[no-untyped-def]
    """Write r, L_w, p_k, v, L_a and L_g to `p`, and s, a and g to `gates`, for what `mix_steps` returned.

    Args:
        args: Arguments of the kernel.
        mixed, tall, steps: The x_c, their row stride, and the number of steps.
        packed: What `packed_weights` returned.
        p, stride, gates, apart: Arrays of the results, and their row strides.
    """
    down, up = packed
    widths, columns, _ = layout(args.H, args.R, args.G)
    for c in range(MIXES):
        left, panels = c * STEPS_AT_ONCE * tall, panels_of(widths[c])
        multiply(p, columns[c], stride, mixed, left, tall, down[c], args.D, steps, panels)  # (1)
    for step in range(steps):
        for unit in range(0, args.R, LANES):
            at = step * stride + columns[OF_W] + unit
            store(p, at, tanh(load(p, at)))
        for unit in range(0, args.G, LANES):
            at = step * stride + columns[OF_G] + unit
            store(p, at, first_or(sigmoid(load(p, at)), args.G - unit, splat(0.0)))
    H, R, G, panels = args.H, args.R, args.G, panels_of(args.H)
    h, w_0, a_0 = panels * LANES, floats(args.w_0), floats(args.a_0)
    multiply(gates, 0, apart, p, columns[OF_W], stride, up[0], R, steps, panels)  # (2)
    multiply(gates, h, apart, p, columns[OF_A], stride, up[1], R, steps, panels)
    multiply(gates, 2 * h, apart, p, columns[OF_G], stride, up[2], G, steps, panels)
    for unit in range(0, H, LANES):
        of_w, of_a = load_first(w_0, unit, H - unit), load_first(a_0, unit, H - unit)
        for step in range(steps):
            at = step * apart + unit
            store(gates, at, sigmoid(load(gates, at) + of_w))
            store(gates, at + h, sigmoid(load(gates, at + h) + of_a))


@njit
def write_results(args, row, step, p, of_p, gates, of_gates, h):  # type: ignore[no-untyped-def]
    """Write the results (3) of one step.

    Args:
        args: Arguments of the kernel.
        row, step: Row of the batch, and step.
        p, of_p, gates, of_gates: What `multiply_all` returned, and the offsets of the step.
        h: Distance from s to a.
    """
    H, K, to, one = args.H, args.H // args.N, (row * args.T + step) * args.H, splat(1.0)
    r, w, kappa, q = floats(args.r), floats(args.w), floats(args.kappa), floats(args.q)
    k, v, g, xi, alpha = floats(args.k), floats(args.v), floats(args.g), floats(args.xi), floats(args.alpha)
    _, columns, _ = layout(H, args.R, args.G)
    for unit in range(0, H, LANES):
        count = H - unit
        store_first(r, to + unit, count, load(p, of_p + columns[OF_R] + unit))
        store_first(v, to + unit, count, load(p, of_p + columns[OF_V] + unit))
        store_first(g, to + unit, count, load(gates, of_gates + 2 * h + unit))
        of_k, a = load(p, of_p + columns[OF_K] + unit), load(gates, of_gates + h + unit)
        store_first(k, to + unit, count, of_k * fma(load_first(alpha, unit, count), a - one, one))
        store_first(w, to + unit, count, exp(splat(-SLOWEST_DECAY) * load(gates, of_gates + unit)))
    for head in range(0, H, K):
        at, squares = of_p + columns[OF_K] + head, splat(0.0)
        for unit in range(0, K, LANES):
            z = load_first(p, at + unit, K - unit) * load_first(xi, head + unit, K - unit)
            squares = fma(z, z, squares)
        scale = splat(scale_to_unit(squares))
        for unit in range(0, K, LANES):
            count, place = K - unit, to + head + unit
            unit_key = scale * load_first(p, at + unit, count) * load_first(xi, head + unit, count)
            store_first(kappa, place, count, unit_key)
            store_first(q, place, count, -(load(gates, of_gates + h + head + unit) * unit_key))


@njit
def copy_gradients(args, at, dp, of_p, d_gates, of_g):  # type: ignore[no-untyped-def]
    """Copy the gradients of r and v of one step to `dp`, and that of g to `d_gates`.

    Args:
        args: Arguments of the kernel.
        at: Offset of the step in the gradients.
        dp, of_p, d_gates, of_g: Arrays of the results, and the offsets of the step, and of g.
    """
    d_r, d_v, d_g = floats(args.d_r), floats(args.d_v), floats(args.d_g)
    _, columns, _ = layout(args.H, args.R, args.G)
    for unit in range(0, args.H, LANES):
        count = args.H - unit
        store(dp, of_p + columns[OF_R] + unit, load_first(d_r, at + unit, count))
        store(dp, of_p + columns[OF_V] + unit, load_first(d_v, at + unit, count))
        store(d_gates, of_g + unit, load_first(d_g, at + unit, count))


@njit
def apply_slopes(args, steps, p, dp, stride):  # type: ignore[no-untyped-def]
    """Multiply the gradients of L_w and L_g of some steps by the slopes of tanh and σ, whose results are in `p`."""
    _, columns, _ = layout(args.H, args.R, args.G)
    for step in range(steps):
        for unit in range(0, args.R, LANES):
            at = step * stride + columns[OF_W] + unit
            value = load(p, at)
            store(dp, at, load(dp, at) * (splat(1.0) - value * value))
        for unit in range(0, args.G, LANES):
            at = step * stride + columns[OF_G] + unit
            value = load(p, at)
            store(dp, at, load(dp, at) * (value * (splat(1.0) - value)))


@njit
def back_through_heads(args, row, step, p, of_p, gates, of_gates, h, dp, to_dp, d_gates, totals, padded):  # type: ignore[no-untyped-def]
    """Write dp_k to `dp` and ds and da, before their sigmoids, to `d_gates` for one step, by (4) and (5).

    Args:
        args: Arguments of the kernel.
        row, step: Row of the batch, and step.
        p, of_p, gates, of_gates: What `multiply_all` returned, and the offsets of p_k and of s of the step.
        h: Distance from s to a.
        dp, to_dp, d_gates: Arrays of the results, and the offset of dp_k. ds has that of s.
        totals, padded: dξ and dα (2, N, padded), added to, and the padded width of a head.
    """
    H, K, one, slowest = args.H, args.H // args.N, splat(1.0), splat(-SLOWEST_DECAY)
    d_kappa, d_q, d_k, d_w = floats(args.d_kappa), floats(args.d_q), floats(args.d_k), floats(args.d_w)
    xi, alpha, of_row = floats(args.xi), floats(args.alpha), (row * args.T + step) * H
    for head in range(0, H, K):
        squares, product = splat(0.0), splat(0.0)
        for unit in range(head, head + K, LANES):
            count = head + K - unit
            z = load_first(p, of_p + unit, count) * load_first(xi, unit, count)
            a = load(gates, of_gates + h + unit)
            e = load_first(d_kappa, of_row + unit, count) - a * load_first(d_q, of_row + unit, count)
            squares, product = fma(z, z, squares), fma(z, e, product)
        scale = scale_to_unit(squares)
        along = splat(lane_sum(product) * scale)
        for unit in range(head, head + K, LANES):
            count, place = head + K - unit, head // K * padded + unit - head
            of_k, of_xi, of_alpha = (
                load_first(p, of_p + unit, count),
                load_first(xi, unit, count),
                load_first(alpha, unit, count),
            )
            s, a = load_first(gates, of_gates + unit, count), load_first(gates, of_gates + h + unit, count)
            of_q, of_new = load_first(d_q, of_row + unit, count), load_first(d_k, of_row + unit, count)
            kappa = splat(scale) * of_k * of_xi
            dz = splat(scale) * (load_first(d_kappa, of_row + unit, count) - a * of_q - kappa * along)  # (4)
            share = fma(of_alpha, a - one, one)
            store_first(dp, to_dp + unit, count, fma(of_xi, dz, share * of_new))
            store(totals, place, fma(of_k, dz, load(totals, place)))
            place += args.N * padded
            store(totals, place, fma(of_k * (a - one), of_new, load(totals, place)))
            da = of_alpha * of_k * of_new - kappa * of_q  # (5)
            ds = slowest * exp(slowest * s) * load_first(d_w, of_row + unit, count)
            store_first(d_gates, of_gates + unit, count, ds * s * (one - s))
            store_first(d_gates, of_gates + h + unit, count, da * a * (one - a))


@njit
def add_columns(sums, at, width, left, left_at, left_stride, tall, right, right_at, stride, rows, panels):  # type: ignore[no-untyped-def]
    """Add leftᵀ · right to `sums` (tall, width), for `tall` columns of the left-hand rows, a multiple of `ROWS`."""
    for d in range(0, tall, ROWS):
        tile_rows_more(
            sums, at + d * width, width, left, left_at + d, left_stride, right, right_at, stride, rows, panels
        )
