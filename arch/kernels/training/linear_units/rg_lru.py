"""RG-LRU over a whole sequence: equations (1) to (7) of `arch/rg_lru.py`, and their derivatives.

d· is the derivative of the loss with respect to ·. dh collects the contributions of the output and of the next step.
With g = W_g x + b_g, q = h ⊙ gelu(g), and c = -8 softplus(Λ):

    dq  = W_y^T dy,  dg = dq ⊙ h ⊙ gelu'(g),  dh ← dq ⊙ gelu(g) + a ⊙ dh                     (8)
    du  = √(1 - a²) ⊙ i ⊙ dh + W_r^T ds_r + W_i^T ds_i                                     (9)   s: sums of the gates
    dv  = Σ_k w_k ⊙ du_(t+3-k)                                                             (10)  conv=0: dv = du
    dw_k = Σ v_(t-3+k) ⊙ du,  db_c = Σ du,  dW_y = Σ dy q^T,  db_y = Σ dy,
    d[W_r; W_i] = Σ ds u^T,  db = Σ ds,  d[W_v; W_g] = Σ [dv; dg] x^T,  db = Σ [dv; dg]    (11)  steps and sequences
    dx  = W_v^T dv + W_g^T dg                                                              (12)

The derivatives of (5) and (6) are in `arch/kernels/cells/diagonal.py`. A few steps pass through all equations while
they are in the cache. Only v, g and h are kept for the backward pass, which computes r and i again: for long sequences,
this takes less time than moving them through memory.
"""

# Shape suffixes: T time, B batch, D input width, H hidden width, G = 2H rows, K taps, L = K - 1 inputs before a step

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from numba import njit
from torch import Tensor

from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.runtime.launch import (
    CONTIGUOUS,
    Reference,
    needs_gradients,
    needs_reference,
    reference_gradients,
    run_rows,
    sum_rows,
    without_autocast,
)
from arch.kernels.runtime.tensors import CONV_STEPS
from arch.kernels.runtime.threads import TILED
from arch.kernels.simd.activation import gelu
from arch.kernels.simd.matmul import ROWS, multiply, pack, pack_transposed, panels_of
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.scratch import empty, zeros
from arch.kernels.simd.vector import LANES, load, load_first, store, store_first
from arch.kernels.training.chunked import (
    Chunk,
    Columns,
    add_biases,
    add_weights,
    in_whole_vectors,
    place_of,
    project,
    project_back,
    rows_in,
    steps_at_once,
    stride_of,
)
from arch.kernels.training.linear_units.rg_lru_parts import (
    BEFORE,
    KEPT,
    advance,
    convolve_back,
    convolved,
    go_back,
    inputs_before_back,
    parts_of_sums,
    shapes_of_sums,
)


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        x, h_0: Inputs (T, B, D) and initial state (B, H).
        W_vg, b_vg: W_v and W_g (G, D), and their biases (G,).
        W_ri, b_ri: W_r and W_i (G, H), and their biases (G,).
        c: -8 softplus(Λ), (H,).
        W_y, b_y: W_y (H, H) and b_y (H,).
        before, w, b_c: Inputs of the convolution before the first step (B, L, H), filters (K, H) and bias (H,), or
            None if there is no convolution.
        kept: v, g and h (T, B, `KEPT` · H), written, or None if no backward pass follows.
        y, h: Outputs (T, B, H) and last state (B, H), written.
        last: Last inputs of the convolution (B, L, H), written, or None.
        T, B, D, H: Steps, batch size, input width, hidden width.
    """

    x: Tensor
    h_0: Tensor
    W_vg: Tensor
    b_vg: Tensor
    W_ri: Tensor
    b_ri: Tensor
    c: Tensor
    W_y: Tensor
    b_y: Tensor
    before: Tensor | None
    w: Tensor | None
    b_c: Tensor | None
    kept: Tensor | None
    y: Tensor
    h: Tensor
    last: Tensor | None
    T: int
    B: int
    D: int
    H: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        x, h_0, W_vg, W_ri, b_ri, c, W_y, before, w, b_c, kept, T, B, D, H: As for `Forward`.
        d_y, d_last: Gradients of the outputs and of the last inputs of the convolution, or None.
        d_h: Gradient of the last state (B, H). Receives that of the initial state.
        d_x: Gradient of `x` (T, B, D), written, or None if it is not needed.
        d_before: Gradient of `before`, written, or None.
        sums: Sums, added to. `sum_rows` sets it for each share. First the rows of G numbers: transposed dW_vg, db_vg,
            transposed dW_ri and db_ri; then those of H: dW_y, db_y, dc, dw and db_c. Rows are padded.
    """

    x: Tensor
    h_0: Tensor
    W_vg: Tensor
    W_ri: Tensor
    b_ri: Tensor
    c: Tensor
    W_y: Tensor
    before: Tensor | None
    w: Tensor | None
    b_c: Tensor | None
    kept: Tensor
    d_y: Tensor
    d_last: Tensor | None
    d_h: Tensor
    d_x: Tensor | None
    d_before: Tensor | None
    sums: Tensor | None
    T: int
    B: int
    D: int
    H: int


