"""Scans of `rnn`, `lstm` and `gru` and their gradients, step by step.

Equation numbers refer to the modules of the same name in `arch/kernels/training`. dp are gradients of pre-activations.
"""

# Shape suffixes: B rows of the batch, D input width, H hidden width

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from arch.kernels.training import four_gates, gru, gru_before, rnn


def rnn_forward(args: rnn.Forward, first: int, last: int) -> None:
    """Write what `rnn.forward_rows` writes."""
    rows = slice(first, last)
    h_BH = args.h_0[rows]
    for t in range(args.T):
        p_BH = args.x[t, rows] @ args.W.T + args.bias + h_BH @ args.U.T
        h_BH = p_BH.tanh() if args.is_tanh else p_BH.relu()
        args.outputs[t, rows] = h_BH


def rnn_backward(args: rnn.Backward, first: int, last: int) -> None:
    """Write what `rnn.backward_rows` writes."""
    rows = slice(first, last)
    dh_BH = args.d_h[rows]
    for t in reversed(range(args.T)):
        h_BH, before_BH = args.outputs[t, rows], args.h_0[rows] if t == 0 else args.outputs[t - 1, rows]
        dh_BH = dh_BH + args.d_outputs[t, rows]
        dp_BH = dh_BH * (1 - h_BH**2 if args.is_tanh else h_BH > 0)  # (2)
        _add_gradients(args, t, rows, before_BH, [dp_BH])  # (4), (5)
        dh_BH = dp_BH @ args.U  # (3)
    args.d_h[rows] = dh_BH


def lstm_forward(args: four_gates.Forward, first: int, last: int) -> None:
    """Write what `lstm.forward_rows` writes."""
    rows = slice(first, last)
    h_BH, c_BH = args.h_0[rows], args.c_0[rows]
    for t in range(args.T):
        i, f, g, o = (args.x[t, rows] @ args.W.T + args.bias + h_BH @ args.U.T).chunk(4, 1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        c_BH = f * c_BH + i * g
        h_BH = o * c_BH.tanh()
        args.outputs[t, rows] = h_BH
        args.cells[t if args.saves else 0, rows] = c_BH
        if args.saves:
            args.gates[t, rows] = torch.cat([i, f, g, o], 1)


def lstm_backward(args: four_gates.Backward, first: int, last: int) -> None:
    """Write what `lstm.backward_rows` writes."""
    rows = slice(first, last)
    dh_BH, dc_BH = args.d_h[rows], args.d_c[rows]
    for t in reversed(range(args.T)):
        i, f, g, o = args.gates[t, rows].chunk(4, 1)
        before_BH = args.h_0[rows] if t == 0 else args.outputs[t - 1, rows]
        c_BH = args.c_0[rows] if t == 0 else args.cells[t - 1, rows]
        tanh_c = args.cells[t, rows].tanh()
        dh_BH = dh_BH + args.d_outputs[t, rows]
        dc_BH = dc_BH + dh_BH * o * (1 - tanh_c**2)  # (7)
        di, df, dg, do = dc_BH * g, dc_BH * c_BH, dc_BH * i, dh_BH * tanh_c  # (8), (9)
        dp = [di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)]  # (10)
        _add_gradients(args, t, rows, before_BH, dp)  # (13), (14)
        dc_BH = dc_BH * f  # (11)
        dh_BH = torch.cat(dp, 1) @ args.U  # (12)
    args.d_h[rows], args.d_c[rows] = dh_BH, dc_BH


def gru_forward(args: gru.Forward, first: int, last: int) -> None:
    """Write what `gru.forward_rows` writes."""
    rows = slice(first, last)
    h_BH = args.h_0[rows]
    for t in range(args.T):
        r_x, z_x, n_x = (args.x[t, rows] @ args.W.T + args.bias).chunk(3, 1)
        r_h, z_h, n_h = (h_BH @ args.U.T).chunk(3, 1)
        r, z, s = (r_x + r_h).sigmoid(), (z_x + z_h).sigmoid(), n_h + args.u
        n = (n_x + r * s).tanh()
        h_BH = (1 - z) * n + z * h_BH
        args.outputs[t, rows] = h_BH
        if args.saves:
            args.gates[t, rows], args.s[t, rows] = torch.cat([r, z, n], 1), s


