"""LSTM over a whole sequence: equations (1) to (6) of `arch/lstm.py`, and their derivatives.

d· is the derivative of the loss with respect to ·. p are the pre-activations. dh and dc collect the contributions of
later steps and of the output:

    dc  ← dc + dh o (1 - tanh²c')         (7)
    do  = dh tanh(c')                     (8)
    di, dg, df = dc g, dc i, dc c         (9)
    dp_i = di i (1 - i), also for f and o;  dp_g = dg (1 - g²)    (10)
    dc  ← dc f                            (11)
    dh  ← U^T dp                          (12)
    dU  = Σ_t dp_t h_t^T,  dW = Σ_t dp_t x_t^T,  db = Σ_t dp_t    (13)
    dx  = W^T dp                          (14)

W x and dp are stored for one chunk of steps at a time. Those of a whole sequence may not fit into the cache. Moving
W x and dp through memory takes as long as computing them.
"""

# Letters: T time, B batch, D input width, H hidden width, G = 4H gate rows

from __future__ import annotations

from arch.kernels.cells.gated import lstm as cell
from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.simd.activation import tanh
from arch.kernels.simd.matmul import multiply, pack, pack_transposed, panels_of
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.scratch import empty
from arch.kernels.simd.vector import LANES, fma, load, load_first, splat, store, store_first
from arch.kernels.training.chunked import (
    Chunk,
    Columns,
    add_biases,
    add_recurrent,
    add_weights,
    bypasses_cache,
    project,
    project_back,
    save,
    steps_at_once,
    stride_of,
)
from arch.kernels.training.four_gates import Backward, Forward, Kernels