@njit
def _filters(args):  # type: ignore[no-untyped-def]
    """Return w, padded rows, and b_c, padded. Without a convolution, they are zeros."""
    H, padded = args.H, panels_of(args.H) * LANES
    filters, bias = zeros(CONV_STEPS * padded), zeros(padded)
    if args.w != 0:
        for unit in range(0, H, LANES):
            store(bias, unit, load_first(floats(args.b_c), unit, H - unit))
            for k in range(CONV_STEPS):
                store(filters, k * padded + unit, load_first(floats(args.w), k * H + unit, H - unit))
    return filters, bias


@njit
def _read_rows(source, at, apart, target, to, rows, H):  # type: ignore[no-untyped-def]
    """Copy rows of H numbers, from offset `at` on and `apart` numbers apart, to padded rows from offset `to` on."""
    padded = panels_of(H) * LANES
    for row in range(rows):
        for unit in range(0, H, LANES):
            store(target, to + row * padded + unit, load_first(source, at + row * apart + unit, H - unit))


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the outputs, the last state, and what is kept for the backward pass, of rows `first` to `last`."""
    args = arguments_at(record, Forward)
    T, B, D, H, has_conv = args.T, args.B, args.D, args.H, args.w != 0
    x, kept, y = floats(args.x), floats(args.kept), floats(args.y)
    rows, panels, both = last - first, panels_of(H), panels_of(2 * H)
    steps, padded, wide = steps_at_once(rows, T), panels * LANES, both * LANES
    packed_vg = pack_transposed(floats(args.W_vg), 0, 2 * H, 2 * H, D)
    packed_ri = pack_transposed(floats(args.W_ri), 0, 2 * H, 2 * H, H)
    packed_y = pack_transposed(floats(args.W_y), 0, H, H, H)
    b_v, b_g = in_whole_vectors(floats(args.b_vg), 0, H), in_whole_vectors(floats(args.b_vg), H, H)
    b_r, b_i = in_whole_vectors(floats(args.b_ri), 0, H), in_whole_vectors(floats(args.b_ri), H, H)
    c, b_y = in_whole_vectors(floats(args.c), 0, H), in_whole_vectors(floats(args.b_y), 0, H)
    filters, bias = _filters(args)
    apart, most = rows * padded, steps * rows
    v, u = zeros((BEFORE + steps) * apart), empty(most * H)
    sums, opened = empty(most * wide), empty(most * padded)
    product, state = empty(most * padded), empty(apart)
    _read_rows(floats(args.h_0), first * H, H, state, 0, rows, H)
    for step in range(BEFORE if has_conv else 0):
        _read_rows(floats(args.before), (first * BEFORE + step) * H, BEFORE * H, v, step * apart, rows, H)
    for begin in range(0, T, steps):
        chunk = Chunk(begin, min(T, begin + steps), B, first, last)
        count = rows_in(chunk)
        project(sums, x, D, packed_vg, both, chunk)
        for number in range(count):
            to = place_of(chunk, number) * KEPT * H
            for unit in range(0, H, LANES):
                at, left = number * wide + unit, H - unit
                of_v = load_first(sums, at, left) + load(b_v, unit)  # (1)
                g = load_first(sums, at + H, left) + load(b_g, unit)
                store(v, BEFORE * apart + number * padded + unit, of_v)
                store(opened, number * padded + unit, gelu(g))  # (7)
                if args.kept != 0:
                    store_first(kept, to + unit, left, of_v)
                    store_first(kept, to + H + unit, left, g)
        convolved(u, v, filters, bias, has_conv, chunk, H)
        multiply(sums, 0, wide, u, 0, H, packed_ri, H, count, both)
        advance(args, chunk, sums, wide, u, opened, c, b_r, b_i, state)
        multiply(product, 0, padded, opened, 0, padded, packed_y, H, count, panels)
        for number in range(count):
            to = place_of(chunk, number) * H
            for unit in range(0, H, LANES):
                store_first(y, to + unit, H - unit, load(product, number * padded + unit) + load(b_y, unit))  # (7)
        for at in range(0, BEFORE * apart if has_conv else 0, LANES):
            store(v, at, load(v, count * padded + at))
    for row in range(rows):
        for unit in range(0, H, LANES):
            at, left = row * padded + unit, H - unit
            store_first(floats(args.h), (first + row) * H + unit, left, load(state, at))
            for step in range(BEFORE if has_conv else 0):
                to = ((first + row) * BEFORE + step) * H + unit
                store_first(floats(args.last), to, left, load(v, step * apart + at))


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write `d_x`, `d_h` and `d_before`, and add the weight gradients to `sums`, for rows `first` to `last`."""
    args = arguments_at(record, Backward)
    T, B, D, H, has_conv = args.T, args.B, args.D, args.H, args.w != 0
    x, kept, d_y, d_h = floats(args.x), floats(args.kept), floats(args.d_y), floats(args.d_h)
    d_x, sums = floats(args.d_x), floats(args.sums)
    rows, panels, both = last - first, panels_of(H), panels_of(2 * H)
    steps, padded, wide, stride = steps_at_once(rows, T), panels * LANES, both * LANES, stride_of(both)
    packed_ri = pack_transposed(floats(args.W_ri), 0, 2 * H, 2 * H, H)
    b_r, b_i = in_whole_vectors(floats(args.b_ri), 0, H), in_whole_vectors(floats(args.b_ri), H, H)
    back_vg, back_y = pack(floats(args.W_vg), 0, 2 * H, D, 2 * H, wide), pack(floats(args.W_y), 0, H, H, H, H)
    back_ri, c = pack(floats(args.W_ri), 0, 2 * H, H, 2 * H, 2 * H), in_whole_vectors(floats(args.c), 0, H)
    filters, bias = _filters(args)
    apart, most = rows * padded, steps * rows
    v, u = zeros((BEFORE + steps) * apart), empty(most * H)
    du, later = zeros((steps + BEFORE) * apart), zeros(BEFORE * apart)
    dq, q, product = (
        empty(most * padded),
        empty(most * padded),
        empty(most * padded),
    )
    d_gates, d_vg = zeros(most * stride), zeros(most * stride)
    gates, carried = empty(most * wide), empty(apart)
    _read_rows(d_h, first * H, H, carried, 0, rows, H)
    at_ri, at_y = (D + 1) * wide, (D + H + 2) * wide
    at_b, at_c = at_y + H * padded, at_y + (H + 1) * padded
    for end in range(T, 0, -steps):
        chunk = Chunk(max(0, end - steps), end, B, first, last)
        count = rows_in(chunk)
        whole = Chunk(0, 1, count, 0, count)
        for step in range(BEFORE + chunk.end - chunk.begin):
            t, to = chunk.begin - BEFORE + step, step * apart
            if t >= 0:
                _read_rows(kept, (t * B + first) * KEPT * H, KEPT * H, v, to, rows, H)
            elif has_conv:
                _read_rows(floats(args.before), (first * BEFORE + BEFORE + t) * H, BEFORE * H, v, to, rows, H)
        convolved(u, v, filters, bias, has_conv, chunk, H)
        project(dq, d_y, H, back_y, panels, chunk)  # (8)
        multiply(gates, 0, wide, u, 0, H, packed_ri, H, count, both)
        go_back(args, chunk, c, gates, b_r, b_i, u, dq, q, d_gates, d_vg, stride, du, carried, sums, at_c)
        add_weights(sums, at_y, d_y, H, Columns(q, 0, padded, panels), chunk)
        columns = Columns(d_gates, 0, stride, both)
        add_weights(sums, at_ri, u, H, columns, whole)
        add_biases(sums, at_ri + H * wide, columns, whole)  # (11)
        multiply(product, 0, padded, d_gates, 0, stride, back_ri, 2 * H, count, panels)
        for unit in range(0, H, LANES):
            total, left = load(sums, at_b + unit), H - unit
            for number in range(count):
                at = number * padded + unit
                total += load_first(d_y, place_of(chunk, number) * H + unit, left)
                of_u = load(du, at) + load(product, at)  # (9)
                store(du, at, of_u)
                if not has_conv:
                    store_first(d_vg, number * stride + unit, left, of_u)  # (10)
            store(sums, at_b + unit, total)
        if has_conv:
            for at in range(0, BEFORE * apart, LANES):
                store(du, count * padded + at, load(later, at))
            convolve_back(args, chunk, filters, v, du, d_vg, stride, sums, at_c + padded)
            for at in range(0, BEFORE * apart, LANES):
                store(later, at, load(du, at))
        columns = Columns(d_vg, 0, stride, both)
        add_weights(sums, 0, x, D, columns, chunk)
        add_biases(sums, D * wide, columns, chunk)  # (11)
        if args.d_x != 0:
            project_back(d_x, D, columns, back_vg, chunk)  # (12)
    for row in range(rows):
        for unit in range(0, H, LANES):
            store_first(d_h, (first + row) * H + unit, H - unit, load(carried, row * padded + unit))
    if has_conv:
        inputs_before_back(args, first, rows, filters, later)


