"""The divisor of what a memory reads, and its gradients.

Equation numbers refer to `arch/kernels/training/heads/normaliser.py`, which goes on from
`arch/core/memory/normaliser.py`.
"""

# Shape suffixes: R rows, V value width

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from arch.kernels.runtime.tensors import TOTAL_EPSILON

if TYPE_CHECKING:
    from arch.kernels.training.heads import normaliser


def forward(args: normaliser.Forward, first: int, last: int) -> None:
    """Write what `normaliser.forward_rows` writes."""
    rows, read_RU = slice(first, last), args.read.view(-1, args.V + 1)
    args.y.view(-1, args.V)[rows] = (read_RU[:, :-1] / _divisors(read_RU[:, -1], args.least).unsqueeze(1))[rows]


def backward(args: normaliser.Backward, first: int, last: int) -> None:
    """Write what `normaliser.backward_rows` writes."""
    rows, read_RU, d_y_RV = slice(first, last), args.read.view(-1, args.V + 1), args.d_y.view(-1, args.V)
    t_R, divisor_R = read_RU[:, -1], _divisors(read_RU[:, -1], args.least)
    of_divisor_R = -(d_y_RV * read_RU[:, :-1]).sum(1) / divisor_R.square()  # (a)
    d_t_R = of_divisor_R
    if args.least is not None and args.d_least is not None:
        least_R = args.least.flatten()
        share_R = ((t_R.abs() > least_R) + 0.5 * (t_R.abs() == least_R)).to(t_R.dtype)
        d_t_R = t_R.sign() * share_R * of_divisor_R  # (b)
        args.d_least.view(-1)[rows] = ((1 - share_R) * of_divisor_R)[rows]
    d_read_RU = torch.cat([d_y_RV / divisor_R.unsqueeze(1), d_t_R.unsqueeze(1)], 1)
    args.d_read.view(-1, args.V + 1)[rows] = d_read_RU[rows]


def _divisors(t_R: Tensor, least: Tensor | None) -> Tensor:
    """Return the divisors of equations (1) and (2), (R,)."""
    return t_R + TOTAL_EPSILON if least is None else torch.maximum(t_R.abs(), least.flatten())
