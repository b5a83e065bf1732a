"""The passes between the matrix products of a `transformer` block: layer norm, GELU of the MLP, and order of heads.

Equation numbers are those of the modules in `arch/kernels/training`.
"""

# Shape suffixes: N rows, D model width, E MLP width, B batch, T time, K head width

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from arch.kernels.runtime.tensors import NORM_EPSILON

if TYPE_CHECKING:
    from arch.kernels.training import gelu, layer_norm, qkv


def layer_norm_forward(args: layer_norm.Forward, first: int, last: int) -> None:
    """Write what `layer_norm.forward_rows` writes."""
    rows = slice(first, last)
    y_ND = args.x[rows]
    if args.product is not None:
        assert args.bias is not None
        y_ND = y_ND + args.product[rows] + args.bias  # (1)
        args.y[rows] = y_ND
    if args.gain is not None:
        assert args.offset is not None and args.normal is not None and args.moments is not None
        mean_N = y_ND.mean(1)
        s_N = 1 / (y_ND.var(1, correction=0) + NORM_EPSILON).sqrt()
        args.normal[rows] = (y_ND - mean_N[:, None]) * s_N[:, None] * args.gain + args.offset  # (2)
        args.moments[rows] = torch.stack([mean_N, s_N], 1)


def layer_norm_backward(args: layer_norm.Backward, first: int, last: int, rows_per_sum: int) -> None:
    """Write what `layer_norm.backward_rows` writes.

    Args:
        args: Arguments of the kernel.
        first, last: First row, a multiple of `rows_per_sum`, and the row after the last one.
        rows_per_sum: Number of rows of each block of the sums.
    """
    for block, rows in _blocks(first, last, rows_per_sum):
        dn_ND, (mean_N, s_N) = args.d_normal[rows], args.moments[rows].unbind(1)
        normal_ND = (args.y[rows] - mean_N[:, None]) * s_N[:, None]
        g_dn = args.gain * dn_ND
        along = (g_dn * normal_ND).mean(1, keepdim=True)
        dy_ND = s_N[:, None] * (g_dn - g_dn.mean(1, keepdim=True) - normal_ND * along)  # (3)
        sums = [(normal_ND * dn_ND).sum(0), dn_ND.sum(0), torch.zeros_like(args.gain), torch.zeros_like(args.gain)]
        if args.above is not None:
            dy_ND = dy_ND + args.above[rows]
            sums[2:] = [args.above[rows].sum(0), dy_ND.sum(0)]
        args.d_y[rows], args.block_sums[block] = dy_ND, torch.stack(sums)  # (4)


def gelu_forward(args: gelu.Forward, first: int, last: int) -> None:
    """Write what `gelu.forward_rows` writes, with the exact Φ instead of (3)."""
    rows = slice(first, last)
    x_NE = args.sums[rows] + args.bias
    below_NE = (1 + (x_NE / math.sqrt(2)).erf()) / 2
    args.result[rows] = x_NE * below_NE  # (1)
    args.sums[rows] = below_NE + x_NE * (-(x_NE**2) / 2).exp() / math.sqrt(2 * math.pi)  # (2)


def gelu_backward(args: gelu.Backward, first: int, last: int, rows_per_sum: int) -> None:
    """Write what `gelu.backward_rows` writes.

    Args:
        args: Arguments of the kernel.
        first, last: First row, a multiple of `rows_per_sum`, and the row after the last one.
        rows_per_sum: Number of rows of each block of the sums.
    """
    for block, rows in _blocks(first, last, rows_per_sum):
        args.d_result[rows] *= args.slope[rows]
        args.d_bias[block] = args.d_result[rows].sum(0)


def move(args: qkv.Move, first: int, last: int) -> None:
    """Write what `qkv.move_rows` writes."""
    rows = slice(first, last)
    qkv_BTPNK = args.qkv.view(-1, args.T, 3, args.N, args.K)[rows]  # P: q, k or v
    for part, side in enumerate((args.q, args.k, args.v)):
        side_BTNK, rotary = side[rows].transpose(1, 2), args.rotary if part < 2 else None
        if args.back:
            qkv_BTPNK[:, :, part] = _rotated(side_BTNK, rotary, -1)
        else:
            bias_NK = args.bias.view(3, args.N, args.K)[part]
            side_BTNK.copy_(_rotated(qkv_BTPNK[:, :, part] + bias_NK, rotary, 1))
    if args.back:
        args.bias.view(-1, 3, args.N, args.K)[rows] = qkv_BTPNK.sum(1)


def _rotated(x_BTNK: Tensor, rotary_TK: Tensor | None, direction: int) -> Tensor:
    """Return `x_BTNK` rotated by (2) of `qkv.py`, or backwards if `direction` is -1."""
    if rotary_TK is None:
        return x_BTNK
    cos, sin = rotary_TK[:, None, 0::2], direction * rotary_TK[:, None, 1::2]
    a, b = x_BTNK[..., 0::2], x_BTNK[..., 1::2]
    return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)


def _blocks(first: int, last: int, rows_per_sum: int) -> Iterator[tuple[int, slice]]:
    """Yield the number and the rows of each block of sums, for rows `first` to `last`."""
    for start in range(first, last, rows_per_sum):
        yield start // rows_per_sum, slice(start, min(last, start + rows_per_sum))
