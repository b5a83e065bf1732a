"""LRU over a whole sequence and its gradients, by whole tensors of complex numbers.

Equation numbers refer to `arch/lru.py` and `arch/kernels/training/linear_units/lru.py`.
"""

# Shape suffixes: T time, B rows of the batch, N complex states

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from arch.kernels.training.linear_units import lru


def forward(args: lru.Forward, first: int, last: int) -> None:
    """Write what `lru.forward_rows` writes."""
    rows = slice(first, last)
    x, a_N, h_BN = args.x[:, rows], torch.complex(*args.a), torch.complex(args.re_0, args.im_0)[rows]
    for t in range(args.T):
        h_BN = a_N * h_BN + torch.complex(*(x[t] @ args.E.T).chunk(2, 1))  # (2)
        args.h[t, rows] = torch.cat([h_BN.real, h_BN.imag], 1)
    v = args.h[:, rows] @ args.C.T + args.D * x  # (3)
    if args.W is None or args.b is None:
        args.y[:, rows] = v  # (4b)
        return
    value, p_2 = (functional.gelu(v) @ args.W.T + args.b).chunk(2, 2)
    args.y[:, rows] = value * p_2.sigmoid()  # (4a)
    if args.v is not None:
        args.v[:, rows] = v


def backward(args: lru.Backward, first: int, last: int) -> None:
    """Write what `lru.backward_rows` writes."""
    from arch.kernels.training.linear_units.lru_parts import sizes_of

    assert args.sums is not None
    rows, shapes = slice(first, last), sizes_of(args.H, args.N)
    sums = args.sums.split([height * width for height, width in shapes])
    d_E, d_C, d_a, d_D, d_W, d_b = (part.view(shape) for part, shape in zip(sums, shapes, strict=True))
    x, h, d_v = args.x[:, rows], args.h[:, rows], args.d_y[:, rows]
    if args.W is not None:
        assert args.b is not None and args.v is not None
        with torch.enable_grad():
            v = args.v[:, rows].clone().requires_grad_()
            u = functional.gelu(v)
        value, p_2 = (u.detach() @ args.W.T + args.b).chunk(2, 2)
        gate = p_2.sigmoid()
        d_p = torch.cat([d_v * gate, d_v * value * gate * (1 - gate)], 2)  # (7)
        (d_v,) = torch.autograd.grad(u, v, d_p @ args.W)  # (8)
        _add(d_W, _summed(u.detach(), d_p))
        _add(d_b, d_p.sum((0, 1)).unsqueeze(0))
    a_N, d_h_BN = torch.complex(*args.a), torch.complex(args.d_re, args.d_im)[rows]
    for t in reversed(range(args.T)):
        before = (args.re_0, args.im_0) if t == 0 else args.h[t - 1].chunk(2, 1)
        d_h_BN = d_h_BN + torch.complex(*(d_v[t] @ args.C).chunk(2, 1))
        d_a_N = (d_h_BN * torch.complex(*before)[rows].conj()).sum(0)
        _add(d_a, torch.stack([d_a_N.real, d_a_N.imag]))
        d_h_BM = torch.cat([d_h_BN.real, d_h_BN.imag], 1)
        args.d_x[t, rows] = args.D * d_v[t] + d_h_BM @ args.E  # (10)
        _add(d_E, x[t].T @ d_h_BM)  # (11)
        d_h_BN = a_N.conj() * d_h_BN  # (9)
    args.d_re[rows], args.d_im[rows] = d_h_BN.real, d_h_BN.imag
    _add(d_C, _summed(h, d_v))
    _add(d_D, (d_v * x).sum((0, 1)).unsqueeze(0))


def _summed(left: Tensor, right: Tensor) -> Tensor:
    """Return the sum of the outer products of the rows (T, B, ·) of two tensors."""
    return left.flatten(0, 1).T @ right.flatten(0, 1)


def _add(sums: Tensor, more: Tensor) -> None:
    """Add to the first columns of some sums."""
    sums[:, : more.shape[1]] += more
