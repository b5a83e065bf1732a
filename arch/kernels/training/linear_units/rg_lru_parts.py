"""The convolution and the recurrence of `rg_lru` over a few steps, forward and back.

Equation numbers are those of `arch/rg_lru.py` and of `rg_lru.py` in this folder. Arrays are flat float32 arrays.
Rows of H numbers are padded to whole vectors in scratch memory.
"""

# Letters: H hidden width

from __future__ import annotations

from numba import njit
from torch import Tensor

from arch.kernels.cells import diagonal as cells
from arch.kernels.cells.short_convolution import convolve
from arch.kernels.runtime.tensors import CONV_STEPS
from arch.kernels.simd.activation import gelu_and_slope, sigmoid
from arch.kernels.simd.matmul import panels_of
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.vector import LANES, fma, load, load_first, splat, store, store_first
from arch.kernels.training.chunked import place_of, rows_in

KEPT = 3
"""Numbers per unit and step that the backward pass reads: v, W_g x + b_g and h, in blocks of H."""
BEFORE = CONV_STEPS - 1
"""Number of inputs before a step that the convolution reads."""


def shapes_of_sums(D: int, H: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the shapes of the sums: rows of G numbers, then rows of H numbers, padded to whole vectors."""
    return (D + H + 2, panels_of(2 * H) * LANES), (H + CONV_STEPS + 3, panels_of(H) * LANES)


def parts_of_sums(sums: Tensor, D: int, H: int) -> tuple[Tensor, Tensor]:
    """Return views of the sums without padding: the rows of G numbers, and those of H numbers, see `Backward`."""
    shapes = shapes_of_sums(D, H)
    of_both, of_one = sums.split([rows * width for rows, width in shapes])
    return of_both.view(shapes[0])[:, : 2 * H], of_one.view(shapes[1])[:, :H]


@njit
def convolved(u, v, filters, bias, has_conv, chunk, H):  # type: ignore[no-untyped-def]
    """Write u (2) of a chunk.

    Args:
        u: Array of the result, (rows of the chunk, H) without padding.
        v: Array of v of the three steps before the chunk and of its own steps, in order.
        filters, bias: Arrays of w, padded rows, and of b_c. Not read without a convolution.
        has_conv: Whether there is a convolution. Otherwise, u is v.
        chunk: The `Chunk`.
        H: Width.
    """
    rows, padded = chunk.last - chunk.first, panels_of(H) * LANES
    apart = rows * padded
    for unit in range(0, H, LANES):
        for number in range(rows_in(chunk)):
            at = number * padded + unit
            now = load(v, at + BEFORE * apart)
            if has_conv:
                w_0, w_1 = load(filters, unit), load(filters, padded + unit)
                w_2, w_3 = load(filters, 2 * padded + unit), load(filters, 3 * padded + unit)
                oldest, older, latest = load(v, at), load(v, at + apart), load(v, at + 2 * apart)
                now = convolve(w_0, w_1, w_2, w_3, load(bias, unit), oldest, older, latest, now)  # (2)
            store_first(u, number * H + unit, H - unit, now)


@njit
def advance(args, chunk, sums, stride, u, opened, c, b_r, b_i, state):  # type: ignore[no-untyped-def]
    """Write h ⊙ gelu(W_g x + b_g) of a chunk to `opened`, and keep h.

    Args:
        args: The `Forward`.
        chunk: The `Chunk`.
        sums, stride: Array of the sums of r and i without biases, and the distance between its rows.
        u: Array of u, (rows of the chunk, H).
        opened: Array of gelu(W_g x + b_g), padded rows. It is changed.
        c, b_r, b_i: Arrays of -8 softplus(Λ) and of the biases, padded.
        state: Array of h, padded rows of the batch. It is changed.
    """
    H, rows, kept = args.H, chunk.last - chunk.first, floats(args.kept)
    padded = panels_of(H) * LANES
    for begin in range(0, rows_in(chunk), rows):
        for unit in range(0, H, LANES):
            decay, count = load(c, unit), H - unit
            for row in range(rows):
                number, here = begin + row, row * padded + unit
                r = sigmoid(load_first(sums, number * stride + unit, count) + load(b_r, unit))  # (3)
                i = sigmoid(load_first(sums, number * stride + H + unit, count) + load(b_i, unit))  # (4)
                a, b = cells.rg_lru(r, i, load_first(u, number * H + unit, count), decay)
                h = fma(a, load(state, here), b)  # (6)
                store(state, here, h)
                at = number * padded + unit
                store(opened, at, h * load(opened, at))  # (7)
                if args.kept != 0:
                    store_first(kept, (place_of(chunk, number) * KEPT + 2) * H + unit, count, h)


@njit
def go_back(args, chunk, c, gates, b_r, b_i, u, dq, q, d_gates, d_vg, stride, du, carried, sums, at_c):  # type: ignore[no-untyped-def]
    """Write q, the gradients of the sums of r and i, du of (9) and dg of a chunk, and add dc to `sums`.

    Args:
        args: The `Backward`.
        chunk: The `Chunk`.
        c: Array of -8 softplus(Λ), padded.
        gates: Array of the sums of r and i without biases, rows of whole vectors.
        b_r, b_i: Arrays of the biases of the gates, padded.
        u, dq: Arrays of u, (rows of the chunk, H), and of dq, padded rows.
        q: Array of q, padded rows, written.
        d_gates: Array of the gradients of the sums of r and i, written.
        d_vg: Array whose rows end with the gradient of W_g x + b_g, written.
        stride: Distance between the rows of `d_gates`, and of `d_vg`.
        du: Array of the part of du that does not pass through the gates, padded rows, written.
        carried: Array of a ⊙ dh, padded rows of the batch. It is changed.
        sums, at_c: Array of the sums, and the offset of dc.
    """
    H, B, rows, kept = args.H, chunk.B, chunk.last - chunk.first, floats(args.kept)
    padded, wide = panels_of(H) * LANES, panels_of(2 * H) * LANES
    for t in range(chunk.end - 1, chunk.begin - 1, -1):
        before, before_at, apart = kept, ((t - 1) * B + chunk.first) * KEPT * H + 2 * H, KEPT * H
        if t == 0:
            before, before_at, apart = floats(args.h_0), chunk.first * H, H
        for unit in range(0, H, LANES):
            decay, count, total = load(c, unit), H - unit, load(sums, at_c + unit)
            for row in range(rows):
                number, from_kept = (t - chunk.begin) * rows + row, (t * B + chunk.first + row) * KEPT * H + unit
                at, to = number * padded + unit, number * stride + unit
                gate, slope = gelu_and_slope(load_first(kept, from_kept + H, count))
                h, of_q = load_first(kept, from_kept + 2 * H, count), load(dq, at)
                store(q, at, h * gate)
                store_first(d_vg, to + H, count, of_q * h * slope)  # (8)
                dh = fma(of_q, gate, load(carried, row * padded + unit))  # (8)
                r = sigmoid(load_first(gates, number * wide + unit, count) + load(b_r, unit))  # (3)
                i = sigmoid(load_first(gates, number * wide + H + unit, count) + load(b_i, unit))  # (4)
                of_u, da = (
                    load_first(u, number * H + unit, count),
                    dh * load_first(before, before_at + row * apart + unit, count),
                )
                d_r, d_i, d_u, dc, a = cells.rg_lru_back(r, i, of_u, decay, da, dh)
                store_first(d_gates, to, count, d_r)
                store_first(d_gates, to + H, count, d_i)
                store(du, at, d_u)
                total += dc
                store(carried, row * padded + unit, a * dh)
            store(sums, at_c + unit, total)


@njit
def convolve_back(args, chunk, filters, v, du, d_vg, stride, sums, at_w):  # type: ignore[no-untyped-def]
    """Write dv (10) of a chunk, and add dw and db_c (11) to `sums`.

    Args:
        args: The `Backward`.
        chunk: The `Chunk`.
        filters: Array of w, padded rows.
        v: Array of v of the three steps before the chunk and of its own steps, padded rows.
        du: Array of du of the steps of the chunk and of the three steps after it, padded rows.
        d_vg, stride: Array whose rows begin with dv, written, and the distance between them.
        sums, at_w: Array of the sums, and the offset of dw. db_c follows.
    """
    H, T, rows, d_last = args.H, args.T, chunk.last - chunk.first, floats(args.d_last)
    padded = panels_of(H) * LANES
    apart = rows * padded
    for unit in range(0, H, LANES):
        w_0, w_1 = load(filters, unit), load(filters, padded + unit)
        w_2, w_3 = load(filters, 2 * padded + unit), load(filters, 3 * padded + unit)
        at = at_w + unit
        d_w0, d_w1 = load(sums, at), load(sums, at + padded)
        d_w2, d_w3 = load(sums, at + 2 * padded), load(sums, at + 3 * padded)
        d_b = load(sums, at + 4 * padded)
        for number in range(rows_in(chunk)):
            here, t = number * padded + unit, chunk.begin + number // rows
            now = load(du, here)
            dv = fma(w_2, load(du, here + apart), w_3 * now)
            dv = fma(w_0, load(du, here + 3 * apart), fma(w_1, load(du, here + 2 * apart), dv))  # (10)
            if t >= T - BEFORE:
                place = (chunk.first + number % rows) * BEFORE + t - (T - BEFORE)
                dv += load_first(d_last, place * H + unit, H - unit)
            store_first(d_vg, number * stride + unit, H - unit, dv)
            d_w0, d_w1 = fma(load(v, here), now, d_w0), fma(load(v, here + apart), now, d_w1)
            d_w2, d_w3 = fma(load(v, here + 2 * apart), now, d_w2), fma(load(v, here + 3 * apart), now, d_w3)
            d_b += now
        store(sums, at, d_w0)  # (11)
        store(sums, at + padded, d_w1)
        store(sums, at + 2 * padded, d_w2)
        store(sums, at + 3 * padded, d_w3)
        store(sums, at + 4 * padded, d_b)


@njit
def inputs_before_back(args, first, rows, filters, du):  # type: ignore[no-untyped-def]
    """Write the gradient of the three inputs before the sequence, (10) at negative steps.

    Args:
        args: The `Backward`.
        first, rows: First row of the batch, and number of rows.
        filters: Array of w, padded rows.
        du: Array of du of the first three steps, padded rows. It is 0 for steps after the sequence.
    """
    H, T, d_before, d_last = args.H, args.T, floats(args.d_before), floats(args.d_last)
    padded = panels_of(H) * LANES
    for row in range(rows):
        for step in range(BEFORE):
            at = ((first + row) * BEFORE + step) * H
            for unit in range(0, H, LANES):
                dv = splat(0.0)
                for k in range(step + 1):
                    dv = fma(load(filters, k * padded + unit), load(du, ((step - k) * rows + row) * padded + unit), dv)
                if step >= T:
                    dv += load_first(d_last, at - T * H + unit, H - unit)
                store_first(d_before, at + unit, H - unit, dv)
