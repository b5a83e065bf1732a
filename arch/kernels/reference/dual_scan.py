"""The memory of `mamba2` and its gradients, step by step.

Equation numbers refer to `arch/kernels/training/heads/dual_scan.py`.
"""

# Shape suffixes: B rows of the batch, T time, N heads, K states, V head width

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from arch.kernels.training.heads import dual_scan


class _Parts(NamedTuple):
    """The parts of c, and the gates of (1)."""

    u_BTNV: Tensor
    B_BTK: Tensor
    C_BTK: Tensor
    step_BTN: Tensor
    a_BTN: Tensor


def forward(args: dual_scan.Forward, first: int, last: int) -> None:
    """Write what `dual_scan.forward_rows` writes."""
    rows, parts, S_BNKV = slice(first, last), _parts(args, first, last), args.S_0[first:last]
    for t in range(args.T):
        if args.checkpoints is not None and t % args.segment == 0:
            args.checkpoints[rows, t // args.segment] = _by_channel(args, S_BNKV)
        S_BNKV = _after(parts, S_BNKV, t)  # (2)
        y_BNV = torch.einsum("bnkv,bk->bnv", S_BNKV, parts.C_BTK[:, t])
        args.y[rows, t] = (y_BNV + args.skip[:, None] * parts.u_BTNV[:, t]).flatten(1)  # (3)
    args.S_T[rows] = S_BNKV


def backward(args: dual_scan.Backward, first: int, last: int) -> None:
    """Write what `dual_scan.backward_rows` writes."""
    assert args.sums is not None
    rows, parts, rate_N = slice(first, last), _parts(args, first, last), args.rate.exp()
    E, K = args.N * args.V, args.K
    memories = [args.checkpoints[rows, 0, :, :E].unflatten(2, (args.N, args.V)).transpose(1, 2)]
    for t in range(args.T):
        memories.append(_after(parts, memories[-1], t))
    dS_BNKV = args.d_S[rows]
    for t in reversed(range(args.T)):
        u_BNV, dy_BNV = parts.u_BTNV[:, t], args.d_y[rows, t].unflatten(1, (args.N, args.V))
        step_BN, a_BN = parts.step_BTN[:, t], parts.a_BTN[:, t]
        dS_BNKV = dS_BNKV + torch.einsum("bk,bnv->bnkv", parts.C_BTK[:, t], dy_BNV)  # (4)
        dx_BNV = torch.einsum("bnkv,bk->bnv", dS_BNKV, parts.B_BTK[:, t])
        through_BN = rate_N * a_BN * (dS_BNKV * memories[t]).sum((2, 3))  # (5)
        args.d_c[rows, t, :E] = (step_BN[..., None] * dx_BNV + args.skip[:, None] * dy_BNV).flatten(1)  # (6)
        x_BNV = step_BN[..., None] * u_BNV
        args.d_c[rows, t, E : E + K] = torch.einsum("bnkv,bnv->bk", dS_BNKV, x_BNV)
        args.d_c[rows, t, E + K :] = torch.einsum("bnkv,bnv->bk", memories[t + 1], dy_BNV)
        d_d_BN = (args.d[rows, t] + args.bias).sigmoid() * ((dx_BNV * u_BNV).sum(2) - through_BN)  # (7)
        args.d_d[rows, t] = d_d_BN
        args.sums.add_(torch.stack([-(step_BN * through_BN).sum(0), d_d_BN.sum(0), (dy_BNV * u_BNV).sum((0, 2))]))
        dS_BNKV = a_BN[..., None, None] * dS_BNKV  # (8)
    args.d_S_0[rows] = dS_BNKV


def _parts(args: dual_scan.Forward | dual_scan.Backward, first: int, last: int) -> _Parts:
    """Return the parts of c and the gates (1) of rows `first` to `last` of the batch."""
    u_BTE, B_BTK, C_BTK = args.c[first:last].split([args.N * args.V, args.K, args.K], 2)
    step_BTN = functional.softplus(args.d[first:last] + args.bias)
    return _Parts(u_BTE.unflatten(2, (args.N, args.V)), B_BTK, C_BTK, step_BTN, torch.exp(-step_BTN * args.rate.exp()))


def _after(parts: _Parts, S_BNKV: Tensor, t: int) -> Tensor:
    """Return the memory after step t by (2)."""
    x_BNV = parts.step_BTN[:, t, :, None] * parts.u_BTNV[:, t]
    return parts.a_BTN[:, t, :, None, None] * S_BNKV + torch.einsum("bk,bnv->bnkv", parts.B_BTK[:, t], x_BNV)


def _by_channel(args: dual_scan.Forward, S_BNKV: Tensor) -> Tensor:
    """Return a memory as (B, K, P): all channels of a row side by side, followed by zeros."""
    assert args.checkpoints is not None
    S_BKE = S_BNKV.transpose(1, 2).flatten(2)
    return functional.pad(S_BKE, (0, args.checkpoints.shape[3] - S_BKE.shape[2]))
