"""What `rwkv7` makes of its inputs, and the gradients of that, by whole tensors.

Equation numbers refer to `arch/kernels/training/heads/token_mix.py`.
"""

# Shape suffixes: B rows of the batch, T time, D input width, H width, R and G narrow widths, M = B · T

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from arch.kernels.runtime.tensors import UNIT_EPSILON

if TYPE_CHECKING:
    from arch.kernels.training.heads import token_mix


class _Parts(NamedTuple):
    """What (1) to (3) compute on the way, each (M, ·), with x and x₋ - x, and with ϱ of each head."""

    x: Tensor
    change: Tensor
    mixed: list[Tensor]
    p: list[Tensor]
    L_w: Tensor
    L_g: Tensor
    s: Tensor
    a: Tensor
    g: Tensor
    scale: Tensor
    kappa: Tensor
    share: Tensor


def forward(args: token_mix.Forward, first: int, last: int) -> None:
    """Write what `token_mix.forward_rows` writes."""
    parts, rows = _computed(args, first, last), slice(first, last)
    r, _, k, v, _, _ = parts.p
    w = torch.exp(-math.exp(-0.5) * parts.s)
    results = (r, w, parts.kappa, -parts.a * parts.kappa, parts.share * k, v, parts.g)  # (3)
    written = (args.r, args.w, args.kappa, args.q, args.k, args.v, args.g)
    for tensor, result in zip(written, results, strict=True):
        tensor[rows] = result.view(tensor[rows].shape)


def backward(args: token_mix.Backward, first: int, last: int) -> None:
    """Write what `token_mix.backward_rows` writes."""
    assert args.sums is not None
    parts, rows, B = _computed(args, first, last), slice(first, last), last - first
    given = (args.d_r, args.d_w, args.d_kappa, args.d_q, args.d_k, args.d_v, args.d_g)
    d_r, d_w, d_kappa, d_q, d_k, d_v, d_g = (tensor[rows].reshape(len(parts.x), args.H) for tensor in given)
    key, s, a, kappa, lowest = parts.p[2], parts.s, parts.a, parts.kappa, math.exp(-0.5)
    e = d_kappa - a * d_q
    along = (kappa * e).unflatten(1, (args.N, -1)).sum(2, keepdim=True).expand(-1, -1, args.H // args.N).flatten(1)
    d_z = parts.scale * (e - kappa * along)  # (4)
    d_key = args.xi * d_z + parts.share * d_k
    d_a = (args.alpha * key * d_k - kappa * d_q) * a * (1 - a)
    d_s = -lowest * torch.exp(-lowest * s) * d_w * s * (1 - s)  # (5)
    d_L_w = d_s @ args.up_w * (1 - parts.L_w**2)
    d_L_g = d_g @ args.up_g * parts.L_g * (1 - parts.L_g)
    d_p = (d_r, d_L_w, d_key, d_v, d_a @ args.up_a, d_L_g)
    d_now, d_last, sums = torch.zeros_like(parts.x), torch.zeros_like(parts.x), _sums(args)
    for c, (W, dp) in enumerate(zip(_weights(args), d_p, strict=True)):
        dx = dp @ W
        d_now += (1 - args.mu[c]) * dx
        d_last += args.mu[c] * dx  # (6)
        sums[-1][c, : args.D] += (parts.change * dx).sum(0)
        sums[c][: args.D, : len(W)] += parts.mixed[c].T @ dp
    for place, (left, dp) in enumerate(((parts.L_w, d_s), (parts.p[4], d_a), (parts.L_g, d_g)), 6):
        sums[place][: left.shape[1], : args.H] += left.T @ dp
    for place, total in enumerate((key * d_z, key * (a - 1) * d_k, d_s, d_a), 6):
        sums[-1][place, : args.H] += total.sum(0)
    before = d_last.view(B, args.T, -1)
    args.d_x[rows] = d_now.view(B, args.T, -1)
    args.d_x[rows, :-1] += before[:, 1:]
    args.d_before[rows] = before[:, 0]


def _weights(args: Any) -> tuple[Tensor, ...]:
    """Return the six W_c."""
    return args.W_r, args.W_w, args.W_k, args.W_v, args.W_a, args.W_g


def _sums(args: token_mix.Backward) -> list[Tensor]:
    """Return views of the sums: those of the nine matrices, then the others."""
    from arch.kernels.training.heads import token_mix

    assert args.sums is not None
    return list(args.sums.split(token_mix.rows_of_sums(args.D, args.R, args.G)))


def _computed(args: token_mix.Forward | token_mix.Backward, first: int, last: int) -> _Parts:
    """Return what rows `first` to `last` of the batch compute by (1) to (3)."""
    x_BTD = args.x[first:last]
    last_BTD = torch.cat([args.before[first:last].unsqueeze(1), x_BTD[:, :-1]], 1)
    x, change = x_BTD.flatten(0, 1), (last_BTD - x_BTD).flatten(0, 1)
    mixed = [x + mu_D * change for mu_D in args.mu]
    p = [x_c @ W.T for x_c, W in zip(mixed, _weights(args), strict=True)]  # (1)
    L_w, L_g = p[1].tanh(), p[5].sigmoid()
    s, a = (L_w @ args.up_w.T + args.w_0).sigmoid(), (p[4] @ args.up_a.T + args.a_0).sigmoid()  # (2)
    z = (args.xi * p[2]).unflatten(1, (args.N, -1))
    scale = torch.rsqrt(z.square().sum(2, keepdim=True) + UNIT_EPSILON).expand_as(z).flatten(1)
    share = 1 + args.alpha * (a - 1)
    return _Parts(x, change, mixed, p, L_w, L_g, s, a, L_g @ args.up_g.T, scale, scale * args.xi * p[2], share)