class Scan(torch.autograd.Function):
    """The map from the inputs to the outputs (T, B, H), h_T (B, H), and the last inputs of a convolution (B, L, H).

    Its arguments are the inputs of `Forward`, up to b_y without a convolution, or up to b_c.
    """

    @staticmethod
    def forward(ctx: Any, reference: Reference, saves: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        x_TBD, h_BH = inputs[:2]
        (T, B, D), H = x_TBD.shape, h_BH.shape[1]
        before_BLH, w_KH, b_H = inputs[9:] or (None,) * 3
        y_TBH, after_BH = x_TBD.new_empty(T, B, H), torch.empty_like(h_BH, memory_format=CONTIGUOUS)
        kept = x_TBD.new_empty(T, B, KEPT * H) if saves else None
        last = None if before_BLH is None else torch.empty_like(before_BLH, memory_format=CONTIGUOUS)
        given = (*inputs[:9], before_BLH, w_KH, b_H, kept, y_TBH, after_BH, last)
        run_rows(forward_rows, Forward._make([*given, T, B, D, H]), B, _work(T * B, D, H), ROWS)
        ctx.reference = reference
        ctx.save_for_backward(*inputs, *([] if kept is None else [kept]))
        return (y_TBH, after_BH) if last is None else (y_TBH, after_BH, last)

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, kept = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, None, *reference_gradients(ctx.reference, inputs, gradients)
        x_TBD, h_BH, W_vg_GD, _, W_ri_GH, b_ri_G, c_H, W_y_HH, _, *conv = inputs
        d_y_TBH, d_h_BH, *d_last = gradients
        (T, B, D), H = x_TBD.shape, h_BH.shape[1]
        d_h_BH = d_h_BH.clone(memory_format=CONTIGUOUS)
        d_x_TBD = torch.empty_like(x_TBD, memory_format=CONTIGUOUS) if ctx.needs_input_grad[2] else None
        d_before = torch.empty_like(conv[0], memory_format=CONTIGUOUS) if conv else None
        given = (x_TBD, h_BH, W_vg_GD, W_ri_GH, b_ri_G, c_H, W_y_HH, *(conv or (None,) * 3), kept)
        written = (d_y_TBH, d_last[0] if conv else None, d_h_BH, d_x_TBD, d_before, None)
        size, work = sum(rows * width for rows, width in shapes_of_sums(D, H)), 2 * _work(T * B, D, H)
        sums = sum_rows(backward_rows, Backward._make([*given, *written, T, B, D, H]), B, work, (size,))
        of_both, of_one = parts_of_sums(sums, D, H)
        of_vg = (of_both[:D].T, of_both[D])
        of_ri = (of_both[D + 1 : D + H + 1].T, of_both[D + H + 1])
        of_y, of_c = (of_one[:H], of_one[H]), of_one[H + 1]
        of_conv = (d_before, of_one[H + 2 : H + 2 + CONV_STEPS], of_one[H + 2 + CONV_STEPS]) if conv else ()
        return None, None, d_x_TBD, d_h_BH, *of_vg, *of_ri, of_c, *of_y, *of_conv


def _work(rows: int, D: int, H: int) -> int:
    """Return the work of a forward pass over `rows` rows, as `run_rows` counts it."""
    return rows * H * (2 * D + 3 * H) // TILED


def scan(reference: Reference, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return the outputs (T, B, H), the last state (B, H), and the last inputs of a convolution (B, L, H), by `Scan`.

    Args:
        reference: Function of `inputs` that computes the same results in plain torch. Second derivatives use it.
        inputs: The inputs of `Scan`.
    """
    results: tuple[Tensor, ...] = Scan.apply(reference, needs_gradients(*inputs), *inputs)  # type: ignore[no-untyped-call]
    return results
