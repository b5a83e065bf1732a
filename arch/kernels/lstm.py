"""LSTM over a whole sequence: equations (1) to (6) of `arch/lstm.py`, and their derivatives.

With d· for the loss's derivative by ·, and dh, dc what the later steps and the output ask of h', c':

    dc  ← dc + dh o (1 - tanh²c')         (7)
    do  = dh tanh(c')                     (8)
    di, dg, df = dc g, dc i, dc c         (9)
    dp  = d· · (1 - ·) for i, f, o;  dg (1 - g²) for g    (10)  p are the sums inside σ and tanh
    dc  ← dc f                            (11)
    dh  ← U^T dp                          (12)
    dU  = Σ_t dp_t h_t^T                  (13) one product after the loop, as for dW and dx

The products W x, the gates and then dp lie in one memory, one written over the other: at these sizes a
sequence does not fit into the cache, and what is moved costs as much as what is computed.
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
from arch.kernels._tensors import (
    CONTIGUOUS,
    Reference,
    flat,
    gradients_wanted,
    input_gradients,
    through_reference,
    weight_gradient,
)
from arch.kernels._threads import over_rows
from arch.kernels._vector import LANES, fused, load, load_first, splat, store_first


@kernel(void(*[float32[::1]] * 7, boolean, *[int64] * 5))
def forward_rows(gates, bias, U, h_0, c_0, outputs, cells, keeps, T, B, H, first, last):  # type: ignore[no-untyped-def]
    """Rows `first` to `last` of the batch. Turns W x into gates (T, B, G), where `keeps` is set.

    Writes outputs (T, B, H) and c' (T, B, H), or the last c' (B, H) alone.
    """
    panels = panels_of(H)
    padded = panels * LANES
    packed = pack_transposed(U, 0, 4 * H, H)
    recurrent = np.empty((last - first) * 4 * padded, np.float32)
    for t in range(T):
        before, before_at = (h_0, 0) if t == 0 else (outputs, (t - 1) * B * H)
        multiply(recurrent, before, before_at + first * H, H, packed, H, last - first, 4 * panels)
        cell_before, cell_at = (c_0, 0) if t == 0 else (cells, (t - 1) * B * H if keeps else 0)
        cell_now = t * B * H if keeps else 0
        for b in range(first, last):
            for unit in range(0, padded, LANES):
                count = H - unit
                at = (t * B + b) * 4 * H + unit
                sums = (b - first) * 4 * padded + unit
                i = load(recurrent, sums) + load_first(gates, at, count)
                f = load(recurrent, sums + padded) + load_first(gates, at + H, count)
                g = load(recurrent, sums + 2 * padded) + load_first(gates, at + 2 * H, count)
                o = load(recurrent, sums + 3 * padded) + load_first(gates, at + 3 * H, count)
                i = sigmoid(i + load_first(bias, unit, count))  # (1)
                f = sigmoid(f + load_first(bias, H + unit, count))  # (2)
                g = tanh(g + load_first(bias, 2 * H + unit, count))  # (3)
                o = sigmoid(o + load_first(bias, 3 * H + unit, count))  # (4)
                c = fused(f, load_first(cell_before, cell_at + b * H + unit, count), i * g)  # (5)
                store_first(cells, cell_now + b * H + unit, count, c)
                store_first(outputs, (t * B + b) * H + unit, count, o * tanh(c))  # (6)
                if keeps:
                    store_first(gates, at, count, i)
                    store_first(gates, at + H, count, f)
                    store_first(gates, at + 2 * H, count, g)
                    store_first(gates, at + 3 * H, count, o)


@kernel(void(*[float32[::1]] * 7, *[int64] * 5))
def backward_rows(gates, cells, c_0, U, d_outputs, d_h, d_c, T, B, H, first, last):  # type: ignore[no-untyped-def]
    """Rows `first` to `last`. Turns gates into the derivatives of their sums (T, B, G).

    Turns d_h and d_c (B, H) of the end into those of the start.
    """
    panels = panels_of(H)
    padded = panels * LANES
    packed = pack(U, 0, 4 * H, H)
    one = splat(1.0)
    carried = np.empty((last - first) * padded, np.float32)
    for t in range(T - 1, -1, -1):
        cell_before, cell_at = (c_0, 0) if t == 0 else (cells, (t - 1) * B * H)
        for b in range(first, last):
            for unit in range(0, padded, LANES):
                count = H - unit
                at = (t * B + b) * 4 * H + unit
                i, f = load_first(gates, at, count), load_first(gates, at + H, count)
                g, o = load_first(gates, at + 2 * H, count), load_first(gates, at + 3 * H, count)
                c = load_first(cell_before, cell_at + b * H + unit, count)
                tanh_c = tanh(load_first(cells, (t * B + b) * H + unit, count))
                later = (b - first) * padded + unit
                dh = load_first(d_h, b * H + unit, count) if t == T - 1 else load(carried, later)
                dh += load_first(d_outputs, (t * B + b) * H + unit, count)
                dc = load_first(d_c, b * H + unit, count)
                dc = fused(dh * o, one - tanh_c * tanh_c, dc)  # (7)
                store_first(gates, at, count, dc * g * (i * (one - i)))  # (8) to (10)
                store_first(gates, at + H, count, dc * c * (f * (one - f)))
                store_first(gates, at + 2 * H, count, dc * i * (one - g * g))
                store_first(gates, at + 3 * H, count, dh * tanh_c * (o * (one - o)))
                store_first(d_c, b * H + unit, count, dc * f)  # (11)
        multiply(carried, gates, (t * B + first) * 4 * H, 4 * H, packed, 4 * H, last - first, panels)  # (12)
    for b in range(first, last):
        for unit in range(0, padded, LANES):
            store_first(d_h, b * H + unit, H - unit, load(carried, (b - first) * padded + unit))


def run_forward(keeps: bool, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gates (T, B, G), outputs (T, B, H), and c' of every step or of the last alone."""
    x_TBD, W_GD, b_G, U_GH, h_BH, c_BH = inputs
    T, B, H = *x_TBD.shape[:2], U_GH.shape[1]
    gates_TBG = (x_TBD.flatten(0, 1) @ W_GD.T).view(T, B, 4 * H)
    outputs_TBH, cells_TBH = x_TBD.new_empty(T, B, H), x_TBD.new_empty(T if keeps else 1, B, H)
    arrays = (gates_TBG, b_G, U_GH, h_BH, c_BH, outputs_TBH, cells_TBH)
    over_rows(B, T * B * U_GH.numel(), partial(forward_rows, *map(flat, arrays), keeps, T, B, H), ROWS)
    return gates_TBG, outputs_TBH, cells_TBH


