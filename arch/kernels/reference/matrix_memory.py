"""Scans of matrix memories and their gradients, step by step.

Equation numbers refer to `arch/kernels/training/matrix_memory.py`, which goes on from `arch/core/matrix_memory.py`.
"""

# Shape suffixes: B rows of the batch, N heads, K key width, V value width

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from arch.kernels.training import matrix_memory


def forward(args: matrix_memory.Forward, first: int, last: int) -> None:
    """Write what `matrix_memory.forward_rows` writes."""
    rows = slice(first, last)
    S_BNKV = args.S_0[rows]
    for t in range(args.T):
        if args.checkpoints is not None and t % args.segment == 0:
            args.checkpoints[rows, :, t // args.segment] = S_BNKV
        if args.r is not None and args.u is not None:
            args.u[rows, t] = _read(S_BNKV, args.r[rows, t])  # (1)
        S_BNKV = _after(args, S_BNKV, t, rows)  # (2)
        if (t + 1) % args.reads_every == 0:
            args.y[rows, t // args.reads_every] = _read(S_BNKV, args.q[rows, t // args.reads_every])  # (3)
    args.S_T[rows] = S_BNKV


def backward(args: matrix_memory.Backward, first: int, last: int) -> None:
    """Write what `matrix_memory.backward_rows` writes."""
    rows = slice(first, last)
    memories = [args.checkpoints[rows, :, 0]]
    for t in range(args.T):
        memories.append(_after(args, memories[-1], t, rows))
    dS_BNKV = args.d_S[rows]
    for t in reversed(range(args.T)):
        before_BNKV, after_BNKV, read = memories[t], memories[t + 1], t // args.reads_every
        if (t + 1) % args.reads_every == 0:
            d_y_BNV = args.d_y[rows, read]
            args.d_q[rows, read] = _product(after_BNKV, d_y_BNV)  # (4)
            dS_BNKV = dS_BNKV + _outer(args.q[rows, read], d_y_BNV)
        d_w_BNK = _product(dS_BNKV, args.v[rows, t])  # (5), but for the strength
        args.d_v[rows, t] = _read(dS_BNKV, _key(args, t, rows))
        d_a_BNK = (dS_BNKV * before_BNKV).sum(-1)
        if args.a is not None and args.d_a is not None:
            args.d_a[rows, t] = d_a_BNK if args.decays > 1 else d_a_BNK.sum(-1, keepdim=True)  # (7)
        before_decay_BNKV = dS_BNKV if args.a is None else args.a[rows, t].unsqueeze(-1) * dS_BNKV
        if args.u is not None and args.r is not None:
            assert args.d_r is not None
            d_p_BNK, p = _product(dS_BNKV, args.u[rows, t]), _correction(args, t, rows)  # (6)
            if args.d_p is None:
                d_w_BNK = d_w_BNK - d_p_BNK
            else:
                args.d_p[rows, t] = d_p_BNK
            d_u_BNV = _read(dS_BNKV, p)
            args.d_r[rows, t] = _product(before_BNKV, d_u_BNV)
            before_decay_BNKV = before_decay_BNKV + _outer(args.r[rows, t], d_u_BNV)
        strength = 1 if args.s is None else args.s[rows, t]
        args.d_w[rows, t] = strength * d_w_BNK  # (5)
        if args.d_s is not None:
            args.d_s[rows, t] = (args.w[rows, t] * d_w_BNK).sum(-1, keepdim=True)  # (9)
        dS_BNKV = before_decay_BNKV  # (8)
    args.d_S_0[rows] = dS_BNKV


def _after(args: matrix_memory.Forward | matrix_memory.Backward, S_BNKV: Tensor, t: int, rows: slice) -> Tensor:
    """Return the memory after step t by (2). `args.u` holds what the correction read."""
    kept_BNKV = S_BNKV if args.a is None else args.a[rows, t].unsqueeze(-1) * S_BNKV
    if args.u is not None:
        kept_BNKV = kept_BNKV + _outer(_correction(args, t, rows), args.u[rows, t])
    return kept_BNKV + _outer(_key(args, t, rows), args.v[rows, t])


def _key(args: matrix_memory.Forward | matrix_memory.Backward, t: int, rows: slice) -> Tensor:
    """Return s w of one step."""
    return args.w[rows, t] if args.s is None else args.s[rows, t] * args.w[rows, t]


def _correction(args: matrix_memory.Forward | matrix_memory.Backward, t: int, rows: slice) -> Tensor:
    """Return p of one step."""
    return -_key(args, t, rows) if args.p is None else args.p[rows, t]


def _read(S_BNKV: Tensor, x_BNK: Tensor) -> Tensor:
    return (S_BNKV * x_BNK.unsqueeze(-1)).sum(2)


def _product(S_BNKV: Tensor, x_BNV: Tensor) -> Tensor:
    return torch.einsum("bnkv,bnv->bnk", S_BNKV, x_BNV)


def _outer(x_BNK: Tensor, y_BNV: Tensor) -> Tensor:
    return x_BNK.unsqueeze(-1) * y_BNV.unsqueeze(-2)