SAVED = 4
"""Numbers per unit and step in `gates`: i, f, g and o."""


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the outputs of rows `first` to `last` of the batch, for the `Forward` at the address `record`."""
    args = arguments_at(record, Forward)
    T, B, D, H, saves = args.T, args.B, args.D, args.H, args.saves
    bypass = bypasses_cache(args.gates, T, B, SAVED * H, H)
    x, W, bias, U = floats(args.x), floats(args.W), floats(args.bias), floats(args.U)
    h_0, c_0, outputs = floats(args.h_0), floats(args.c_0), floats(args.outputs)
    gates, cells = floats(args.gates), floats(args.cells)
    rows, panels = last - first, panels_of(H)
    padded, steps = panels * LANES, steps_at_once(rows, T)
    packed_W, packed_U = pack_transposed(W, 0, 4 * H, H, D), pack_transposed(U, 0, 4 * H, H, H)
    projected = empty(steps * rows * 4 * padded)
    recurrent = empty(rows * 4 * padded)
    for t in range(T):
        if t % steps == 0:
            project(projected, x, D, packed_W, 4 * panels, Chunk(t, min(T, t + steps), B, first, last))
        before, before_at = (h_0, 0) if t == 0 else (outputs, (t - 1) * B * H)
        multiply(recurrent, 0, 4 * padded, before, before_at + first * H, H, packed_U, H, rows, 4 * panels)
        cell_before, cell_at = (c_0, 0) if t == 0 else (cells, (t - 1) * B * H if saves else 0)
        cell_now = t * B * H if saves else 0
        for b in range(first, last):
            for unit in range(0, padded, LANES):
                count = H - unit
                at = (t * B + b) * 4 * H + unit
                of_h = (b - first) * 4 * padded + unit
                of_x = t % steps * rows * 4 * padded + of_h
                i = load(recurrent, of_h) + load(projected, of_x)
                f = load(recurrent, of_h + padded) + load(projected, of_x + padded)
                g = load(recurrent, of_h + 2 * padded) + load(projected, of_x + 2 * padded)
                o = load(recurrent, of_h + 3 * padded) + load(projected, of_x + 3 * padded)
                i += load_first(bias, unit, count)
                f += load_first(bias, H + unit, count)
                g += load_first(bias, 2 * H + unit, count)
                o += load_first(bias, 3 * H + unit, count)
                i, f, g, o, c, h = cell(i, f, g, o, load_first(cell_before, cell_at + b * H + unit, count))
                store_first(cells, cell_now + b * H + unit, count, c)
                store_first(outputs, (t * B + b) * H + unit, count, h)
                if saves:
                    save(gates, at, count, i, bypass)
                    save(gates, at + H, count, f, bypass)
                    save(gates, at + 2 * H, count, g, bypass)
                    save(gates, at + 3 * H, count, o, bypass)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write `d_h`, `d_c` and `d_x`, and add the weight gradients to `sums`, for rows `first` to `last` of the batch.

    The `Backward` is at the address `record`.
    """
    args = arguments_at(record, Backward)
    T, B, D, H = args.T, args.B, args.D, args.H
    x, W, U, h_0, c_0 = floats(args.x), floats(args.W), floats(args.U), floats(args.h_0), floats(args.c_0)
    outputs, gates, cells = floats(args.outputs), floats(args.gates), floats(args.cells)
    d_outputs, d_h, d_c = floats(args.d_outputs), floats(args.d_h), floats(args.d_c)
    d_x, sums = floats(args.d_x), floats(args.sums)
    rows, panels = last - first, panels_of(H)
    padded, steps = panels * LANES, steps_at_once(rows, T)
    width, stride = 4 * padded, stride_of(4 * panels)
    packed_W, packed_U = pack(W, 0, 4 * H, D, H, padded), pack(U, 0, 4 * H, H, H, padded)
    one = splat(1.0)
    d_sums = empty(steps * rows * stride)
    carried = empty(rows * padded)
    for end in range(T, 0, -steps):
        begin = max(0, end - steps)
        for t in range(end - 1, begin - 1, -1):
            cell_before, cell_at = (c_0, 0) if t == 0 else (cells, (t - 1) * B * H)
            now = (t - begin) * rows * stride
            for b in range(first, last):
                for unit in range(0, padded, LANES):
                    count = H - unit
                    at, here = (t * B + b) * 4 * H + unit, now + (b - first) * stride + unit
                    i, f = load_first(gates, at, count), load_first(gates, at + H, count)
                    g, o = load_first(gates, at + 2 * H, count), load_first(gates, at + 3 * H, count)
                    c = load_first(cell_before, cell_at + b * H + unit, count)
                    tanh_c = tanh(load_first(cells, (t * B + b) * H + unit, count))
                    later = (b - first) * padded + unit
                    dh = load_first(d_h, b * H + unit, count) if t == T - 1 else load(carried, later)
                    dh += load_first(d_outputs, (t * B + b) * H + unit, count)
                    dc = load_first(d_c, b * H + unit, count)
                    dc = fma(dh * o, one - tanh_c * tanh_c, dc)  # (7)
                    store(d_sums, here, dc * g * (i * (one - i)))  # (8) to (10)
                    store(d_sums, here + padded, dc * c * (f * (one - f)))
                    store(d_sums, here + 2 * padded, dc * i * (one - g * g))
                    store(d_sums, here + 3 * padded, dh * tanh_c * (o * (one - o)))
                    store_first(d_c, b * H + unit, count, dc * f)  # (11)
            multiply(carried, 0, padded, d_sums, now, stride, packed_U, width, rows, panels)  # (12)
        chunk, columns = Chunk(begin, end, B, first, last), Columns(d_sums, 0, stride, 4 * panels)
        add_weights(sums, 0, x, D, columns, chunk)  # (13)
        add_recurrent(sums, D * width, h_0, outputs, H, columns, chunk)
        add_biases(sums, (D + H) * width, columns, chunk)
        if args.d_x != 0:
            project_back(d_x, D, columns, packed_W, chunk)  # (14)
    for b in range(first, last):
        for unit in range(0, padded, LANES):
            store_first(d_h, b * H + unit, H - unit, load(carried, (b - first) * padded + unit))


KERNELS = Kernels(forward_rows, backward_rows, SAVED)
"""The kernels for `four_gates.scan`."""
