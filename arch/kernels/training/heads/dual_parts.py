"""Parts of the scan of `mamba2`, for some steps of one sequence: gates, their copies per channel, and the memory.

Equation numbers refer to `arch/kernels/training/heads/dual_scan.py`. A memory has K rows of `width` numbers: all
channels of all heads, rounded up to whole vectors.
"""

from __future__ import annotations

from numba import njit

from arch.kernels.cells.state_space import MAX_EXPONENT
from arch.kernels.simd.activation import exp, softplus
from arch.kernels.simd.matvec import floats, load_if
from arch.kernels.simd.vector import LANES, fma, larger, load, load_first, smaller, splat, store, store_first


@njit(forceinline=True)
def rate_of(log_rate):  # type: ignore[no-untyped-def]
    """Return e^A of a vector A."""
    return exp(larger(smaller(log_rate, splat(MAX_EXPONENT)), splat(-MAX_EXPONENT)))


@njit
def write_gates(args, row, begin, steps, width, gates, decays, strengths, written):  # type: ignore[no-untyped-def]
    """Write Δ and a of each head by (1), and a, Δ and x = Δ u of each channel.

    Args:
        args: Arguments of the kernel.
        row, begin, steps: Row of the batch, first step, and number of steps.
        width: Width of a row of the memory.
        gates: Receives Δ and a of the heads, (steps, 2, N rounded up to whole vectors).
        decays, strengths, written: Receive a, Δ and x of the channels, (steps, width), and may write LANES more.
    """
    T, N, V, d, c = args.T, args.N, args.V, floats(args.d), floats(args.c)
    rates, biases = floats(args.rate), floats(args.bias)
    padded, channels = (N + LANES - 1) // LANES * LANES, N * V + 2 * args.K
    for n in range(0, N, LANES):
        count = N - n
        rate, bias = rate_of(load_first(rates, n, count)), load_first(biases, n, count)
        for step in range(steps):
            delta = softplus(load_first(d, (row * T + begin + step) * N + n, count) + bias)
            store(gates, 2 * step * padded + n, delta)
            exponent = larger(-(delta * rate), splat(-MAX_EXPONENT))
            store(gates, (2 * step + 1) * padded + n, exp(exponent))  # (1)
    for step in range(steps):
        for n in range(N):
            delta, a = splat(gates[2 * step * padded + n]), splat(gates[(2 * step + 1) * padded + n])
            for v in range(0, V, LANES):  # what exceeds a head is written again by the next one
                store(strengths, step * width + n * V + v, delta)
                store(decays, step * width + n * V + v, a)
    for step in range(steps):
        at = (row * T + begin + step) * channels
        for e in range(0, N * V, LANES):
            place = step * width + e
            store(written, place, load(strengths, place) * load_first(c, at + e, N * V - e))


@njit(forceinline=True)
def copy_memory(source, at, N, K, V, width, memory):  # type: ignore[no-untyped-def]
    """Copy a memory (N, K, V) at an offset of an array to (K, width)."""
    for n in range(N):
        for k in range(K):
            for v in range(0, V, LANES):
                store_first(memory, k * width + n * V + v, V - v, load_first(source, at + (n * K + k) * V + v, V - v))


@njit(forceinline=True)
def copy_back(memory, N, K, V, width, target, at):  # type: ignore[no-untyped-def]
    """Copy what `copy_memory` copies, in the other direction."""
    for n in range(N):
        for k in range(K):
            for v in range(0, V, LANES):
                store_first(target, at + (n * K + k) * V + v, V - v, load_first(memory, k * width + n * V + v, V - v))


@njit(forceinline=True)
def spread_heads(numbers, N, V, spread):  # type: ignore[no-untyped-def]
    """Write the number of each head to all of its channels in `spread`, and up to LANES more."""
    for n in range(N):
        for v in range(0, V, LANES):
            store(spread, n * V + v, splat(numbers[n]))


@njit(forceinline=True)
def advance(S, at, width, K, a, x, c, of_B):  # type: ignore[no-untyped-def]
    """Write LANES channels of the memory after a step by (2).

    Args:
        S, at, width: Array of the memory, offset of these channels, and width of a row.
        K: Number of rows.
        a, x: Vectors of a and x of these channels.
        c, of_B: Array and offset of B.
    """
    for k in range(K):
        store(S, at + k * width, fma(a, load(S, at + k * width), x * splat(c[of_B + k])))


