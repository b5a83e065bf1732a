"""RNN over a whole sequence: equation (1) of `arch/rnn.py`, and its derivatives.

With d· for the loss's derivative by ·, and dh what the later steps and the output ask of h':

    dp  = dh (1 - h'²) for tanh;  dh where h' > 0, else 0, for relu    (2)  p is the sum inside φ
    dh  ← U^T dp                                                       (3)
    dU  = Σ_t dp_t h_t^T                                               (4)  one product after the loop

Outputs are written over the product W x that they are made of: what is moved costs as much as what is computed.
"""

# Shape suffixes: T time, B batch, D input width, H hidden width

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numba import boolean, float32, int64, void
from torch import Tensor

from arch.kernels._activation import tanh
from arch.kernels._compile import kernel
from arch.kernels._product import ROWS, multiply, pack, pack_transposed, panels_of
from arch.kernels._tensors import (
    CONTIGUOUS,
    Reference,
    flat,
    input_gradients,
    through_reference,
    weight_gradient,
)
from arch.kernels._threads import over_rows
from arch.kernels._vector import LANES, larger, load, load_first, positive, splat, store_first


@kernel(void(*[float32[::1]] * 4, boolean, *[int64] * 5))
def forward_rows(outputs, bias, U, h_0, is_tanh, T, B, H, first, last):  # type: ignore[no-untyped-def]
    """Rows `first` to `last` of the batch. Turns W x (T, B, H) into outputs."""
    panels = panels_of(H)
    packed = pack_transposed(U, 0, H, H)
    recurrent = np.empty((last - first) * panels * LANES, np.float32)
    for t in range(T):
        if t == 0:
            multiply(recurrent, h_0, first * H, H, packed, H, last - first, panels)
        else:
            multiply(recurrent, outputs, ((t - 1) * B + first) * H, H, packed, H, last - first, panels)
        for b in range(first, last):
            for unit in range(0, panels * LANES, LANES):
                at = (t * B + b) * H + unit
                total = load(recurrent, (b - first) * panels * LANES + unit) + load_first(outputs, at, H - unit)
                total += load_first(bias, unit, H - unit)
                h = tanh(total) if is_tanh else larger(total, splat(0.0))  # (1)
                store_first(outputs, at, H - unit, h)


@kernel(void(*[float32[::1]] * 5, boolean, *[int64] * 5))
def backward_rows(outputs, U, d_outputs, d_h, d_projected, is_tanh, T, B, H, first, last):  # type: ignore[no-untyped-def]
    """Rows `first` to `last`. Writes d_projected (T, B, H).

    Turns d_h (B, H) of the end into that of the start.
    """
    panels = panels_of(H)
    packed = pack(U, 0, H, H)
    carried = np.empty((last - first) * panels * LANES, np.float32)
    for t in range(T - 1, -1, -1):
        for b in range(first, last):
            for unit in range(0, panels * LANES, LANES):
                at, count, place = (t * B + b) * H + unit, H - unit, (b - first) * panels * LANES + unit
                dh = load_first(d_h, b * H + unit, count) if t == T - 1 else load(carried, place)
                dh += load_first(d_outputs, at, count)
                h = load_first(outputs, at, count)
                dp = dh * (splat(1.0) - h * h) if is_tanh else positive(h, dh)  # (2)
                store_first(d_projected, at, count, dp)
        multiply(carried, d_projected, (t * B + first) * H, H, packed, H, last - first, panels)  # (3)
    for b in range(first, last):
        for unit in range(0, panels * LANES, LANES):
            store_first(d_h, b * H + unit, H - unit, load(carried, (b - first) * panels * LANES + unit))


class Scan(torch.autograd.Function):
    """Outputs (T, B, H) and h_T (B, H) from x (T, B, D), W, b, U and h_0."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, is_tanh: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        x_TBD, W_HD, b_H, U_HH, h_BH = inputs
        T, B, H = *x_TBD.shape[:2], len(U_HH)
        outputs_TBH = (x_TBD.flatten(0, 1) @ W_HD.T).view(T, B, H)
        arrays = (outputs_TBH, b_H, U_HH, h_BH)
        over_rows(B, T * B * U_HH.numel(), partial(forward_rows, *map(flat, arrays), is_tanh, T, B, H), ROWS)
        ctx.reference, ctx.is_tanh = reference, is_tanh
        ctx.save_for_backward(*inputs, outputs_TBH)
        return outputs_TBH, outputs_TBH[-1].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, outputs_TBH = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, None, *through_reference(ctx.reference, inputs, gradients)
        x_TBD, W_HD, _, U_HH, h_BH = inputs
        T, B, H = outputs_TBH.shape
        d_outputs_TBH, d_h_BH = gradients[0], gradients[1].clone(memory_format=CONTIGUOUS)
        d_sums_TBH = torch.empty_like(outputs_TBH)
        arrays = (outputs_TBH, U_HH, d_outputs_TBH, d_h_BH, d_sums_TBH)
        over_rows(B, T * B * U_HH.numel(), partial(backward_rows, *map(flat, arrays), ctx.is_tanh, T, B, H), ROWS)
        d_U_HH = weight_gradient(d_sums_TBH, h_BH, outputs_TBH)  # (4)
        return None, None, *input_gradients(ctx.needs_input_grad[2:], x_TBD, W_HD, d_sums_TBH), d_U_HH, d_h_BH


def scan(reference: Reference, is_tanh: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
    """See `Scan`. `reference` is the same function by the readable equations, for derivatives of derivatives."""
    outputs: tuple[Tensor, ...] = Scan.apply(reference, is_tanh, *inputs)  # type: ignore[no-untyped-call]
    return outputs
