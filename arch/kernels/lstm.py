"""LSTM over a whole sequence: equations (1) to (6) of `arch/lstm.py`, and their derivatives.

With d· for the loss's derivative by ·, and dh, dc what the later steps and the output ask of h', c':

    dc  ← dc + dh o (1 - tanh²c')         (7)
    do  = dh tanh(c')                     (8)
    di, dg, df = dc g, dc i, dc c         (9)
    dp  = d· · (1 - ·) for i, f, o;  dg (1 - g²) for g    (10)  p are the sums inside σ and tanh
    dc  ← dc f                            (11)
    dh  ← U^T dp                          (12)
    dU  = Σ_t dp_t h_t^T                  (13) one product after the loop
"""

# Shape suffixes: T time, B batch, H hidden width, G = 4H gate rows

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numba import boolean, float32, int64, void
from torch import Tensor

from arch.kernels._activation import sigmoid, tanh
from arch.kernels._compile import kernel
from arch.kernels._product import ROWS, multiply, pack, pack_transposed, panels_of
from arch.kernels._tensors import CONTIGUOUS, Reference, flat, gradients_wanted, through_reference, weight_gradient
from arch.kernels._threads import over_rows
from arch.kernels._vector import LANES, fused, load, load_first, splat, store, store_first

KEPT = 6
"""Vectors that a group of units keeps for the way back: i, f, g, o, c, tanh(c')."""


@kernel(void(*[float32[::1]] * 7, boolean, *[int64] * 5))
def forward_rows(projected, U, h_0, c_0, outputs, c_T, kept, keeps, T, B, H, first, last):  # type: ignore[no-untyped-def]
    """Rows `first` to `last` of the batch. Writes outputs (T, B, H), c_T (B, H) and `kept`."""
    panels = panels_of(H)
    padded = panels * LANES
    packed = pack_transposed(U, 0, 4 * H, H)
    recurrent = np.empty((last - first) * 4 * padded, np.float32)
    c_T[first * H : last * H] = c_0[first * H : last * H]
    for t in range(T):
        before, before_at = (h_0, 0) if t == 0 else (outputs, (t - 1) * B * H)
        multiply(recurrent, before, before_at + first * H, H, packed, H, last - first, 4 * panels)
        for b in range(first, last):
            for unit in range(0, padded, LANES):
                count = H - unit
                at = (t * B + b) * 4 * H + unit
                sums = (b - first) * 4 * padded + unit
                i = sigmoid(load(recurrent, sums) + load_first(projected, at, count))  # (1)
                f = sigmoid(load(recurrent, sums + padded) + load_first(projected, at + H, count))  # (2)
                g = tanh(load(recurrent, sums + 2 * padded) + load_first(projected, at + 2 * H, count))  # (3)
                o = sigmoid(load(recurrent, sums + 3 * padded) + load_first(projected, at + 3 * H, count))  # (4)
                c_before = load_first(c_T, b * H + unit, count)
                c = fused(f, c_before, i * g)  # (5)
                tanh_c = tanh(c)
                store_first(outputs, (t * B + b) * H + unit, count, o * tanh_c)  # (6)
                store_first(c_T, b * H + unit, count, c)
                if keeps:
                    place = ((t * B + b) * padded + unit) * KEPT
                    store(kept, place, i)
                    store(kept, place + LANES, f)
                    store(kept, place + 2 * LANES, g)
                    store(kept, place + 3 * LANES, o)
                    store(kept, place + 4 * LANES, c_before)
                    store(kept, place + 5 * LANES, tanh_c)


