"""GRU over a whole sequence, with the reset before the product: (1), (2), (3b) and (4) of `arch/gru.py`.

The module also has their derivatives. d· is the derivative of the loss with respect to ·, and a is r * h of equation
(3b). dh collects the contributions of later steps and of the output:

    dn  = dh (1 - z) (1 - n²)              (5)  pre-activation of tanh
    dz  = dh (h - n) z (1 - z)             (6)  pre-activation of σ
    da  = U_n^T dn,  dr = da h r (1 - r)   (7)  pre-activation of σ
    dh  ← dh z + da r + U_rz^T (dr, dz)    (8)
    dU  = Σ_t (dr, dz)_t h_t^T, dn_t a_t^T (9)
"""

# Shape suffixes: T time, B batch, H hidden width, G = 3H gate rows

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from arch.kernels.cells.gated import gru_before, gru_reset
from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.runtime.launch import (
    CONTIGUOUS,
    Reference,
    needs_gradients,
    needs_reference,
    reference_gradients,
    run_rows,
    weight_gradient,
    without_autocast,
)
from arch.kernels.simd.matmul import ROWS, multiply, pack, pack_transposed, panels_of
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.scratch import empty, zeros
from arch.kernels.simd.vector import LANES, fma, load, load_first, splat, store, store_first

SAVED_VECTORS = 4
"""Vectors saved per LANES units for the backward pass: r, z, n, h."""


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        projected: W x + b, (T, B, G).
        U, h_0: U (G, H) and the initial state (B, H).
        outputs, reset: Outputs and a = r * h, (T, B, H), written.
        saved: Receives r, z, n and h if `saves` is true. The shape is (T, B, panels, SAVED_VECTORS, LANES), with
            `panels` = H / LANES, rounded up.
        saves: Whether to write `saved`.
        T, B, H: Steps, batch size, hidden width.
    """

    projected: Tensor
    U: Tensor
    h_0: Tensor
    outputs: Tensor
    reset: Tensor
    saved: Tensor
    saves: bool
    T: int
    B: int
    H: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        saved: What `forward_rows` wrote, (T, B, panels, SAVED_VECTORS, LANES).
        U: U (G, H).
        d_outputs: Gradient of the outputs, (T, B, H).
        d_h: Gradient of the last state, (B, H). Receives that of the initial state.
        d_projected: Gradient of W x + b, (T, B, G), written.
        T, B, H: Steps, batch size, hidden width.
    """

    saved: Tensor
    U: Tensor
    d_outputs: Tensor
    d_h: Tensor
    d_projected: Tensor
    T: int
    B: int
    H: int


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the outputs of rows `first` to `last` of the batch, for the `Forward` at the address `record`."""
    args = arguments_at(record, Forward)
    T, B, H, saves = args.T, args.B, args.H, args.saves
    projected, U, h_0 = floats(args.projected), floats(args.U), floats(args.h_0)
    outputs, reset, saved = floats(args.outputs), floats(args.reset), floats(args.saved)
    panels = panels_of(H)
    padded = panels * LANES
    packed_rz, packed_n = pack_transposed(U, 0, 2 * H, H, H), pack_transposed(U, 2 * H, 3 * H, H, H)
    recurrent = empty((last - first) * 2 * padded)
    candidate = empty((last - first) * padded)
    for t in range(T):
        before, before_at = (h_0, 0) if t == 0 else (outputs, (t - 1) * B * H)
        multiply(recurrent, 0, 2 * padded, before, before_at + first * H, H, packed_rz, H, last - first, 2 * panels)
        for b in range(first, last):
            for unit in range(0, padded, LANES):
                count = H - unit
                sums = (b - first) * 2 * padded + unit
                at = (t * B + b) * 3 * H + unit
                h = load_first(before, before_at + b * H + unit, count)
                r, product = gru_reset(load(recurrent, sums) + load_first(projected, at, count), h)
                store_first(reset, (t * B + b) * H + unit, count, product)
                if saves:
                    place = ((t * B + b) * padded + unit) * SAVED_VECTORS
                    store(saved, place, r)
                    store(saved, place + 3 * LANES, h)
        multiply(candidate, 0, padded, reset, (t * B + first) * H, H, packed_n, H, last - first, panels)
        for b in range(first, last):
            for unit in range(0, padded, LANES):
                count = H - unit
                at = (t * B + b) * 3 * H + unit
                z = load(recurrent, (b - first) * 2 * padded + padded + unit) + load_first(projected, at + H, count)
                n = load(candidate, (b - first) * padded + unit) + load_first(projected, at + 2 * H, count)
                z, n, h = gru_before(z, n, load_first(before, before_at + b * H + unit, count))
                store_first(outputs, (t * B + b) * H + unit, count, h)
                if saves:
                    place = ((t * B + b) * padded + unit) * SAVED_VECTORS
                    store(saved, place + LANES, z)
                    store(saved, place + 2 * LANES, n)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write `d_h` and `d_projected` for rows `first` to `last` of the batch, for the `Backward` at address `record`."""
    args = arguments_at(record, Backward)
    T, B, H = args.T, args.B, args.H
    saved, U, d_outputs = floats(args.saved), floats(args.U), floats(args.d_outputs)
    d_h, d_projected = floats(args.d_h), floats(args.d_projected)
    panels = panels_of(H)
    padded = panels * LANES
    packed_rz, packed_n = pack(U, 0, 2 * H, H, H, H), pack(U, 2 * H, 3 * H, H, H, H)
    one = splat(1.0)
    carried = zeros((last - first) * padded)
    d_reset = empty((last - first) * padded)
    for t in range(T - 1, -1, -1):
        for b in range(first, last):
            for unit in range(0, padded, LANES):
                count = H - unit
                place = ((t * B + b) * padded + unit) * SAVED_VECTORS
                z = load(saved, place + LANES)
                n, h = load(saved, place + 2 * LANES), load(saved, place + 3 * LANES)
                dh = load_first(d_h, b * H + unit, count) + load(carried, (b - first) * padded + unit)
                dh += load_first(d_outputs, (t * B + b) * H + unit, count)
                at = (t * B + b) * 3 * H + unit
                store_first(d_projected, at + H, count, dh * (h - n) * (z * (one - z)))  # (6)
                store_first(d_projected, at + 2 * H, count, dh * (one - z) * (one - n * n))  # (5)
                store_first(d_h, b * H + unit, count, dh * z)
        start = (t * B + first) * 3 * H
        multiply(d_reset, 0, padded, d_projected, start + 2 * H, 3 * H, packed_n, H, last - first, panels)  # (7)
        for b in range(first, last):
            for unit in range(0, padded, LANES):
                count = H - unit
                place = ((t * B + b) * padded + unit) * SAVED_VECTORS
                r, h = load(saved, place), load(saved, place + 3 * LANES)
                da = load(d_reset, (b - first) * padded + unit)
                store_first(d_projected, (t * B + b) * 3 * H + unit, count, da * h * (r * (one - r)))  # (7)
                store_first(d_h, b * H + unit, count, fma(da, r, load_first(d_h, b * H + unit, count)))
        multiply(carried, 0, padded, d_projected, start, 3 * H, packed_rz, 2 * H, last - first, panels)  # (8)
    for b in range(first, last):
        for unit in range(0, padded, LANES):
            at, count = b * H + unit, H - unit
            dh = load_first(d_h, at, count) + load(carried, (b - first) * padded + unit)
            store_first(d_h, at, count, dh)


