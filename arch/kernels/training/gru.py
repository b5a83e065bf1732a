"""GRU over a whole sequence, with the reset after the product: (1), (2), (3a) and (4) of `arch/gru.py`.

The module also has their derivatives. `gru_before.py` has those of (3b). d· is the derivative of the loss with respect
to ·, and s is U_n h + b_u of equation (3a). dh collects the contributions of later steps and of the output:

    dn  = dh (1 - z) (1 - n²)              (5)  pre-activation of tanh
    dz  = dh (h - n) z (1 - z)             (6)  pre-activation of σ
    dr  = dn s r (1 - r),  ds = dn r       (7)  pre-activation of σ
    dh  ← dh z + U^T (dr, dz, ds)          (8)
    dU  = Σ_t (dr, dz, ds)_t h_t^T,  dW = Σ_t (dr, dz, dn)_t x_t^T         (9)
    db  = Σ_t (dr, dz, dn)_t,  db_u = Σ_t ds_t
    dx  = W^T (dr, dz, dn)                 (10)

W x and dn, dr, dz, ds are stored for one chunk of steps at a time. Those of a whole sequence may not fit into the
cache. Moving these numbers through memory takes as long as computing them. The derivatives are stored in the order dn,
dr, dz, ds. Thus those for W (dn, dr, dz) are contiguous, and so are those for U (dr, dz, ds).
"""

