"""The recurrence of `lru` over a few steps, forward and back, and where its arrays and sums lie.

Equation numbers are those of `arch/lru.py` and of `lru.py` in this folder. Arrays are flat float32 arrays.
"""

# Shape suffixes: B batch, H width, N complex states

from __future__ import annotations

from numba import njit
from numba.extending import register_jitable

from arch.kernels.simd.matmul import panels_of
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.scratch import zeros
from arch.kernels.simd.vector import LANES, fma, load, load_first, store, store_first


@njit
def both_parts(re, im, first, rows, N):  # type: ignore[no-untyped-def]
    """Return real and imaginary parts (B, N) of rows from `first` on, (rows, 2, N) with N padded to whole vectors."""
    padded = panels_of(N) * LANES
    parts = zeros(2 * rows * padded)
    for row in range(rows):
        for unit in range(0, N, LANES):
            at, to = (first + row) * N + unit, 2 * row * padded + unit
            store(parts, to, load_first(re, at, N - unit))
            store(parts, to + padded, load_first(im, at, N - unit))
    return parts


@register_jitable
def sizes_of(H: int, N: int) -> tuple[tuple[int, int], ...]:
    """Return the shapes of the sums, in their order: transposed dE and dC, da, dD, transposed dW, and db.

    Columns are padded to whole vectors.
    """
    states, width, rows = panels_of(2 * N) * LANES, panels_of(H) * LANES, panels_of(2 * H) * LANES
    return (H, states), (2 * N, width), (2, panels_of(N) * LANES), (1, width), (H, rows), (1, rows)


@njit
def offsets(H, N):  # type: ignore[no-untyped-def]
    """Return where each of the sums begins, in the order of `sizes_of`."""
    of_E, of_C, of_a, of_D, of_W, _ = sizes_of(H, N)
    at_C = of_E[0] * of_E[1]
    at_a = at_C + of_C[0] * of_C[1]
    at_D = at_a + of_a[0] * of_a[1]
    at_W = at_D + of_D[0] * of_D[1]
    return 0, at_C, at_a, at_D, at_W, at_W + of_W[0] * of_W[1]


@njit
def advance(args, chunk, written, a_re, a_im, state):  # type: ignore[no-untyped-def]
    """Write the states h of a chunk.

    Args:
        args: The `Forward`.
        chunk: The `Chunk`.
        written: Array of E x, one row per step and row of the batch, of whole vectors.
        a_re, a_im: Arrays of a, of whole vectors.
        state: Array of h, from `both_parts`. It is changed.
    """
    N, rows, h = args.N, chunk.last - chunk.first, floats(args.h)
    padded, width = panels_of(N) * LANES, panels_of(2 * N) * LANES
    for t in range(chunk.begin, chunk.end):
        for unit in range(0, N, LANES):
            re_a, im_a, count = load(a_re, unit), load(a_im, unit), N - unit
            for row in range(rows):
                at, here = ((t - chunk.begin) * rows + row) * width + unit, 2 * row * padded + unit
                to = (t * chunk.B + chunk.first + row) * 2 * N + unit
                re, im = load(state, here), load(state, here + padded)
                next_re = fma(-im_a, im, fma(re_a, re, load_first(written, at, count)))
                next_im = fma(im_a, re, fma(re_a, im, load_first(written, at + N, count)))
                store(state, here, next_re)
                store(state, here + padded, next_im)
                store_first(h, to, count, next_re)
                store_first(h, to + N, count, next_im)


@njit
def go_back(args, chunk, d_h, stride, a_re, a_im, carried, sums, at_sums):  # type: ignore[no-untyped-def]
    """Turn C^T dv of a chunk into dh (9), in place, and add da to `sums`.

    Args:
        args: The `Backward`.
        chunk: The `Chunk`.
        d_h, stride: Array of C^T dv, one row per step and row of the batch, and the distance between the rows.
        a_re, a_im: Arrays of a, of whole vectors.
        carried: Array of ā dh, from `both_parts`. It is changed.
        sums, at_sums: Array of the sums, and the offset of da: real and imaginary parts in whole vectors.
    """
    N, rows, padded, h = args.N, chunk.last - chunk.first, panels_of(args.N) * LANES, floats(args.h)
    for t in range(chunk.end - 1, chunk.begin - 1, -1):
        before_re, before_im, to_im, apart = h, h, N, 2 * N
        before_at = ((t - 1) * chunk.B + chunk.first) * apart
        if t == 0:
            before_re, before_im, to_im, apart = floats(args.re_0), floats(args.im_0), 0, N
            before_at = chunk.first * apart
        for unit in range(0, N, LANES):
            re_a, im_a, count = load(a_re, unit), load(a_im, unit), N - unit
            total, total_im = load(sums, at_sums + unit), load(sums, at_sums + padded + unit)
            for row in range(rows):
                here, at = 2 * row * padded + unit, ((t - chunk.begin) * rows + row) * stride + unit
                re = load_first(before_re, before_at + row * apart + unit, count)
                im = load_first(before_im, before_at + row * apart + to_im + unit, count)
                d_re = load(carried, here) + load_first(d_h, at, count)
                d_im = load(carried, here + padded) + load_first(d_h, at + N, count)
                total = fma(d_re, re, fma(d_im, im, total))
                total_im = fma(d_im, re, fma(-d_re, im, total_im))
                store_first(d_h, at, count, d_re)
                store_first(d_h, at + N, count, d_im)
                store(carried, here, fma(re_a, d_re, im_a * d_im))
                store(carried, here + padded, fma(re_a, d_im, -im_a * d_re))
            store(sums, at_sums + unit, total)
            store(sums, at_sums + padded + unit, total_im)
