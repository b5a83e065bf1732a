"""sLSTM over a whole sequence: equations (1) to (9) of `arch/slstm.py`, and their derivatives.

d· is the derivative of the loss with respect to ·. p are the sums of the gates: ĩ, f̂ and the arguments of tanh and σ.
dh, dc, dn and dm collect the contributions of later steps and of the output. q is c' / n':

    do   = dh q                                                       (10)
    dc  ← dc + dh o / n',  dn ← dn - dh o q / n'                      (11)
    dĩ   = (dc z + dn) i,  dl = (dc c + dn n) f                       (12)  l = log σ(f̂) + m
    r    = dm - dĩ - dl                                               (13)  the gradient of m', in all of (5) to (8)
    add r to dĩ if m' = ĩ, else to dl                                       r is 0 unless the loss depends on c, n or m
    dp_z = dc i (1 - z²)                                              (14)
    dp_i = dĩ,  dp_f = dl (1 - σ(f̂)),  dp_o = do o (1 - o)            (15)
    dc  ← dc f,  dn ← dn f,  dm ← dl                                  (16)
    dh  ← U^T dp                                                      (17)
    dU  = Σ_t dp_t h_t^T,  dW = Σ_t dp_t x_t^T,  db = Σ_t dp_t        (18)
    dx  = W^T dp                                                      (19)

U is a full matrix here, with zeros for the other heads. W x and dp are stored for one chunk of steps at a time, as in
`arch/kernels/training/lstm.py`.
"""

# Letters: T time, B batch, D input width, H hidden width, G = 4H gate rows

from __future__ import annotations

from arch.kernels.cells.exponential import slstm as cell
from arch.kernels.cells.exponential import slstm_back as cell_back
from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.simd.matmul import multiply, pack, pack_transposed, panels_of
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.scratch import empty
from arch.kernels.simd.vector import LANES, first_or, load, load_first, splat, store, store_first
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