# Shape suffixes: T time, B batch, D input width, H hidden width, G = 3H gate rows

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from arch.kernels.cells.gated import gru_after
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
from arch.kernels.simd.scratch import empty, zeros
from arch.kernels.simd.vector import LANES, load, load_first, splat, store, store_first
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
        x, W, bias: Inputs (T, B, D), W (G, D) and b (G,).
        U, u: U (G, H) and b_u (H,).
        h_0: Initial state, (B, H).
        outputs: Outputs, (T, B, H), written.
        gates: Receives r, z and n (T, B, G) if `saves` is true.
        s: Receives s (T, B, H) if `saves` is true.
        saves: Whether to write `gates` and `s`.
        T, B, D, H: Steps, batch size, input width, hidden width.
    """

    x: Tensor
    W: Tensor
    bias: Tensor
    U: Tensor
    u: Tensor
    h_0: Tensor
    outputs: Tensor
    gates: Tensor
    s: Tensor
    saves: bool
    T: int
    B: int
    D: int
    H: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        x, W_nrz, U: Inputs (T, B, D), W (G, D) with its blocks in the order n, r, z, and U (G, H).
        h_0: Initial state, (B, H).
        outputs, gates, s: What `forward_rows` wrote if `saves` was true: (T, B, H), (T, B, G) and (T, B, H).
        d_outputs: Gradient of `outputs`, (T, B, H).
        d_h: Gradient of the last state, (B, H). Receives that of the initial state.
        d_x: Gradient of `x`, (T, B, D), written, or None if it is not needed.
        sums: Flat sums, added to: transposed dW (D, 3 · padded), db (3 · padded,), transposed dU (H, 3 · padded) and
            db_u (padded,). The blocks of dW and db are in the order n, r, z. Those of dU are in the order r, z, n.
            `padded` is H rounded up to whole vectors. `sum_rows` sets it for each share.
        T, B, D, H: Steps, batch size, input width, hidden width.
    """

    x: Tensor
    W_nrz: Tensor
    U: Tensor
    h_0: Tensor
    outputs: Tensor
    gates: Tensor
    s: Tensor
    d_outputs: Tensor
    d_h: Tensor
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
    bypass = bypasses_cache(args.gates, T, B, 4 * H, H) and bypasses_cache(args.s, T, B, 4 * H, H)
    x, W, bias, U, u = floats(args.x), floats(args.W), floats(args.bias), floats(args.U), floats(args.u)
    h_0, outputs, gates, sums = floats(args.h_0), floats(args.outputs), floats(args.gates), floats(args.s)
    rows, panels = last - first, panels_of(H)
    padded, steps = panels * LANES, steps_at_once(rows, T)
    packed_W, packed_U = pack_transposed(W, 0, 3 * H, H, D), pack_transposed(U, 0, 3 * H, H, H)
    projected = empty(steps * rows * 3 * padded)
    recurrent = empty(rows * 3 * padded)
    for t in range(T):
        if t % steps == 0:
            project(projected, x, D, packed_W, 3 * panels, Chunk(t, min(T, t + steps), B, first, last))
        before, before_at = (h_0, 0) if t == 0 else (outputs, (t - 1) * B * H)
        multiply(recurrent, 0, 3 * padded, before, before_at + first * H, H, packed_U, H, rows, 3 * panels)
        for b in range(first, last):
            for unit in range(0, padded, LANES):
                count = H - unit
                here = (t * B + b) * H + unit
                at = (t * B + b) * 3 * H + unit
                of_h = (b - first) * 3 * padded + unit
                of_x = t % steps * rows * 3 * padded + of_h
                r = load(recurrent, of_h) + load(projected, of_x)
                z = load(recurrent, of_h + padded) + load(projected, of_x + padded)
                n = load(projected, of_x + 2 * padded) + load_first(bias, 2 * H + unit, count)
                s = load(recurrent, of_h + 2 * padded) + load_first(u, unit, count)
                r += load_first(bias, unit, count)
                z += load_first(bias, H + unit, count)
                r, z, n, h = gru_after(r, z, n, s, load_first(before, before_at + b * H + unit, count))
                store_first(outputs, here, count, h)
                if saves:
                    save(gates, at, count, r, bypass)
                    save(gates, at + H, count, z, bypass)
                    save(gates, at + 2 * H, count, n, bypass)
                    save(sums, here, count, s, bypass)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write `d_h` and `d_x`, and add the weight gradients to `sums`, for rows `first` to `last` of the batch.

    The `Backward` is at the address `record`.
    """
    args = arguments_at(record, Backward)
    T, B, D, H = args.T, args.B, args.D, args.H
    x, W_nrz, U, h_0 = floats(args.x), floats(args.W_nrz), floats(args.U), floats(args.h_0)
    outputs, gates, s_saved = floats(args.outputs), floats(args.gates), floats(args.s)
    d_outputs, d_h, d_x, sums = floats(args.d_outputs), floats(args.d_h), floats(args.d_x), floats(args.sums)
    rows, panels = last - first, panels_of(H)
    padded, steps = panels * LANES, steps_at_once(rows, T)
    stride = stride_of(4 * panels)
    packed_W, packed_U = pack(W_nrz, 0, 3 * H, D, H, padded), pack(U, 0, 3 * H, H, H, padded)
    one = splat(1.0)
    d_sums = empty(steps * rows * stride)
    carried = zeros(rows * padded)
    of_U = (D + 1) * 3 * padded
    for end in range(T, 0, -steps):
        begin = max(0, end - steps)
        for t in range(end - 1, begin - 1, -1):
            before, before_at = (h_0, 0) if t == 0 else (outputs, (t - 1) * B * H)
            now = (t - begin) * rows * stride
            for b in range(first, last):
                for unit in range(0, padded, LANES):
                    count = H - unit
                    at, later = (t * B + b) * H + unit, (b - first) * padded + unit
                    gate, here = (t * B + b) * 3 * H + unit, now + (b - first) * stride + unit
                    r, z = load_first(gates, gate, count), load_first(gates, gate + H, count)
                    n, s = load_first(gates, gate + 2 * H, count), load_first(s_saved, at, count)
                    h = load_first(before, before_at + b * H + unit, count)
                    dh = load_first(d_h, b * H + unit, count) + load(carried, later)
                    dh += load_first(d_outputs, at, count)
                    dn = dh * (one - z) * (one - n * n)  # (5)
                    store(d_sums, here, dn)
                    store(d_sums, here + padded, dn * s * (r * (one - r)))  # (7)
                    store(d_sums, here + 2 * padded, dh * (h - n) * (z * (one - z)))  # (6)
                    store(d_sums, here + 3 * padded, dn * r)
                    store_first(d_h, b * H + unit, count, dh * z)
            multiply(carried, 0, padded, d_sums, now + padded, stride, packed_U, 3 * padded, rows, panels)  # (8)
        chunk = Chunk(begin, end, B, first, last)
        of_W_nrz, of_U_rzs = Columns(d_sums, 0, stride, 3 * panels), Columns(d_sums, padded, stride, 3 * panels)
        add_weights(sums, 0, x, D, of_W_nrz, chunk)  # (9)
        add_recurrent(sums, of_U, h_0, outputs, H, of_U_rzs, chunk)
        add_biases(sums, D * 3 * padded, of_W_nrz, chunk)
        add_biases(sums, of_U + H * 3 * padded, Columns(d_sums, 3 * padded, stride, panels), chunk)
        if args.d_x != 0:
            project_back(d_x, D, of_W_nrz, packed_W, chunk)  # (10)
    for b in range(first, last):
        for unit in range(0, padded, LANES):
            at, count = b * H + unit, H - unit
            dh = load_first(d_h, at, count) + load(carried, (b - first) * padded + unit)
            store_first(d_h, at, count, dh)


class Scan(torch.autograd.Function):
    """The map from x, the weights and h_0 to outputs (T, B, H) and h_T (B, H), by equation (3a).

    Its arguments are x (T, B, D), W (G, D), b (G,), U (G, H), b_u (H,) and h_0 (B, H).
    """

    @staticmethod
    def forward(ctx: Any, reference: Reference, saves: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        x_TBD, W_GD, b_G, U_GH, u_H, h_BH = inputs
        (T, B, D), H = x_TBD.shape, U_GH.shape[1]
        outputs_TBH, s_TBH = x_TBD.new_empty(T, B, H), x_TBD.new_empty(T if saves else 0, B, H)
        gates_TBG = x_TBD.new_empty(T if saves else 0, B, 3 * H)
        arguments = Forward(
            x=x_TBD,
            W=W_GD,
            bias=b_G,
            U=U_GH,
            u=u_H,
            h_0=h_BH,
            outputs=outputs_TBH,
            gates=gates_TBG,
            s=s_TBH,
            saves=saves,
            T=T,
            B=B,
            D=D,
            H=H,
        )
        run_rows(forward_rows, arguments, B, 3 * T * B * H * (D + H) // TILED, ROWS)
        ctx.reference = reference
        ctx.save_for_backward(*inputs, outputs_TBH, gates_TBG, s_TBH)
        return outputs_TBH, outputs_TBH[-1].clone()

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, outputs_TBH, gates_TBG, s_TBH = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, None, *reference_gradients(ctx.reference, inputs, gradients)
        x_TBD, W_GD, _, U_GH, _, h_BH = inputs
        (T, B, D), H = x_TBD.shape, U_GH.shape[1]
        d_h_BH = gradients[1].clone(memory_format=CONTIGUOUS)
        d_x_TBD = torch.empty_like(x_TBD, memory_format=CONTIGUOUS) if ctx.needs_input_grad[2] else None
        padded = panels_of(H) * LANES
        of_W, of_U = (D + 1) * 3 * padded, H * 3 * padded
        arguments = Backward(
            x=x_TBD,
            W_nrz=W_GD.roll(H, 0),
            U=U_GH,
            h_0=h_BH,
            outputs=outputs_TBH,
            gates=gates_TBG,
            s=s_TBH,
            d_outputs=gradients[0],
            d_h=d_h_BH,
            d_x=d_x_TBD,
            sums=None,
            T=T,
            B=B,
            D=D,
            H=H,
        )
        work = 3 * T * B * H * (D + H) // TILED
        sums = sum_rows(backward_rows, arguments, B, work, (of_W + of_U + padded,))
        d_nrz, d_U, d_u = sums.split([of_W, of_U, padded])
        d_W_GD, d_b_G1 = (of_blocks(part, 3, H).roll(-H, 0) for part in d_nrz.view(D + 1, -1).split([D, 1]))
        d_U_GH = of_blocks(d_U.view(H, -1), 3, H)
        return None, None, d_x_TBD, d_W_GD, d_b_G1[:, 0], d_U_GH, d_u[:H].clone(), d_h_BH


def scan(reference: Reference, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return the outputs (T, B, H) and the last state h_T (B, H), by `Scan`.

    Args:
        reference: Function of `inputs` that computes the same results in plain torch. Second derivatives use it.
        inputs: x (T, B, D), W (G, D), b (G,), U (G, H), b_u (H,) and h_0 (B, H).
    """
    outputs: tuple[Tensor, ...] = Scan.apply(reference, needs_gradients(*inputs), *inputs)  # type: ignore[no-untyped-call]
    return outputs
