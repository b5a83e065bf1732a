"""gelu of many numbers, and its derivative.

    gelu(x) = x Φ(x)                                                                  (1)
    dgelu   = Φ(x) + x e^(-x²/2) / √(2π)                                              (2)
    1 - Φ(x) ≈ (a_1 t + ... + a_5 t⁵) e^(-x²/2) / 2,  t = 1 / (1 + a_0 x/√2),  x ≥ 0   (3)

Equation (3) is formula 7.1.26 of Abramowitz & Stegun 1964.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from numba import float32, int64, njit, void
from torch import Tensor
from torch.nn import functional

from arch.kernels._activation import exponential
from arch.kernels._compile import kernel
from arch.kernels._tensors import CONTIGUOUS, flat, through_reference
from arch.kernels._threads import over_rows
from arch.kernels._vector import LANES, fused, larger, load_first, positive, splat, store_first

MAXIMUM_ERROR = 4e-7
"""The largest error of gelu(x), as a share of max(|x|, 1), and of its derivative likewise."""

A_0, A_1, A_2, A_3, A_4, A_5 = 0.3275911, 0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429
SQRT_HALF, INVERSE_SQRT_2_PI = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)
LEAST_EXPONENT = -87.0
"""e^x is 0 to every purpose from here down."""


@njit(forceinline=True)
def parts(x):  # type: ignore[no-untyped-def]
    """Φ(x) and e^(-x²/2)."""
    scaled = x * splat(SQRT_HALF)
    size = larger(scaled, -scaled)
    bell = exponential(larger(-(size * size), splat(LEAST_EXPONENT)))
    t = splat(1.0) / fused(splat(A_0), size, splat(1.0))
    p = fused(t, splat(A_5), splat(A_4))
    p = fused(t, p, splat(A_3))
    p = fused(t, p, splat(A_2))
    p = fused(t, p, splat(A_1))
    beyond = p * t * bell * splat(0.5)  # (3)
    return positive(x, splat(1.0) - beyond - beyond) + beyond, bell


@njit(forceinline=True)
def gelu(x):  # type: ignore[no-untyped-def]
    """Equation (1)."""
    below, _ = parts(x)
    return x * below


@kernel(void(*[float32[::1]] * 2, *[int64] * 2))
def forward_rows(x, y, first, last):  # type: ignore[no-untyped-def]
    """y = gelu(x) for the numbers from `first` to `last`."""
    for at in range(first, last, LANES):
        store_first(y, at, last - at, gelu(load_first(x, at, last - at)))


@kernel(void(*[float32[::1]] * 3, *[int64] * 2))
def backward_rows(x, d_y, d_x, first, last):  # type: ignore[no-untyped-def]
    """d_x = d_y · dgelu(x) for the numbers from `first` to `last`."""
    for at in range(first, last, LANES):
        number = load_first(x, at, last - at)
        below, bell = parts(number)
        slope = fused(number * splat(INVERSE_SQRT_2_PI), bell, below)  # (2)
        store_first(d_x, at, last - at, slope * load_first(d_y, at, last - at))


class Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.empty_like(x, memory_format=CONTIGUOUS)
        arrays = (flat(x), flat(y))
        over_rows(x.numel(), x.numel(), lambda first, last: forward_rows(*arrays, first, last))
        ctx.save_for_backward(x)
        return y

    @staticmethod
    def backward(ctx: Any, d_y: Tensor) -> Tensor | None:
        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            return through_reference(lambda x: (functional.gelu(x),), [x], [d_y])[0]
        d_x = torch.empty_like(x, memory_format=CONTIGUOUS)
        arrays = (flat(x), flat(d_y), flat(d_x))
        over_rows(x.numel(), x.numel(), lambda first, last: backward_rows(*arrays, first, last))
        return d_x


def apply(x: Tensor) -> Tensor:
    """gelu(x), differentiable as often as wanted."""
    y: Tensor = Gelu.apply(x)  # type: ignore[no-untyped-call]
    return y
