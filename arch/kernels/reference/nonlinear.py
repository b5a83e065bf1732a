"""Scans of `slstm` and `esn` and their gradients, step by step.

Equation numbers refer to `slstm.py` and `reservoir.py` in `arch/kernels/training`. dp are gradients of the sums of the
gates.
"""

# Shape suffixes: B rows of the batch, H hidden width

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from arch.kernels.training import four_gates, reservoir


def slstm_forward(args: four_gates.Forward, first: int, last: int) -> None:
    """Write what `slstm.forward_rows` writes."""
    assert args.n_0 is not None and args.m is not None and args.norms is not None
    rows = slice(first, last)
    h_BH, c_BH, n_BH, m_BH = args.h_0[rows], args.c_0[rows], args.n_0[rows], args.m[rows]
    for t in range(args.T):
        i, f, z, o = (args.x[t, rows] @ args.W.T + args.bias + h_BH @ args.U.T).chunk(4, 1)
        kept, closed = functional.logsigmoid(f) + m_BH, (-f).sigmoid()
        m_BH = torch.maximum(i, kept)
        i, f, z, o = (i - m_BH).exp(), (kept - m_BH).exp(), z.tanh(), o.sigmoid()
        c_BH, n_BH = f * c_BH + i * z, f * n_BH + i
        h_BH = o * c_BH / n_BH
        args.outputs[t, rows] = h_BH
        now = t if args.saves else 0
        args.cells[now, rows], args.norms[now, rows] = c_BH, n_BH
        if args.saves:
            args.gates[t, rows] = torch.cat([i, f, z, o, closed], 1)
    args.m[rows] = m_BH


def slstm_backward(args: four_gates.Backward, first: int, last: int) -> None:
    """Write what `slstm.backward_rows` writes."""
    assert args.sums is not None
    assert args.n_0 is not None and args.norms is not None and args.d_n is not None and args.d_m is not None
    rows = slice(first, last)
    dh_BH, dc_BH, dn_BH, dm_BH = args.d_h[rows], args.d_c[rows], args.d_n[rows], args.d_m[rows]
    for t in reversed(range(args.T)):
        i, f, z, o, closed = args.gates[t, rows].chunk(5, 1)
        before_BH = args.h_0[rows] if t == 0 else args.outputs[t - 1, rows]
        c_BH, n_BH = (
            part[rows] for part in ((args.c_0, args.n_0) if t == 0 else (args.cells[t - 1], args.norms[t - 1]))
        )
        scale_BH = 1 / args.norms[t, rows]
        mean_BH = args.cells[t, rows] * scale_BH
        dh_BH = dh_BH + args.d_outputs[t, rows]
        do = dh_BH * mean_BH  # (10)
        dc_BH, dn_BH = dc_BH + dh_BH * o * scale_BH, dn_BH - dh_BH * o * mean_BH * scale_BH  # (11)
        di, dl = (dc_BH * z + dn_BH) * i, (dc_BH * c_BH + dn_BH * n_BH) * f  # (12)
        rest_BH = dm_BH - di - dl  # (13)
        is_kept_BH = f > i
        di, dl = torch.where(is_kept_BH, di, di + rest_BH), torch.where(is_kept_BH, dl + rest_BH, dl)
        dp = torch.cat([di, dl * closed, dc_BH * i * (1 - z**2), do * o * (1 - o)], 1)  # (14), (15)
        _add_products(args, t, rows, before_BH, dp)
        dc_BH, dn_BH, dm_BH, dh_BH = dc_BH * f, dn_BH * f, dl, dp @ args.U  # (16), (17)
    args.d_h[rows], args.d_c[rows], args.d_n[rows], args.d_m[rows] = dh_BH, dc_BH, dn_BH, dm_BH


def _add_products(args: four_gates.Backward, t: int, rows: slice, before_BH: Tensor, dp_BG: Tensor) -> None:
    """Add the weight gradients (18) of step t to `sums`, and write the gradient (19) of its input.

    Args:
        args: Arguments of the kernel.
        t: The step.
        rows: Rows of the batch.
        before_BH: Output of the step before.
        dp_BG: Gradients of the sums of the gates.
    """
    assert args.sums is not None
    x_BD, H = args.x[t, rows], args.H
    one_B1 = torch.ones_like(x_BD[:, :1])
    sums_R4P = args.sums.view(len(args.sums), 4, -1)  # P is H rounded up to whole vectors
    sums_R4P[:, :, :H] += (torch.cat([x_BD, before_BH, one_B1], 1).T @ dp_BG).unflatten(1, (4, H))
    if args.d_x is not None:
        args.d_x[t, rows] = dp_BG @ args.W


def reservoir_forward(args: reservoir.Forward, first: int, last: int) -> None:
    """Write what `reservoir.forward_rows` writes."""
    rows = slice(first, last)
    W_HD, U_HH = _full(args.W, args.W_sources, args.D), _full(args.U, args.U_sources, args.H)
    h_BH = args.h_0[rows]
    for t in range(args.T):
        g_BH = (args.x[t, rows] @ W_HD.T + h_BH @ U_HH.T + args.bias).tanh()
        h_BH = h_BH + args.leak * (g_BH - h_BH)
        args.outputs[t, rows] = h_BH
        if args.activations is not None:
            args.activations[t, :, rows] = g_BH.T


def reservoir_backward(args: reservoir.Backward, first: int, last: int) -> None:
    """Write what `reservoir.backward_rows` writes."""
    rows = slice(first, last)
    W_HD, U_HH = _full(args.W, args.W_sources, args.D), _full(args.U, args.U_sources, args.H)
    dh_BH = args.d_h[rows]
    for t in reversed(range(args.T)):
        dh_BH = dh_BH + args.d_outputs[t, rows]
        ds_BH = args.leak * dh_BH * (1 - args.activations[t, :, rows].T ** 2)  # (3)
        args.d_x[t, rows] = ds_BH @ W_HD
        dh_BH = (1 - args.leak) * dh_BH + ds_BH @ U_HH  # (4)
    args.d_h[rows] = dh_BH


def _full(weights_HK: Tensor, sources_HK: Tensor, columns: int) -> Tensor:
    """Return a sparse matrix with all its zeros, (H, columns)."""
    return weights_HK.new_zeros(len(weights_HK), columns).scatter_add_(1, sources_HK.long(), weights_HK)
