"""Diagonal recurrences and their gradients, step by step. The derivatives of a step come from autograd."""

# Shape suffixes: B rows of the batch, G sums per row, H hidden width, W weights per unit

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from arch.kernels.training import diagonal


def next_state(cell: int, sums_BG: Tensor, values_BH: Tensor, weights_WH: Tensor, h_BH: Tensor) -> Tensor:
    """Return the state (B, H) after a step, for a cell and its inputs as in `arch.kernels.training.diagonal`."""
    from arch.kernels.training import diagonal

    H = h_BH.shape[1]
    if cell == diagonal.IND_RNN_TANH:
        return (sums_BG + weights_WH[0] * h_BH).tanh()
    if cell == diagonal.IND_RNN_RELU:
        return (sums_BG + weights_WH[0] * h_BH).relu()
    first: Tensor = sums_BG[:, :H]
    others: tuple[Tensor, ...] = sums_BG[:, H:].split(H, 1)
    if cell == diagonal.PLAIN:
        return first * h_BH + values_BH
    if cell == diagonal.MIN_GRU_SIGNED:
        z_BH = first.sigmoid()
        return (1 - z_BH) * others[1].tanh() * h_BH + z_BH * others[0]
    n_BH = torch.where(others[-1] >= 0, others[-1] + 0.5, others[-1].sigmoid())
    if cell == diagonal.MIN_GRU:
        return h_BH + first.sigmoid() * (n_BH - h_BH)
    f_BH = (functional.logsigmoid(first) - functional.logsigmoid(others[0])).sigmoid()
    return f_BH * h_BH + (1 - f_BH) * n_BH


def forward(args: diagonal.Forward, first: int, last: int) -> None:
    """Write what `diagonal.forward_rows` writes."""
    rows = slice(first, last)
    h_BH = args.h_0[rows]
    for t in range(args.T):
        h_BH = next_state(args.cell, args.projected[t, rows], _values(args.values, t, rows), args.weights, h_BH)
        args.outputs[t, rows] = h_BH


def backward(args: diagonal.Backward, first: int, last: int) -> None:
    """Write what `diagonal.backward_rows` writes."""
    rows, H, sums = slice(first, last), args.H, args.sums
    d_h_BH = args.d_h[rows]
    for t in reversed(range(args.T)):
        before_BH = args.h_0[rows] if t == 0 else args.outputs[t - 1, rows]
        given = (args.projected[t, rows], _values(args.values, t, rows), args.weights, before_BH)
        with torch.enable_grad():
            inputs = [tensor.detach().requires_grad_() for tensor in given]
            after_BH = next_state(args.cell, *inputs)
        d_h_BH = d_h_BH + args.d_outputs[t, rows]
        found = torch.autograd.grad(after_BH, inputs, d_h_BH, materialize_grads=True)
        args.d_projected[t, rows] = found[0]
        if args.values.numel():
            args.d_values[t, rows] = found[1]
        if sums is not None:
            sums[:, :H] += found[2]
        d_h_BH = found[3]
    args.d_h[rows] = d_h_BH


def _values(values_TBH: Tensor, t: int, rows: slice) -> Tensor:
    return values_TBH[t, rows] if values_TBH.numel() else values_TBH
