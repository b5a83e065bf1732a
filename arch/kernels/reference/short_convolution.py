"""Short convolution with SiLU and unit vectors, and its gradients, for all steps at once.

Equation numbers refer to `arch/core/convolution.py` and `arch/kernels/training/short_convolution.py`.
"""

# Shape suffixes: B rows of the batch, T time, C channels, N heads, K head width

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from arch.kernels.runtime.tensors import CONV_STEPS, UNIT_EPSILON

if TYPE_CHECKING:
    from arch.kernels.training.short_convolution import Backward, Forward


def forward(args: Forward, first: int, last: int) -> None:
    """Write what `forward_rows` writes."""
    rows = slice(first, last)
    c_BTC, _ = _convolved(args, rows)
    s_BTC = c_BTC * c_BTC.sigmoid() if args.activates else c_BTC  # (2)
    scale_BTC = _scales(args, s_BTC)
    for n, part_BTP in zip((args.n_0, args.n_1, args.n_2), _split(args, s_BTC * scale_BTC), strict=False):
        assert n is not None
        _by_row(args, n)[rows] = part_BTP  # (3)
    if args.scales is not None:
        args.scales[rows] = scale_BTC[..., : args.unit_channels : args.K]


def backward(args: Backward, first: int, last: int) -> None:
    """Write what `backward_rows` writes."""
    assert args.sums is not None
    rows = slice(first, last)
    c_BTC, seen_BTC = _convolved(args, rows)
    gate_BTC, ds_BTC = c_BTC.sigmoid(), _joined(args, args.d_0, args.d_1, args.d_2)[rows]
    if args.unit_channels:
        scaled = slice(0, args.unit_channels)
        n_BTC = _joined(args, args.n_0, args.n_1, args.n_2)[rows][..., scaled]
        scale_BTC = _scales(args, c_BTC * gate_BTC)[..., scaled]
        along_BTC = _per_head(n_BTC * ds_BTC[..., scaled], args.K)
        ds_BTC[..., scaled] = scale_BTC * (ds_BTC[..., scaled] - n_BTC * along_BTC)  # (4)
    dc_BTC = ds_BTC * gate_BTC * (1 + c_BTC * (1 - gate_BTC)) if args.activates else ds_BTC  # (5)
    d_seen_BTC = torch.zeros_like(seen_BTC)
    for k in range(CONV_STEPS):
        d_seen_BTC[:, k : k + args.T] += args.filters[k] * dc_BTC  # (6)
        args.sums[k] += (seen_BTC[:, k : k + args.T] * dc_BTC).sum((0, 1))  # (7)
    args.sums[CONV_STEPS] += dc_BTC.sum((0, 1))  # (7)
    args.d_before[rows] = d_seen_BTC[:, : CONV_STEPS - 1]
    _by_row(args, args.d_u)[rows] = d_seen_BTC[:, CONV_STEPS - 1 :]


def _by_row(args: Forward | Backward, x: Tensor) -> Tensor:
    """Return a view (B, T, C) of a tensor in the layout of u, of any number of channels."""
    B, T, C = len(args.before), args.T, x.shape[2]
    return x.as_strided((B, T, C), (args.row_stride * C, args.step_stride * C, 1))


def _split(args: Forward, x_BTC: Tensor) -> tuple[Tensor, ...]:
    """Return the parts of all channels."""
    parts: tuple[Tensor, ...] = x_BTC.split([width for width in (args.P_0, args.P_1, args.P_2) if width], 2)
    return parts


def _joined(args: Backward, *parts: Tensor | None) -> Tensor:
    """Return a copy (B, T, C) of all parts that there are."""
    return torch.cat([_by_row(args, part) for part in parts if part is not None], 2)


def _convolved(args: Forward | Backward, rows: slice) -> tuple[Tensor, Tensor]:
    """Return c of (1), (B, T, C), and the inputs from three steps before the first one on, (B, 3 + T, C)."""
    seen_BTC = torch.cat([args.before[rows], _by_row(args, args.u)[rows]], 1)
    c_BTC = sum((args.filters[k] * seen_BTC[:, k : k + args.T] for k in range(CONV_STEPS)), torch.zeros(()))  # (1)
    return c_BTC if args.bias is None else c_BTC + args.bias, seen_BTC


def _scales(args: Forward | Backward, s_BTC: Tensor) -> Tensor:
    """Return ρ of each channel, (B, T, C)."""
    scale_BTC = torch.ones_like(s_BTC)
    squares_BTC = _per_head(s_BTC[..., : args.unit_channels] ** 2, args.K)
    scale_BTC[..., : args.unit_channels] = 1 / (squares_BTC + UNIT_EPSILON).sqrt()
    return scale_BTC


def _per_head(x_BTC: Tensor, head_width: int) -> Tensor:
    """Return the sum over the channels of each head, in all of its channels."""
    sums_BTN1: Tensor = x_BTC.unflatten(2, (x_BTC.shape[2] // head_width, head_width)).sum(3, keepdim=True)
    return sums_BTN1.expand(-1, -1, -1, head_width).flatten(2)