class Scan(torch.autograd.Function):
    """The map from W x + b, U and h_0 to outputs (T, B, H) and h_T (B, H), by equation (3b).

    Its arguments are W x + b (T, B, G), U (G, H) and h_0 (B, H).
    """

    @staticmethod
    def forward(ctx: Any, reference: Reference, saves: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        projected_TBG, U_GH, h_BH = inputs
        T, B, H = *projected_TBG.shape[:2], U_GH.shape[1]
        outputs_TBH, reset_TBH = projected_TBG.new_empty(T, B, H), projected_TBG.new_empty(T, B, H)
        panels = panels_of(H) if saves else 0
        saved = projected_TBG.new_empty(T, B, panels, SAVED_VECTORS, LANES)
        arguments = Forward(
            projected=projected_TBG,
            U=U_GH,
            h_0=h_BH,
            outputs=outputs_TBH,
            reset=reset_TBH,
            saved=saved,
            saves=saves,
            T=T,
            B=B,
            H=H,
        )
        run_rows(forward_rows, arguments, B, T * B * U_GH.numel(), ROWS)
        ctx.reference = reference
        ctx.save_for_backward(*inputs, outputs_TBH, reset_TBH, saved)
        return outputs_TBH, outputs_TBH[-1].clone()

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, outputs_TBH, reset_TBH, saved = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, None, *reference_gradients(ctx.reference, inputs, gradients)
        projected_TBG, U_GH, h_BH = inputs
        T, B, H = outputs_TBH.shape
        d_h_BH = gradients[1].clone(memory_format=CONTIGUOUS)
        d_projected_TBG = projected_TBG.new_empty(projected_TBG.shape)
        arguments = Backward(
            saved=saved,
            U=U_GH,
            d_outputs=gradients[0],
            d_h=d_h_BH,
            d_projected=d_projected_TBG,
            T=T,
            B=B,
            H=H,
        )
        run_rows(backward_rows, arguments, B, T * B * U_GH.numel(), ROWS)
        d_rz, d_n = d_projected_TBG.split([2 * H, H], 2)
        d_U_n = d_n.flatten(0, 1).T @ reset_TBH.flatten(0, 1)
        d_U_GH = torch.cat([weight_gradient(d_rz, h_BH, outputs_TBH), d_U_n])  # (9)
        return None, None, d_projected_TBG, d_U_GH, d_h_BH


def scan(reference: Reference, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return the outputs (T, B, H) and the last state h_T (B, H), by `Scan`.

    Args:
        reference: Function of `inputs` that computes the same results in plain torch. Second derivatives use it.
        inputs: W x + b (T, B, G), U (G, H) and h_0 (B, H).
    """
    outputs: tuple[Tensor, ...] = Scan.apply(reference, needs_gradients(*inputs), *inputs)  # type: ignore[no-untyped-call]
    return outputs
