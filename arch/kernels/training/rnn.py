"""RNN over a whole sequence: equation (1) of `arch/rnn.py`, and its derivatives.

d· is the derivative of the loss with respect to ·. dh collects the contributions of later steps and of the output:

    dp  = dh (1 - h'²) for tanh;  dh if h' > 0, else 0, for relu       (2)  p is the pre-activation
    dh  ← U^T dp                                                       (3)
    dU  = Σ_t dp_t h_t^T,  dW = Σ_t dp_t x_t^T,  db = Σ_t dp_t         (4)
    dx  = W^T dp                                                       (5)

W x and dp are stored for one chunk of steps at a time. Those of a whole sequence may not fit into the cache. Moving
W x and dp through memory takes as long as computing them.
"""

# Shape suffixes: T time, B batch, D input width, H hidden width

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from arch.kernels.cells.gated import rnn_relu, rnn_tanh
from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.runtime.launch import (
    CONTIGUOUS,
    Reference,
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
from arch.kernels.simd.scratch import empty
from arch.kernels.simd.vector import LANES, load, load_first, positive, splat, store, store_first
from arch.kernels.training.chunked import (
    Chunk,
    Columns,
    add_biases,
    add_recurrent,
    add_weights,
    project,
    project_back,
    steps_at_once,
    stride_of,
)


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        x, W, bias, U: Inputs (T, B, D), W (H, D), b (H,) and U (H, H).
        h_0: Initial state, (B, H).
        outputs: Outputs, (T, B, H), written.
        is_tanh: True if φ is tanh, false if φ is relu.
        T, B, D, H: Steps, batch size, input width, hidden width.
    """

    x: Tensor
    W: Tensor
    bias: Tensor
    U: Tensor
    h_0: Tensor
    outputs: Tensor
    is_tanh: bool
    T: int
    B: int
    D: int
    H: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        x, W, U: Inputs (T, B, D), W (H, D) and U (H, H).
        h_0: Initial state, (B, H).
        outputs, d_outputs: Outputs and their gradient, (T, B, H).
        d_h: Gradient of the last state, (B, H). Receives that of the initial state.
        d_x: Gradient of `x`, (T, B, D), written, or None if it is not needed.
        sums: Sums (D + H + 1, padded), added to: transposed dW, transposed dU and db. `padded` is H rounded up to
            whole vectors. `sum_rows` sets it for each share.
        is_tanh: True if φ is tanh, false if φ is relu.
        T, B, D, H: Steps, batch size, input width, hidden width.
    """

    x: Tensor
    W: Tensor
    U: Tensor
    h_0: Tensor
    outputs: Tensor
    d_outputs: Tensor
    d_h: Tensor
    d_x: Tensor | None
    sums: Tensor | None
    is_tanh: bool
    T: int
    B: int
    D: int
    H: int


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the outputs of rows `first` to `last` of the batch."""
    args = arguments_at(record, Forward)
    T, B, D, H = args.T, args.B, args.D, args.H
    x, W, bias, U = floats(args.x), floats(args.W), floats(args.bias), floats(args.U)
    h_0, outputs = floats(args.h_0), floats(args.outputs)
    rows, panels = last - first, panels_of(H)
    padded, steps = panels * LANES, steps_at_once(rows, T)
    packed_W, packed_U = pack_transposed(W, 0, H, H, D), pack_transposed(U, 0, H, H, H)
    projected = empty(steps * rows * padded)
    recurrent = empty(rows * padded)
    for t in range(T):
        if t % steps == 0:
            project(projected, x, D, packed_W, panels, Chunk(t, min(T, t + steps), B, first, last))
        before, before_at = (h_0, 0) if t == 0 else (outputs, (t - 1) * B * H)
        multiply(recurrent, 0, padded, before, before_at + first * H, H, packed_U, H, rows, panels)
        for row in range(rows):
            for unit in range(0, padded, LANES):
                total = load(projected, (t % steps * rows + row) * padded + unit)
                total += load(recurrent, row * padded + unit) + load_first(bias, unit, H - unit)
                h = rnn_tanh(total) if args.is_tanh else rnn_relu(total)
                store_first(outputs, (t * B + first + row) * H + unit, H - unit, h)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write `d_h` and `d_x`, and add the weight gradients to `sums`, for rows `first` to `last` of the batch."""
    args = arguments_at(record, Backward)
    T, B, D, H = args.T, args.B, args.D, args.H
    x, W, U, h_0, outputs = floats(args.x), floats(args.W), floats(args.U), floats(args.h_0), floats(args.outputs)
    d_outputs, d_h, d_x, sums = floats(args.d_outputs), floats(args.d_h), floats(args.d_x), floats(args.sums)
    rows, panels = last - first, panels_of(H)
    padded, steps, stride = panels * LANES, steps_at_once(rows, T), stride_of(panels)
    packed_W, packed_U = pack(W, 0, H, D, H, padded), pack(U, 0, H, H, H, padded)
    d_sums = empty(steps * rows * stride)
    carried = empty(rows * padded)
    for end in range(T, 0, -steps):
        begin = max(0, end - steps)
        for t in range(end - 1, begin - 1, -1):
            here = (t - begin) * rows * stride
            for row in range(rows):
                for unit in range(0, padded, LANES):
                    at, count, place = (t * B + first + row) * H + unit, H - unit, row * padded + unit
                    dh = load_first(d_h, (first + row) * H + unit, count) if t == T - 1 else load(carried, place)
                    dh += load_first(d_outputs, at, count)
                    h = load_first(outputs, at, count)
                    dp = dh * (splat(1.0) - h * h) if args.is_tanh else positive(h, dh)  # (2)
                    store(d_sums, here + row * stride + unit, dp)
            multiply(carried, 0, padded, d_sums, here, stride, packed_U, padded, rows, panels)  # (3)
        chunk, columns = Chunk(begin, end, B, first, last), Columns(d_sums, 0, stride, panels)
        add_weights(sums, 0, x, D, columns, chunk)  # (4)
        add_recurrent(sums, D * padded, h_0, outputs, H, columns, chunk)
        add_biases(sums, (D + H) * padded, columns, chunk)
        if args.d_x != 0:
            project_back(d_x, D, columns, packed_W, chunk)  # (5)
    for row in range(rows):
        for unit in range(0, padded, LANES):
            store_first(d_h, (first + row) * H + unit, H - unit, load(carried, row * padded + unit))


class Scan(torch.autograd.Function):
    """The map from x, the weights and h_0 to outputs (T, B, H) and h_T (B, H).

    Its arguments are x (T, B, D), W (H, D), b (H,), U (H, H) and h_0 (B, H).
    """

    @staticmethod
    def forward(ctx: Any, reference: Reference, is_tanh: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        x_TBD, W_HD, b_H, U_HH, h_BH = inputs
        (T, B, D), H = x_TBD.shape, len(U_HH)
        outputs_TBH = x_TBD.new_empty(T, B, H)
        arguments = Forward(
            x=x_TBD, W=W_HD, bias=b_H, U=U_HH, h_0=h_BH, outputs=outputs_TBH, is_tanh=is_tanh, T=T, B=B, D=D, H=H
        )
        run_rows(forward_rows, arguments, B, T * B * H * (D + H) // TILED, ROWS)
        ctx.reference, ctx.is_tanh = reference, is_tanh
        ctx.save_for_backward(*inputs, outputs_TBH)
        return outputs_TBH, outputs_TBH[-1].clone()

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, outputs_TBH = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, None, *reference_gradients(ctx.reference, inputs, gradients)
        x_TBD, W_HD, _, U_HH, h_BH = inputs
        (T, B, D), H = x_TBD.shape, len(U_HH)
        d_h_BH = gradients[1].clone(memory_format=CONTIGUOUS)
        d_x_TBD = torch.empty_like(x_TBD, memory_format=CONTIGUOUS) if ctx.needs_input_grad[2] else None
        arguments = Backward(
            x=x_TBD,
            W=W_HD,
            U=U_HH,
            h_0=h_BH,
            outputs=outputs_TBH,
            d_outputs=gradients[0],
            d_h=d_h_BH,
            d_x=d_x_TBD,
            sums=None,
            is_tanh=ctx.is_tanh,
            T=T,
            B=B,
            D=D,
            H=H,
        )
        shape, work = (D + H + 1, panels_of(H) * LANES), T * B * H * (D + H) // TILED
        sums = sum_rows(backward_rows, arguments, B, work, shape)
        d_W_HD, d_U_HH, d_b_H1 = (of_blocks(part, 1, H) for part in sums.split([D, H, 1]))
        return None, None, d_x_TBD, d_W_HD, d_b_H1[:, 0], d_U_HH, d_h_BH


def scan(reference: Reference, is_tanh: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return the outputs (T, B, H) and the last state h_T (B, H), by `Scan`.

    Args:
        reference: Function of `inputs` that computes the same results in plain torch. Second derivatives use it.
        is_tanh: True if φ is tanh, false if φ is relu.
        inputs: x (T, B, D), W (H, D), b (H,), U (H, H) and h_0 (B, H).
    """
    outputs: tuple[Tensor, ...] = Scan.apply(reference, is_tanh, *inputs)  # type: ignore[no-untyped-call]
    return outputs
