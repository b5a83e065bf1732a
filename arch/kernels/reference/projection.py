"""Projections and their gradients, in the order of `arch/kernels/training/heads/projection.py`.

Equation numbers refer to that file, which goes on from `arch/core/memory/projection.py`.
"""

# Shape suffixes: R rows, P rows of W, M sums

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from arch.kernels.training.heads import projection

ACTIVATIONS = ("none", "sigmoid", "feature")
"""The activations in the order of their numbers."""


def forward(args: projection.Forward, first: int, last: int) -> None:
    """Write what `projection.forward_rows` writes."""
    p_RP = args.x[first:last] @ args.W.T  # (1)
    if args.b is not None:
        p_RP = p_RP + args.b
    results = (args.r_0, args.r_1, args.r_2, args.r_3, args.r_4)
    for (columns, blocks, activation, turn), r in zip(_parts(args), results, strict=False):
        assert r is not None
        r_RBN = r[first:last].view(last - first, blocks, -1)
        numbers = (columns.stop - columns.start) // blocks
        r_RBN[..., numbers:] = 1
        p_RBN = _activated(activation, p_RP[:, columns]).unflatten(1, (blocks, -1))  # (2)
        r_RBN[..., :numbers] = p_RBN if turn == 0 else _rotated(p_RBN, _factors(args, turn, first, last))


def backward(args: projection.Backward, first: int, last: int) -> None:
    """Write what `projection.backward_rows` writes."""
    assert args.sums is not None
    rows = slice(first, last)
    d_p_RP = torch.zeros(last - first, args.P, dtype=args.x.dtype)
    results = (args.r_0, args.r_1, args.r_2, args.r_3, args.r_4)
    gradients = (args.d_0, args.d_1, args.d_2, args.d_3, args.d_4)
    for (columns, blocks, activation, turn), r, d_r in zip(_parts(args), results, gradients, strict=False):
        assert d_r is not None
        numbers = (columns.stop - columns.start) // blocks
        d_RBN = d_r[rows].view(last - first, blocks, -1)[..., :numbers]
        if turn != 0:
            d_RBN = _rotated(d_RBN, _factors(args, turn, first, last).conj())  # (3)
        d_RN = d_RBN.flatten(1)
        if r is not None:
            d_RN = d_RN * _slope(activation, r[rows].view(last - first, blocks, -1)[..., :numbers].flatten(1))  # (3)
        d_p_RP[:, columns] = d_RN
    args.sums[: args.D, : args.P] += args.x[rows].T @ d_p_RP  # (4)
    args.sums[-1, : args.P] += d_p_RP.sum(0)
    if args.d_x is not None:
        args.d_x[rows] = d_p_RP @ args.W  # (4)


def _parts(args: Any) -> Iterator[tuple[slice, int, str, int]]:
    """Yield the columns, the number of blocks, the activation and the number among the rotating parts of each part."""
    begin = 0
    for blocks, numbers, _, code, turn in args.form.tolist():
        yield slice(begin, begin + blocks * numbers), blocks, ACTIVATIONS[code], turn
        begin += blocks * numbers


def _factors(args: Any, turn: int, first: int, last: int) -> Tensor:
    """Return the complex factors (R, 1, J) of rows `first` to `last` of a part that rotates."""
    return torch.view_as_complex(args.rotary)[turn - 1, torch.arange(first, last) % args.T].unsqueeze(1)


def _rotated(p_RBN: Tensor, factors_R1J: Tensor) -> Tensor:
    pairs_RBJ = torch.view_as_complex(p_RBN.unflatten(2, (-1, 2)).contiguous())
    return torch.view_as_real(pairs_RBJ * factors_R1J).flatten(2)


def _activated(activation: str, p: Tensor) -> Tensor:
    if activation == "none":
        return p
    return p.sigmoid() if activation == "sigmoid" else torch.nn.functional.elu(p) + 1


def _slope(activation: str, r: Tensor) -> Tensor:
    return r * (1 - r) if activation == "sigmoid" else r.clamp(max=1)
