"""The bonus and the output gate of `rwkv7`, and their gradients, by whole tensors.

Equation numbers refer to `arch/kernels/training/heads/bonus.py`.
"""

# Shape suffixes: R rows, N heads, K head width

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from arch.kernels.training.heads import bonus


def forward(args: bonus.Forward, first: int, last: int) -> None:
    """Write what `bonus.forward_rows` writes."""
    n, r, k, v, g, rho = _by_head(args, first, last)
    b = (rho * r * k).sum(2, keepdim=True)
    args.o[first:last] = (g * (n + b * v)).flatten(1)  # (1)


def backward(args: bonus.Backward, first: int, last: int) -> None:
    """Write what `bonus.backward_rows` writes."""
    assert args.sums is not None
    n, r, k, v, g, rho = _by_head(args, first, last)
    d_o, b = args.d_o[first:last].view(n.shape), (rho * r * k).sum(2, keepdim=True)
    d_n = g * d_o
    d_b = (v * d_n).sum(2, keepdim=True)
    results = (d_n, d_b * rho * k, d_b * rho * r, b * d_n, (n + b * v) * d_o)  # (2), (3)
    for written, result in zip((args.d_n, args.d_r, args.d_k, args.d_v, args.d_g), results, strict=True):
        written[first:last] = result.flatten(1)
    args.sums.add_((d_b * r * k).sum(0).flatten())


def _by_head(args: Any, first: int, last: int) -> list[Tensor]:
    """Return n, r, k, v and g of rows `first` to `last` as (R, N, K), and ρ as (N, K)."""
    rows = (tensor[first:last].unflatten(1, (-1, args.K)) for tensor in (args.n, args.r, args.k, args.v, args.g))
    return [*rows, args.rho.view(-1, args.K)]