def gru_backward(args: gru.Backward, first: int, last: int) -> None:
    """Write what `gru.backward_rows` writes."""
    assert args.sums is not None
    rows, D, H = slice(first, last), args.D, args.H
    padded = len(args.sums) // (3 * (D + 1) + 3 * H + 1)
    sizes = [D * 3 * padded, 3 * padded, H * 3 * padded, padded]
    d_W, d_b, d_U, d_u = args.sums.split(sizes)
    dh_BH = args.d_h[rows]
    for t in reversed(range(args.T)):
        r, z, n = args.gates[t, rows].chunk(3, 1)
        s, h_BH = args.s[t, rows], args.h_0[rows] if t == 0 else args.outputs[t - 1, rows]
        dh_BH = dh_BH + args.d_outputs[t, rows]
        dn, dz = dh_BH * (1 - z) * (1 - n**2), dh_BH * (h_BH - n) * z * (1 - z)  # (5), (6)
        dr, ds = dn * s * r * (1 - r), dn * r  # (7)
        one_B1 = torch.ones_like(dn[:, :1])
        _add_products(d_W.view(D, -1), args.x[t, rows], [dn, dr, dz])  # (9)
        _add_products(d_b.view(1, -1), one_B1, [dn, dr, dz])
        _add_products(d_U.view(H, -1), h_BH, [dr, dz, ds])
        _add_products(d_u.view(1, -1), one_B1, [ds])
        if args.d_x is not None:
            args.d_x[t, rows] = torch.cat([dn, dr, dz], 1) @ args.W_nrz  # (10)
        dh_BH = dh_BH * z + torch.cat([dr, dz, ds], 1) @ args.U  # (8)
    args.d_h[rows] = dh_BH


def gru_before_forward(args: gru_before.Forward, first: int, last: int) -> None:
    """Write what `gru_before.forward_rows` writes."""
    rows, H = slice(first, last), args.H
    U_rz, U_n = args.U.split([2 * H, H])
    h_BH = args.h_0[rows]
    for t in range(args.T):
        rz_x, n_x = args.projected[t, rows].split([2 * H, H], 1)
        r, z = (rz_x + h_BH @ U_rz.T).sigmoid().chunk(2, 1)
        n = (n_x + (r * h_BH) @ U_n.T).tanh()
        args.reset[t, rows] = r * h_BH
        if args.saves:
            for place, values_BH in enumerate((r, z, n, h_BH)):
                for unit in range(H):
                    _saved_unit(args.saved, t, place, unit)[rows] = values_BH[:, unit]
        h_BH = (1 - z) * n + z * h_BH
        args.outputs[t, rows] = h_BH


def gru_before_backward(args: gru_before.Backward, first: int, last: int) -> None:
    """Write what `gru_before.backward_rows` writes."""
    rows, H = slice(first, last), args.H
    U_rz, U_n = args.U.split([2 * H, H])
    dh_BH = args.d_h[rows]
    for t in reversed(range(args.T)):
        r, z, n, h_BH = (
            torch.stack([_saved_unit(args.saved, t, place, unit)[rows] for unit in range(H)], 1) for place in range(4)
        )
        dh_BH = dh_BH + args.d_outputs[t, rows]
        dn, dz = dh_BH * (1 - z) * (1 - n**2), dh_BH * (h_BH - n) * z * (1 - z)  # (5), (6)
        da = dn @ U_n  # (7)
        dr = da * h_BH * r * (1 - r)
        args.d_projected[t, rows] = torch.cat([dr, dz, dn], 1)
        dh_BH = dh_BH * z + da * r + torch.cat([dr, dz], 1) @ U_rz  # (8)
    args.d_h[rows] = dh_BH


def _saved_unit(saved: Tensor, t: int, place: int, unit: int) -> Tensor:
    """Return a view of one unit of r, z, n or h (`place` 0 to 3) at step t, for all rows of the batch."""
    lanes = saved.shape[-1]
    return saved[t, :, unit // lanes, place, unit % lanes]


def _add_gradients(
    args: rnn.Backward | four_gates.Backward, t: int, rows: slice, before_BH: Tensor, dp: Sequence[Tensor]
) -> None:
    """Add the weight gradients of step t to `sums`, and write the gradient of its input.

    Args:
        args: Arguments of the kernel.
        t: The step.
        rows: Rows of the batch.
        before_BH: Output of the step before.
        dp: Gradients of the pre-activations, (B, H) per gate.
    """
    assert args.sums is not None
    d_W, d_U, d_b = args.sums.split([args.D, args.H, 1])
    _add_products(d_W, args.x[t, rows], dp)
    _add_products(d_U, before_BH, dp)
    _add_products(d_b, torch.ones_like(dp[0][:, :1]), dp)
    if args.d_x is not None:
        args.d_x[t, rows] = torch.cat(list(dp), 1) @ args.W


def _add_products(sums: Tensor, x_BD: Tensor, dp: Sequence[Tensor]) -> None:
    """Add x^T dp of each gate to the gate's columns of `sums`, (D, gates · padded)."""
    padded = sums.shape[1] // len(dp)
    for gate, dp_BH in enumerate(dp):
        sums[:, gate * padded : gate * padded + dp_BH.shape[1]] += x_BD.T @ dp_BH