class Scan(torch.autograd.Function):
    """Outputs (T, B, H), h_T and c_T (B, H) from x (T, B, D), W, b, U, h_0 and c_0."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, keeps: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        gates_TBG, outputs_TBH, cells_TBH = run_forward(keeps, *inputs)
        ctx.reference = reference
        ctx.kept = (gates_TBG, cells_TBH) if keeps else None
        ctx.save_for_backward(*inputs, outputs_TBH)
        return outputs_TBH, outputs_TBH[-1].clone(), cells_TBH[-1].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, outputs_TBH = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, None, *through_reference(ctx.reference, inputs, gradients)
        x_TBD, W_GD, _, U_GH, h_BH, c_BH = inputs
        T, B, H = outputs_TBH.shape
        if ctx.kept is None:  # a second pass back through a graph that was retained: the first used the gates up
            gates_TBG, _, cells_TBH = run_forward(True, *inputs)
        else:
            (gates_TBG, cells_TBH), ctx.kept = ctx.kept, None
        d_outputs_TBH, d_h_BH, d_c_BH = gradients
        d_h_BH, d_c_BH = d_h_BH.clone(memory_format=CONTIGUOUS), d_c_BH.clone(memory_format=CONTIGUOUS)
        arrays = (gates_TBG, cells_TBH, c_BH, U_GH, d_outputs_TBH, d_h_BH, d_c_BH)
        over_rows(B, T * B * U_GH.numel(), partial(backward_rows, *map(flat, arrays), T, B, H), ROWS)
        d_U_GH = weight_gradient(gates_TBG, h_BH, outputs_TBH)  # (13)
        of_inputs = input_gradients(ctx.needs_input_grad[2:], x_TBD, W_GD, gates_TBG)
        return None, None, *of_inputs, d_U_GH, d_h_BH, d_c_BH


def scan(reference: Reference, *inputs: Tensor) -> tuple[Tensor, ...]:
    """See `Scan`. `reference` is the same function by the readable equations, for derivatives of derivatives."""
    outputs: tuple[Tensor, ...] = Scan.apply(reference, gradients_wanted(*inputs), *inputs)  # type: ignore[no-untyped-call]
    return outputs
