"""The divisor of what a memory reads: a normaliser that counts what the memory has seen.

A memory that counts stands for V values and a total. r are the values that a step reads, and t is the total:

    y = r / (t + ε)         (1)  for totals of positive features, which are not negative
    y = r / max(|t|, e)     (2)  e is the least divisor of a head at a step
"""

# Shape suffixes: B batch, T time, N heads, V value width, U = V + 1

from __future__ import annotations

import torch
from torch import Tensor

from arch.core.backend import Backend, is_fused
from arch.kernels.runtime.tensors import TOTAL_EPSILON


def normalised(read_BTNU: Tensor, least_BTN: Tensor | None = None, *, backend: Backend = "auto") -> Tensor:
    """Return y (B, T, N, V) of equation (2), or of (1) without a least divisor.

    Args:
        read_BTNU: r, then t.
        least_BTN: e, or None.
        backend: `auto`, `reference` or `fused`, see `arch.core.backend`. `auto` runs the equations for a single step.

    Raises `ValueError` if `backend` is `fused` but the kernel cannot run.
    """
    B, T, N, U = read_BTNU.shape
    given = [read_BTNU] if least_BTN is None else [read_BTNU, least_BTN]
    shapes = list(zip(given, ((B, T, N, U), (B, T, N)), strict=False))
    if read_BTNU.numel() == 0 or not is_fused(backend, shapes, T):
        return by_equations(*given)[0]
    from arch.kernels.training.heads import normaliser

    return normaliser.normalise(by_equations, *given)


def by_equations(read_BTNU: Tensor, least_BTN: Tensor | None = None) -> tuple[Tensor]:
    """Return what `normalised` returns, in plain torch."""
    r_BTNV, t_BTN1 = read_BTNU.split([read_BTNU.shape[3] - 1, 1], 3)
    divisor_BTN1 = t_BTN1 + TOTAL_EPSILON if least_BTN is None else torch.maximum(t_BTN1.abs(), least_BTN.unsqueeze(3))
    return (r_BTNV * divisor_BTN1.reciprocal(),)  # (1), (2); its gradient costs less than that of a division
