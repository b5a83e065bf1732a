"""Parts of the selective scan, for LANES channels: its coefficients, and four states at one step in both directions.

Equation numbers refer to `arch/kernels/training/state_space/selective_scan.py`.
"""

from __future__ import annotations

from numba import njit

from arch.kernels.cells.state_space import decay
from arch.kernels.simd.activation import LOG2_E
from arch.kernels.simd.matmul import panels_of
from arch.kernels.simd.matvec import floats, row_sums
from arch.kernels.simd.vector import LANES, fma, load, load_first, splat, store, store_first
from arch.kernels.training.layer_norm import add_first
from arch.kernels.training.state_space.states import copy_states, rounded

AT_ONCE = 4
"""Number of states that pass through a chunk together."""


@njit(forceinline=True)
def summand(bias, W, W_at, low, low_at, R):  # type: ignore[no-untyped-def]
    """Return p of (1) of LANES channels.

    Args:
        bias: b of these channels, a vector.
        W, W_at: Array of their part of W (R, LANES), and its offset.
        low, low_at: Array of r, and the offset of the step.
        R: Rank.
    """
    for row in range(R):
        bias = fma(load(W, W_at + row * LANES), splat(low[low_at + row]), bias)
    return bias


@njit(forceinline=True)
def pack_panels(A, W, E, N, R, rates, weights):  # type: ignore[no-untyped-def]
    """Write the panels of A log₂ e (panels, padded N, LANES) and of W (panels, R, LANES)."""
    for panel in range(panels_of(E)):
        e, of_panel = panel * LANES, panel * rounded(N, AT_ONCE) * LANES
        copy_states(W, e, E, E - e, R, weights, panel * R * LANES, LANES)
        for n in range(N):
            store(rates, of_panel + n * LANES, load_first(A, n * E + e, E - e) * splat(LOG2_E))


@njit(forceinline=True)
def advance(step, write, rates, least, h, maps, at):  # type: ignore[no-untyped-def]
    """Return the decays of four states, and the states after a step by (2).

    Args:
        step, write: Δ and w.
        rates: Four vectors of A log₂ e.
        least: 0 or -1, see `decay`.
        h: Four states.
        maps, at: Array of B, and the offset of the first of the four.
    """
    a_0, a_1 = decay(step, rates[0], least), decay(step, rates[1], least)
    a_2, a_3 = decay(step, rates[2], least), decay(step, rates[3], least)
    after = (
        fma(a_0, h[0], write * splat(maps[at])),
        fma(a_1, h[1], write * splat(maps[at + 1])),
        fma(a_2, h[2], write * splat(maps[at + 2])),
        fma(a_3, h[3], write * splat(maps[at + 3])),
    )
    return (a_0, a_1, a_2, a_3), after


@njit(forceinline=True)
def read(total, h, maps, at):  # type: ignore[no-untyped-def]
    """Return the sum (3) with four states added, whose C is at the offset `at` of the array `maps`."""
    one, other = fma(h[0], splat(maps[at]), total), h[1] * splat(maps[at + 1])
    return fma(h[2], splat(maps[at + 2]), one) + fma(h[3], splat(maps[at + 3]), other)


@njit(forceinline=True)
def go_back(n, maps, at, padded, least, step, d, before, after, later, decays, rates, d_rates, d_B, d_C, to):  # type: ignore[no-untyped-def]
    """Return dh of the step before, dA, and the sums `d`, after one of four states at one step. Add to dB and dC.

    Args:
        n: Number of the state, of four.
        maps, at, padded: Array of B and C, offset of B of the first of the four, and distance to C.
        least: 0 or -1, see `decay`.
        step: Δ.
        d: ds, w, dw and dΔ.
        before, after, later, decays, rates, d_rates: For each of the four, h before and after the step, dh from later
            steps, a, A log₂ e, and dA.
        d_B, d_C, to: Arrays of dB and dC, vectors of channels, added to, and the offset of the first of the four.
    """
    ds, write, d_write, d_step = d
    dh = fma(ds, splat(maps[at + padded + n]), later[n])  # (6)
    place = to + n * LANES
    store(d_C, place, fma(ds, after[n], load(d_C, place)))
    d_write = fma(dh, splat(maps[at + n]), d_write)  # (7)
    store(d_B, place, fma(dh, write, load(d_B, place)))
    earlier = dh * decays[n]  # (10)
    exponent = fma(-least, dh, earlier) * before[n]  # (8)
    return earlier, fma(exponent, step, d_rates[n]), (ds, write, d_write, fma(exponent, rates[n], d_step))


@njit
def sum_channels(args, begin, steps, d_B, d_C, d_r, width, ones):  # type: ignore[no-untyped-def]
    """Write dB and dC by (6) and (7), and dr by (11), of some steps: the sums over all lanes.

    Args:
        args: Arguments of the kernel.
        begin, steps: Number of the first step in all sequences, and number of steps.
        d_B, d_C, width: Arrays of dB and dC (steps, padded N, LANES), and the distance between steps.
        d_r: Array of dr, (steps, R, LANES).
        ones: Array of LANES ones.
    """
    N, R, d_BC, d_low = args.N, args.R, floats(args.d_BC), floats(args.d_low)
    for k in range(steps):
        for n in range(0, N, LANES):
            here, to, left = k * width + n * LANES, (begin + k) * 2 * N + n, N - n
            store_first(d_BC, to, left, row_sums(d_B, here, left, ones, 0, LANES))
            store_first(d_BC, to + N, left, row_sums(d_C, here, left, ones, 0, LANES))
        for row in range(0, R, LANES):
            here, to, left = (k * R + row) * LANES, (begin + k) * R + row, R - row
            store_first(d_low, to, left, row_sums(d_r, here, left, ones, 0, LANES))


@njit
def add_sums(args, d_A, width, d_W, d_others):  # type: ignore[no-untyped-def]
    """Add dA, dD, dW and db to the sums of the kernel with the arguments `args`.

    Args:
        args: Arguments of the kernel.
        d_A, width: Array of dA (panels, padded N, LANES), and the distance between panels.
        d_W: Array of dW, (panels, R, LANES).
        d_others: Array of dD and db, (panels, 2, LANES).
    """
    E, N, R, sums = args.E, args.N, args.R, floats(args.sums)
    for panel in range(panels_of(E)):
        e, count, of_panel = panel * LANES, E - panel * LANES, panel * R * LANES
        for n in range(N):
            add_first(sums, n * E + e, count, load(d_A, panel * width + n * LANES))
        add_first(sums, N * E + e, count, load(d_others, 2 * e))
        for row in range(R):
            add_first(sums, (N + 1 + row) * E + e, count, load(d_W, of_panel + row * LANES))
        add_first(sums, (N + 1 + R) * E + e, count, load(d_others, 2 * e + LANES))
