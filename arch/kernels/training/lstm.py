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

# Shape suffixes: T time, B batch, D input width, H hidden width, G = 4H gate rows

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from arch.kernels.cells.gated import lstm as cell
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
from arch.kernels.simd.activation import tanh
from arch.kernels.simd.matmul import ROWS, multiply, pack, pack_transposed, panels_of
from arch.kernels.simd.matvec import floats
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


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        x, W, bias, U: Inputs (T, B, D), W (G, D), b (G,) and U (G, H).
        h_0, c_0: Initial state, (B, H).
        outputs: Outputs, (T, B, H), written.
        gates: Receives i, f, g and o (T, B, G) if `saves` is true.
        cells: Receives c' of all steps (T, B, H) if `saves` is true, else the last c' (1, B, H).
        saves: Whether to write `gates` and all of `cells`.
        T, B, D, H: Steps, batch size, input width, hidden width.
    """

    x: Tensor
    W: Tensor
    bias: Tensor
    U: Tensor
    h_0: Tensor
    c_0: Tensor
    outputs: Tensor
    gates: Tensor
    cells: Tensor
    saves: bool
    T: int
    B: int
    D: int
    H: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        x, W, U: Inputs (T, B, D), W (G, D) and U (G, H).
        h_0, c_0: Initial state, (B, H).
        outputs, gates, cells: What `forward_rows` wrote if `saves` was true: (T, B, H), (T, B, G) and (T, B, H).
        d_outputs: Gradient of `outputs`, (T, B, H).
        d_h, d_c: Gradients of the last state, (B, H). Receive those of the initial state.
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
    outputs: Tensor
    gates: Tensor
    cells: Tensor
    d_outputs: Tensor
    d_h: Tensor
    d_c: Tensor
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
    bypass = bypasses_cache(args.gates, T, B, 4 * H, H)
    x, W, bias, U = floats(args.x), floats(args.W), floats(args.bias), floats(args.U)
    h_0, c_0, outputs = floats(args.h_0), floats(args.c_0), floats(args.outputs)
    gates, cells = floats(args.gates), floats(args.cells)
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
    d_sums = np.empty(steps * rows * stride, np.float32)
    carried = np.empty(rows * padded, np.float32)
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


class Scan(torch.autograd.Function):
    """The map from x, the weights and the initial state to outputs (T, B, H), h_T (B, H) and c_T (B, H).

    Its arguments are x (T, B, D), W (G, D), b (G,), U (G, H), h_0 (B, H) and c_0 (B, H).
    """

    @staticmethod
    def forward(ctx: Any, reference: Reference, saves: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        x_TBD, W_GD, b_G, U_GH, h_BH, c_BH = inputs
        (T, B, D), H = x_TBD.shape, U_GH.shape[1]
        outputs_TBH, cells_TBH = x_TBD.new_empty(T, B, H), x_TBD.new_empty(T if saves else 1, B, H)
        gates_TBG = x_TBD.new_empty(T if saves else 0, B, 4 * H)
        arguments = Forward(
            x=x_TBD,
            W=W_GD,
            bias=b_G,
            U=U_GH,
            h_0=h_BH,
            c_0=c_BH,
            outputs=outputs_TBH,
            gates=gates_TBG,
            cells=cells_TBH,
            saves=saves,
            T=T,
            B=B,
            D=D,
            H=H,
        )
        run_rows(forward_rows, arguments, B, 4 * T * B * H * (D + H) // TILED, ROWS)
        ctx.reference = reference
        ctx.save_for_backward(*inputs, outputs_TBH, gates_TBG, cells_TBH)
        return outputs_TBH, outputs_TBH[-1].clone(), cells_TBH[-1].clone()

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, outputs_TBH, gates_TBG, cells_TBH = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, None, *reference_gradients(ctx.reference, inputs, gradients)
        x_TBD, W_GD, _, U_GH, h_BH, c_BH = inputs
        (T, B, D), H = x_TBD.shape, U_GH.shape[1]
        d_h_BH, d_c_BH = (gradient.clone(memory_format=CONTIGUOUS) for gradient in gradients[1:])
        d_x_TBD = torch.empty_like(x_TBD, memory_format=CONTIGUOUS) if ctx.needs_input_grad[2] else None
        arguments = Backward(
            x=x_TBD,
            W=W_GD,
            U=U_GH,
            h_0=h_BH,
            c_0=c_BH,
            outputs=outputs_TBH,
            gates=gates_TBG,
            cells=cells_TBH,
            d_outputs=gradients[0],
            d_h=d_h_BH,
            d_c=d_c_BH,
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
        return None, None, d_x_TBD, d_W_GD, d_b_G1[:, 0], d_U_GH, d_h_BH, d_c_BH


def scan(reference: Reference, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return the outputs (T, B, H), h_T (B, H) and c_T (B, H), by `Scan`.

    Args:
        reference: Function of `inputs` that computes the same results in plain torch. Second derivatives use it.
        inputs: x (T, B, D), W (G, D), b (G,), U (G, H), h_0 (B, H) and c_0 (B, H).
    """
    outputs: tuple[Tensor, ...] = Scan.apply(reference, needs_gradients(*inputs), *inputs)  # type: ignore[no-untyped-call]
    return outputs