@njit(forceinline=True)
def advance_four(S, at, width, K, a, x, c, of_B, of_C, channels):  # type: ignore[no-untyped-def]
    """Write LANES channels of the memory after four steps by (2), and return what each of them reads by (3).

    Args:
        S, at, width, K: Array of the memory, offset of these channels, width and number of its rows.
        a, x: Four vectors of a and of x.
        c, of_B, of_C, channels: Array and offsets of B and C of the first step, and their distance between steps.
    """
    a_0, a_1, a_2, a_3 = a
    x_0, x_1, x_2, x_3 = x
    y_0, y_1, y_2, y_3 = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
    for k in range(K):
        B, C = of_B + k, of_C + k
        h = fma(a_0, load(S, at + k * width), x_0 * splat(c[B]))
        y_0 = fma(h, splat(c[C]), y_0)
        h = fma(a_1, h, x_1 * splat(c[B + channels]))
        y_1 = fma(h, splat(c[C + channels]), y_1)
        h = fma(a_2, h, x_2 * splat(c[B + 2 * channels]))
        y_2 = fma(h, splat(c[C + 2 * channels]), y_2)
        h = fma(a_3, h, x_3 * splat(c[B + 3 * channels]))
        y_3 = fma(h, splat(c[C + 3 * channels]), y_3)
        store(S, at + k * width, h)
    return y_0, y_1, y_2, y_3


@njit(forceinline=True)
def load_rows(memory, at, width):  # type: ignore[no-untyped-def]
    """Return LANES channels of four rows of a memory, the first of them at the offset `at`."""
    return load(memory, at), load(memory, at + width), load(memory, at + 2 * width), load(memory, at + 3 * width)


@njit(forceinline=True)
def store_rows(memory, at, width, rows):  # type: ignore[no-untyped-def]
    """Store what `load_rows` returns."""
    store(memory, at, rows[0])
    store(memory, at + width, rows[1])
    store(memory, at + 2 * width, rows[2])
    store(memory, at + 3 * width, rows[3])


@njit(forceinline=True)
def load_rows_below(memory, at, k, K, width):  # type: ignore[no-untyped-def]
    """Return LANES channels of rows k to k + 3 of a memory, at the offset `at`, with zeros for rows from K on."""
    here = at + k * width
    return (
        load(memory, here),
        load_if(k + 1 < K, memory, here + width, LANES),
        load_if(k + 2 < K, memory, here + 2 * width, LANES),
        load_if(k + 3 < K, memory, here + 3 * width, LANES),
    )


@njit(forceinline=True)
def advance_rows(a, x, rows, maps, at):  # type: ignore[no-untyped-def]
    """Return LANES channels of four rows of the memory after a step by (2).

    Args:
        a, x: Vectors of a and x of these channels.
        rows: The four rows before the step.
        maps, at: Array of B, and the offset of the first row's number.
    """
    return (
        fma(a, rows[0], x * splat(maps[at])),
        fma(a, rows[1], x * splat(maps[at + 1])),
        fma(a, rows[2], x * splat(maps[at + 2])),
        fma(a, rows[3], x * splat(maps[at + 3])),
    )


@njit(forceinline=True)
def _row_back(n, dy, x, after, later, maps, at, padded, d_B, d_C, to):  # type: ignore[no-untyped-def]
    """Add dB and dC of row number `n` of four, and return its dS by (4). The other arguments are those of `go_back`."""
    dS, place = fma(splat(maps[at + padded + n]), dy, later[n]), to + n * LANES  # (4)
    store(d_C, place, fma(after[n], dy, load(d_C, place)))
    store(d_B, place, fma(dS, x, load(d_B, place)))  # (5)
    return dS


@njit(forceinline=True)
def go_back(dy, a, x, before, after, later, maps, at, padded, d_B, d_C, to):  # type: ignore[no-untyped-def]
    """Return dS of four rows before a step by (8), and their shares of dx and da by (5), for LANES channels.

    Args:
        dy, a, x: Vectors of dy, a and x of these channels.
        before, after, later: The four rows of S before and after the step, and of dS from later steps.
        maps, at, padded: Array of B and C, offset of B of the first row, and distance to C.
        d_B, d_C, to: Arrays of dB and dC (vectors of LANES channels), added to, and the offset of the first row.
    """
    given = (dy, x, after, later, maps, at, padded, d_B, d_C, to)
    dS_0, dS_1, dS_2, dS_3 = _row_back(0, *given), _row_back(1, *given), _row_back(2, *given), _row_back(3, *given)
    dx = fma(dS_1, splat(maps[at + 1]), dS_0 * splat(maps[at]))  # (5)
    dx = fma(dS_3, splat(maps[at + 3]), fma(dS_2, splat(maps[at + 2]), dx))
    da = fma(dS_3, before[3], fma(dS_2, before[2], fma(dS_1, before[1], dS_0 * before[0])))
    return (a * dS_0, a * dS_1, a * dS_2, a * dS_3), dx, da  # (8)
