"""The kernels of residual blocks: layer norm, the second half of a block, and the order of heads.

Equation numbers are those of the modules in `arch/kernels/training`.
"""

# Shape suffixes: N rows, D model width, E MLP width, B batch, T time, K head width

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from arch.kernels.runtime.tensors import NORM_EPSILON

if TYPE_CHECKING:
    from arch.kernels.training import layer_norm, qkv, residual_mlp


def layer_norm_forward(args: layer_norm.Forward, first: int, last: int) -> None:
    """Write what `layer_norm.forward_rows` writes."""
    rows = slice(first, last)
    y_ND = args.y[rows]
    mean_N = y_ND.mean(1)
    s_N = 1 / (y_ND.var(1, correction=0) + NORM_EPSILON).sqrt()
    args.normal[rows] = (y_ND - mean_N[:, None]) * s_N[:, None] * args.gain + args.offset  # (1)
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
        args.d_y[rows] = s_N[:, None] * (g_dn - g_dn.mean(1, keepdim=True) - normal_ND * along)  # (2)
        args.block_sums[block] = torch.stack([(normal_ND * dn_ND).sum(0), dn_ND.sum(0)])  # (3)


def residual_mlp_forward(args: residual_mlp.Forward, first: int, last: int) -> None:
    """Write what `residual_mlp.forward_rows` writes."""
    rows = slice(first, last)
    y_ND = args.x[rows] + args.a[rows]
    args.y[rows] = y_ND if args.bias is None else y_ND + args.bias  # (1)
    n_ND = functional.layer_norm(args.y[rows], (args.D,), args.gain, args.offset, NORM_EPSILON)
    hidden_NE = functional.gelu(n_ND @ args.W_1.T + args.b_1)
    args.total[rows] = args.y[rows] + hidden_NE @ args.W_2.T + args.b_2  # (2)
    if args.final_gain is not None:
        norm = (args.D,), args.final_gain, args.final_offset, NORM_EPSILON
        args.z[rows] = functional.layer_norm(args.total[rows], *norm)


def residual_mlp_backward(args: residual_mlp.Backward, first: int, last: int, rows_per_sum: int) -> None:
    """Write what `residual_mlp.backward_rows` writes. The derivatives come from autograd.

    Args:
        args: Arguments of the kernel.
        first, last: First row, a multiple of `rows_per_sum`, and the row after the last one.
        rows_per_sum: Number of rows of each block of the sums.
    """
    D, E = args.D, args.E

    def last_norm(x: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
        return functional.layer_norm(x, (D,), gain, offset, NORM_EPSILON)

    def second_half(y: Tensor, gain: Tensor, offset: Tensor, W_1: Tensor, b_1: Tensor, W_2: Tensor) -> Tensor:
        n_ND = functional.layer_norm(y, (D,), gain, offset, NORM_EPSILON)
        return y + functional.gelu(n_ND @ W_1.T + b_1) @ W_2.T

    for block, rows in _blocks(first, last, rows_per_sum):
        d_z_ND, sums = args.d_z[rows], args.sums[block]
        if args.final_gain is not None:
            assert args.total is not None
            of_norm = (args.total[rows], args.final_gain, torch.zeros_like(args.final_gain))
            d_z_ND, *of_final = _gradients(last_norm, of_norm, d_z_ND)
            sums[-2:, :D] += torch.stack(of_final)

        given = (args.y[rows], args.gain, args.offset, args.W_1, args.b_1, args.W_2)
        d_y_ND, d_gain, d_offset, d_W_1, d_b_1, d_W_2 = _gradients(second_half, given, d_z_ND)
        args.d_y[rows] = d_y_ND
        tall = (len(sums) - 7) // 2  # D rounded up to whole tiles
        sums[:D, :E] += d_W_2
        sums[tall : tall + D, :E] += d_W_1.T
        sums[2 * tall, :E] += d_b_1
        sums[2 * tall + 1 : 2 * tall + 5, :D] += torch.stack([d_gain, d_offset, d_z_ND.sum(0), d_y_ND.sum(0)])


def _gradients(function: Callable[..., Tensor], inputs: tuple[Tensor, ...], d_result: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients of the inputs of a function, for that of its result."""
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in inputs]
        return torch.autograd.grad(function(*leaves), leaves, d_result)


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
