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

# Shape suffixes: T time, B batch, D input width, H hidden width, G = 4H gate rows

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from arch.kernels.cells.exponential import slstm as cell
from arch.kernels.cells.exponential import slstm_back as cell_back
from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.runtime.launch import (
    CONTIGUOUS,
    Reference,
    needs_gradients,
    needs_reference,
    of_blocks,
    reference_gradients,
    run_rows,
    sum_rows,
    without_autocast,
)
from arch.kernels.runtime.threads import TILED
from arch.kernels.simd.matmul import ROWS, multiply, pack, pack_transposed, panels_of
from arch.kernels.simd.matvec import floats
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

SAVED = 5
"""Numbers per unit and step in `gates`: i, f, z, o and 1 - σ(f̂)."""


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        x, W, bias, U: Inputs (T, B, D), W (G, D), b (G,) and U (G, H).
        h_0, c_0, n_0: Initial output, cell and normaliser, (B, H).
        m: Initial stabiliser, (B, H). Receives the last one.
        outputs: Outputs, (T, B, H), written.
        gates: Receives `SAVED` blocks of H numbers per step and row (T, B, SAVED · H) if `saves` is true.
        cells, norms: Receive c' and n' of all steps (T, B, H) if `saves` is true, else the last ones (1, B, H).
        saves: Whether to write `gates` and all of `cells` and `norms`.
        T, B, D, H: Steps, batch size, input width, hidden width.
    """

    x: Tensor
    W: Tensor
    bias: Tensor
    U: Tensor
    h_0: Tensor
    c_0: Tensor
    n_0: Tensor
    m: Tensor
    outputs: Tensor
    gates: Tensor
    cells: Tensor
    norms: Tensor
    saves: bool
    T: int
    B: int
    D: int
    H: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        x, W, U: Inputs (T, B, D), W (G, D) and U (G, H).
        h_0, c_0, n_0: Initial output, cell and normaliser, (B, H).
        outputs, gates, cells, norms: What `forward_rows` wrote if `saves` was true.
        d_outputs: Gradient of `outputs`, (T, B, H).
        d_h, d_c, d_n, d_m: Gradients of the last state, (B, H). Receive those of the initial state.
        d_x: Gradient of `x`, (T, B, D), written, or None if it is not needed.
        sums: Sums (D + H + 1, 4 · padded), added to: transposed dW, transposed dU and db. `padded` is H rounded up to
            whole vectors. `sum_rows` sets it for each share.
        T, B, D, H: Steps, batch size, input width, hidden width.
    """

    x: Tensor
    W: Tensor
    U: Tensor
    h_0: Tensor
    c_0: Tensor
    n_0: Tensor
    outputs: Tensor
    gates: Tensor
    cells: Tensor
    norms: Tensor
    d_outputs: Tensor
    d_h: Tensor
    d_c: Tensor
    d_n: Tensor
    d_m: Tensor
    d_x: Tensor | None
    sums: Tensor | None
    T: int
    B: int
    D: int
    H: int


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
    projected = np.empty(steps * rows * 4 * padded, np.float32)
    recurrent = np.empty(rows * 4 * padded, np.float32)
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
    d_sums = np.empty(steps * rows * stride, np.float32)
    carried = np.empty(rows * padded, np.float32)
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


class Scan(torch.autograd.Function):
    """The map from x, the weights and the initial state to outputs (T, B, H) and the last h, c, n and m, each (B, H).

    Its arguments are x (T, B, D), W (G, D), b (G,), U (G, H), h_0, c_0, n_0 and m_0, each (B, H).
    """

    @staticmethod
    def forward(ctx: Any, reference: Reference, saves: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        x_TBD, W_GD, b_G, U_GH, h_BH, c_BH, n_BH, m_BH = inputs
        (T, B, D), H, saved = x_TBD.shape, U_GH.shape[1], x_TBD.shape[0] if saves else 0
        outputs_TBH, gates_TBS = x_TBD.new_empty(T, B, H), x_TBD.new_empty(saved, B, SAVED * H)
        cells_TBH, norms_TBH = (x_TBD.new_empty(max(1, saved), B, H) for _ in range(2))
        last_m_BH = m_BH.clone(memory_format=CONTIGUOUS)
        arguments = Forward(
            x=x_TBD,
            W=W_GD,
            bias=b_G,
            U=U_GH,
            h_0=h_BH,
            c_0=c_BH,
            n_0=n_BH,
            m=last_m_BH,
            outputs=outputs_TBH,
            gates=gates_TBS,
            cells=cells_TBH,
            norms=norms_TBH,
            saves=saves,
            T=T,
            B=B,
            D=D,
            H=H,
        )
        run_rows(forward_rows, arguments, B, 4 * T * B * H * (D + H) // TILED, ROWS)
        ctx.reference = reference
        ctx.save_for_backward(*inputs, outputs_TBH, gates_TBS, cells_TBH, norms_TBH)
        return outputs_TBH, *(part_TBH[-1].clone() for part_TBH in (outputs_TBH, cells_TBH, norms_TBH)), last_m_BH

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, outputs_TBH, gates_TBS, cells_TBH, norms_TBH = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, None, *reference_gradients(ctx.reference, inputs, gradients)
        x_TBD, W_GD, _, U_GH, h_BH, c_BH, n_BH, _ = inputs
        (T, B, D), H = x_TBD.shape, U_GH.shape[1]
        d_h_BH, d_c_BH, d_n_BH, d_m_BH = (gradient.clone(memory_format=CONTIGUOUS) for gradient in gradients[1:])
        d_x_TBD = torch.empty_like(x_TBD, memory_format=CONTIGUOUS) if ctx.needs_input_grad[2] else None
        arguments = Backward(
            x=x_TBD,
            W=W_GD,
            U=U_GH,
            h_0=h_BH,
            c_0=c_BH,
            n_0=n_BH,
            outputs=outputs_TBH,
            gates=gates_TBS,
            cells=cells_TBH,
            norms=norms_TBH,
            d_outputs=gradients[0],
            d_h=d_h_BH,
            d_c=d_c_BH,
            d_n=d_n_BH,
            d_m=d_m_BH,
            d_x=d_x_TBD,
            sums=None,
            T=T,
            B=B,
            D=D,
            H=H,
        )
        shape, work = (D + H + 1, 4 * panels_of(H) * LANES), 4 * T * B * H * (D + H) // TILED
        sums = sum_rows(backward_rows, arguments, B, work, shape)
        d_W_GD, d_U_GH, d_b_G1 = (of_blocks(part, 4, H) for part in sums.split([D, H, 1]))
        return None, None, d_x_TBD, d_W_GD, d_b_G1[:, 0], d_U_GH, d_h_BH, d_c_BH, d_n_BH, d_m_BH


def scan(reference: Reference, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return the outputs (T, B, H) and the last h, c, n and m, each (B, H), by `Scan`.

    Args:
        reference: Function of `inputs` that computes the same results in plain torch. Second derivatives use it.
        inputs: x (T, B, D), W (G, D), b (G,), U (G, H), h_0, c_0, n_0 and m_0, each (B, H).
    """
    outputs: tuple[Tensor, ...] = Scan.apply(reference, needs_gradients(*inputs), *inputs)  # type: ignore[no-untyped-call]
    return outputs