@kernel(void(*[float32[::1]] * 6, *[int64] * 5))
def backward_rows(kept, U, d_outputs, d_h, d_c, d_projected, T, B, H, first, last):  # type: ignore[no-untyped-def]
    """Rows `first` to `last`. Writes d_projected (T, B, G).

    Turns d_h and d_c (B, H) of the end into those of the start.
    """
    panels = panels_of(H)
    padded = panels * LANES
    packed = pack(U, 0, 4 * H, H)
    one = splat(1.0)
    carried = np.empty((last - first) * padded, np.float32)
    for t in range(T - 1, -1, -1):
        for b in range(first, last):
            for unit in range(0, padded, LANES):
                count = H - unit
                place = ((t * B + b) * padded + unit) * KEPT
                i, f = load(kept, place), load(kept, place + LANES)
                g, o = load(kept, place + 2 * LANES), load(kept, place + 3 * LANES)
                c, tanh_c = load(kept, place + 4 * LANES), load(kept, place + 5 * LANES)
                later = (b - first) * padded + unit
                dh = load_first(d_h, b * H + unit, count) if t == T - 1 else load(carried, later)
                dh += load_first(d_outputs, (t * B + b) * H + unit, count)
                dc = load_first(d_c, b * H + unit, count)
                dc = fused(dh * o, one - tanh_c * tanh_c, dc)  # (7)
                at = (t * B + b) * 4 * H + unit
                store_first(d_projected, at, count, dc * g * (i * (one - i)))  # (8) to (10)
                store_first(d_projected, at + H, count, dc * c * (f * (one - f)))
                store_first(d_projected, at + 2 * H, count, dc * i * (one - g * g))
                store_first(d_projected, at + 3 * H, count, dh * tanh_c * (o * (one - o)))
                store_first(d_c, b * H + unit, count, dc * f)  # (11)
        multiply(carried, d_projected, (t * B + first) * 4 * H, 4 * H, packed, 4 * H, last - first, panels)  # (12)
    for b in range(first, last):
        for unit in range(0, padded, LANES):
            store_first(d_h, b * H + unit, H - unit, load(carried, (b - first) * padded + unit))


class Scan(torch.autograd.Function):
    """Outputs (T, B, H), h_T and c_T (B, H) from the projected inputs (T, B, G), U, h_0 and c_0."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, keeps: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        projected_TBG, U_GH, h_BH, c_BH = inputs
        T, B, H = *projected_TBG.shape[:2], U_GH.shape[1]
        outputs_TBH, c_end_BH = projected_TBG.new_empty(T, B, H), torch.empty_like(c_BH, memory_format=CONTIGUOUS)
        kept = projected_TBG.new_empty(T * B * panels_of(H) * LANES * KEPT if keeps else 0)
        arrays = (projected_TBG, U_GH, h_BH, c_BH, outputs_TBH, c_end_BH, kept)
        over_rows(B, T * B * U_GH.numel(), partial(forward_rows, *map(flat, arrays), keeps, T, B, H), ROWS)
        ctx.reference = reference
        ctx.save_for_backward(*inputs, outputs_TBH, kept)
        return outputs_TBH, outputs_TBH[-1].clone(), c_end_BH

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, outputs_TBH, kept = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, None, *through_reference(ctx.reference, inputs, gradients)
        projected_TBG, U_GH, h_BH, _ = inputs
        T, B, H = outputs_TBH.shape
        d_outputs_TBH, d_h_BH, d_c_BH = gradients
        d_h_BH, d_c_BH = d_h_BH.clone(memory_format=CONTIGUOUS), d_c_BH.clone(memory_format=CONTIGUOUS)
        d_projected_TBG = projected_TBG.new_empty(projected_TBG.shape)
        arrays = (kept, U_GH, d_outputs_TBH, d_h_BH, d_c_BH, d_projected_TBG)
        over_rows(B, T * B * U_GH.numel(), partial(backward_rows, *map(flat, arrays), T, B, H), ROWS)
        d_U_GH = weight_gradient(d_projected_TBG, h_BH, outputs_TBH)  # (13)
        return None, None, d_projected_TBG, d_U_GH, d_h_BH, d_c_BH


def scan(reference: Reference, *inputs: Tensor) -> tuple[Tensor, ...]:
    """See `Scan`. `reference` is the same function by the readable equations, for derivatives of derivatives."""
    outputs: tuple[Tensor, ...] = Scan.apply(reference, gradients_wanted(*inputs), *inputs)  # type: ignore[no-untyped-call]
    return outputs