SAVED = 5
"""Numbers per unit and step in `gates`: i, f, z, o and 1 - σ(f̂)."""


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the outputs of rows `first` to `last` of the batch, for the `Forward` at the address `record`."""
    args = arguments_at(record, Forward)
    T, B, D, H, saves = args.T, args.B, args.D, args.H, args.saves
    bypass = bypasses_cache(args.gates, T, B, SAVED * H, H)
    x, W, bias, U = floats(args.x), floats(args.W), floats(args.bias), floats(args.U)
    h_0, c_0, n_0, m = floats(args.h_0), floats(args.c_0), floats(args.n_0), floats(args.m)
    outputs, gates, cells, norms = floats(args.outputs), floats(args.gates), floats(args.cells), floats(args.norms)
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
        last_cells, last_norms = (c_0, n_0) if t == 0 else (cells, norms)
        then = (t - 1) * B * H if t > 0 and saves else 0
        now = t * B * H if saves else 0
        for b in range(first, last):
            for unit in range(0, padded, LANES):
                count, at = H - unit, b * H + unit
                of_h = (b - first) * 4 * padded + unit
                of_x = t % steps * rows * 4 * padded + of_h
                i = load(recurrent, of_h) + load(projected, of_x)
                f = load(recurrent, of_h + padded) + load(projected, of_x + padded)
                z = load(recurrent, of_h + 2 * padded) + load(projected, of_x + 2 * padded)
                o = load(recurrent, of_h + 3 * padded) + load(projected, of_x + 3 * padded)
                i += load_first(bias, unit, count)
                f += load_first(bias, H + unit, count)
                z += load_first(bias, 2 * H + unit, count)
                o += load_first(bias, 3 * H + unit, count)
                c, n = load_first(last_cells, then + at, count), load_first(last_norms, then + at, count)
                i, f, z, o, closed, c, n, stabiliser, h = cell(i, f, z, o, c, n, load_first(m, at, count))
                store_first(cells, now + at, count, c)
                store_first(norms, now + at, count, n)
                store_first(m, at, count, stabiliser)
                store_first(outputs, t * B * H + at, count, h)
                if saves:
                    to = (t * B + b) * SAVED * H + unit
                    save(gates, to, count, i, bypass)
                    save(gates, to + H, count, f, bypass)
                    save(gates, to + 2 * H, count, z, bypass)
                    save(gates, to + 3 * H, count, o, bypass)
                    save(gates, to + 4 * H, count, closed, bypass)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the gradients of x and the initial state, and add those of the weights, for rows `first` to `last`.

    The `Backward` is at the address `record`.
    """
    args = arguments_at(record, Backward)
    T, B, D, H = args.T, args.B, args.D, args.H
    x, W, U, sums = floats(args.x), floats(args.W), floats(args.U), floats(args.sums)
    h_0, c_0, n_0 = floats(args.h_0), floats(args.c_0), floats(args.n_0)
    outputs, gates, cells, norms = floats(args.outputs), floats(args.gates), floats(args.cells), floats(args.norms)
    d_outputs, d_x, d_h = floats(args.d_outputs), floats(args.d_x), floats(args.d_h)
    d_c, d_n, d_m = floats(args.d_c), floats(args.d_n), floats(args.d_m)
    rows, panels = last - first, panels_of(H)
    padded, steps = panels * LANES, steps_at_once(rows, T)
    width, stride = 4 * padded, stride_of(4 * panels)
    packed_W, packed_U = pack(W, 0, 4 * H, D, H, padded), pack(U, 0, 4 * H, H, H, padded)
    d_sums = empty(steps * rows * stride)
    carried = empty(rows * padded)
    for end in range(T, 0, -steps):
        begin = max(0, end - steps)
        for t in range(end - 1, begin - 1, -1):
            last_cells, last_norms = (c_0, n_0) if t == 0 else (cells, norms)
            then, now = max(t - 1, 0) * B * H, t * B * H
            to = (t - begin) * rows * stride
            for b in range(first, last):
                for unit in range(0, padded, LANES):
                    count, at = H - unit, b * H + unit
                    place, here = (t * B + b) * SAVED * H + unit, to + (b - first) * stride + unit
                    later = (b - first) * padded + unit
                    dh = load_first(d_h, at, count) if t == T - 1 else load(carried, later)
                    dh += load_first(d_outputs, now + at, count)
                    n_after = first_or(load_first(norms, now + at, count), count, splat(1.0))  # 0 / 1 in the padding
                    di, df, dz, do, dc, dn, dm = cell_back(
                        load_first(gates, place, count),
                        load_first(gates, place + H, count),
                        load_first(gates, place + 2 * H, count),
                        load_first(gates, place + 3 * H, count),
                        load_first(gates, place + 4 * H, count),
                        load_first(last_cells, then + at, count),
                        load_first(last_norms, then + at, count),
                        load_first(cells, now + at, count),
                        n_after,
                        dh,
                        load_first(d_c, at, count),
                        load_first(d_n, at, count),
                        load_first(d_m, at, count),
                    )
                    store(d_sums, here, di)
                    store(d_sums, here + padded, df)
                    store(d_sums, here + 2 * padded, dz)
                    store(d_sums, here + 3 * padded, do)
                    store_first(d_c, at, count, dc)
                    store_first(d_n, at, count, dn)
                    store_first(d_m, at, count, dm)
            multiply(carried, 0, padded, d_sums, to, stride, packed_U, width, rows, panels)  # (17)
        chunk, columns = Chunk(begin, end, B, first, last), Columns(d_sums, 0, stride, 4 * panels)
        add_weights(sums, 0, x, D, columns, chunk)  # (18)
        add_recurrent(sums, D * width, h_0, outputs, H, columns, chunk)
        add_biases(sums, (D + H) * width, columns, chunk)
        if args.d_x != 0:
            project_back(d_x, D, columns, packed_W, chunk)  # (19)
    for b in range(first, last):
        for unit in range(0, padded, LANES):
            store_first(d_h, b * H + unit, H - unit, load(carried, (b - first) * padded + unit))


KERNELS = Kernels(forward_rows, backward_rows, SAVED)
"""The kernels for `four_gates.scan`."""
