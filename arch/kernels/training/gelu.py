"""GELU of rows plus a bias, and its slope. Of the forward pass, only the slope is kept for the backward pass.

    gelu(x) = x Φ(x)                                                                  (1)
    slope   = d gelu / dx = Φ(x) + x e^(-x²/2) / √(2π)                                (2)
    1 - Φ(x) ≈ (a_1 t + ... + a_5 t⁵) e^(-x²/2) / 2,  t = 1 / (1 + a_0 x/√2),  x ≥ 0   (3)

Φ is the distribution function of the standard normal distribution. Equation (3) follows from formula 7.1.26 of
Abramowitz & Stegun 1964.
"""

# Shape suffixes: N rows, E width, S blocks of rows

from __future__ import annotations

import math
from typing import NamedTuple

from numba import njit
from torch import Tensor

from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.runtime.launch import run_rows
from arch.kernels.simd.activation import exp
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.vector import LANES, fma, larger, load_first, positive, reciprocal, smaller, splat, store_first
from arch.kernels.training.layer_norm import ROWS_PER_SUM, add_first

MAX_ERROR = 4e-7
"""Upper bound of the errors of gelu(x) and of its slope, relative to max(|x|, 1)."""

A_0, A_1, A_2, A_3, A_4, A_5 = 0.3275911, 0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429
SQRT_HALF, INVERSE_SQRT_2_PI = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)
MIN_EXPONENT = -87.0
"""Lower limit of exponents, because `exp` needs |x| ≤ 87. e^-87 is negligible."""
MAX_SIZE = 1e4
"""Upper limit of |x|/√2, so that no infinity reaches `reciprocal`. At this limit, equation (3) is negligible."""


@njit(forceinline=True)
def parts(x):  # type: ignore[no-untyped-def]
    """Return Φ(x) and e^(-x²/2) of a vector x."""
    scaled = x * splat(SQRT_HALF)
    size = smaller(larger(scaled, -scaled), splat(MAX_SIZE))
    bell = exp(larger(-(size * size), splat(MIN_EXPONENT)))
    t = reciprocal(fma(splat(A_0), size, splat(1.0)))
    p = fma(t, splat(A_5), splat(A_4))
    p = fma(t, p, splat(A_3))
    p = fma(t, p, splat(A_2))
    p = fma(t, p, splat(A_1))
    beyond = p * t * bell * splat(0.5)  # (3)
    return positive(x, splat(1.0) - beyond - beyond) + beyond, bell


@njit(forceinline=True)
def gelu(x):  # type: ignore[no-untyped-def]
    """Return gelu(x) of a vector x, by equation (1)."""
    below, _ = parts(x)
    return x * below


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        sums: Sums (N, E), replaced with the slope (2) at sums + bias.
        bias: Bias, (E,).
        result: Receives gelu(sums + bias), (N, E).
        E: Width.
    """

    sums: Tensor
    bias: Tensor
    result: Tensor
    E: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        slope: Slope (2), (N, E).
        d_result: Gradient of gelu's result, (N, E), multiplied by the slope in place.
        d_bias: Receives the sum of the products of each block of `ROWS_PER_SUM` rows, (S, E).
        E: Width.
    """

    slope: Tensor
    d_result: Tensor
    d_bias: Tensor
    E: int


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write gelu(sums + bias), and replace `sums` with the slope, for rows `first` to `last`.

    The `Forward` is at the address `record`.
    """
    args = arguments_at(record, Forward)
    numbers, biases, results, E = floats(args.sums), floats(args.bias), floats(args.result), args.E
    for row in range(first, last):
        for unit in range(0, E, LANES):
            at, count = row * E + unit, E - unit
            x = load_first(numbers, at, count) + load_first(biases, unit, count)
            below, bell = parts(x)
            store_first(results, at, count, x * below)  # (1)
            store_first(numbers, at, count, fma(x * splat(INVERSE_SQRT_2_PI), bell, below))  # (2)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Multiply `d_result` by the slope in place, and write sums of the products, for rows `first` to `last`.

    `first` is a multiple of `ROWS_PER_SUM`. The `Backward` is at the address `record`.
    """
    args = arguments_at(record, Backward)
    slopes, d_results, summed, E = floats(args.slope), floats(args.d_result), floats(args.d_bias), args.E
    for row in range(first, last):
        block = row // ROWS_PER_SUM * E
        if row % ROWS_PER_SUM == 0:
            for at in range(block, block + E):
                summed[at] = 0
        for unit in range(0, E, LANES):
            at, count = row * E + unit, E - unit
            value = load_first(d_results, at, count) * load_first(slopes, at, count)
            store_first(d_results, at, count, value)
            add_first(summed, block + unit, count, value)


def apply(sums_NE: Tensor, bias_E: Tensor) -> Tensor:
    """Return gelu(sums + bias), (N, E), and replace the sums with the slope (2) in place.

    `sums_NE` must be contiguous.
    """
    result_NE = sums_NE.new_empty(sums_NE.shape)
    N, E = sums_NE.shape
    arguments = Forward(sums=sums_NE, bias=bias_E, result=result_NE, E=E)
    run_rows(forward_rows, arguments, N, N * E, ROWS_PER_SUM)
    return result_NE


def go_back(slope_NE: Tensor, d_result_NE: Tensor) -> Tensor:
    """Multiply `d_result_NE` by `slope_NE` in place, and return the gradient of the bias, (E,).

    The product is the gradient of the pre-activations. `d_result_NE` must be contiguous.
    """
    N, E = slope_NE.shape
    sums_SE = slope_NE.new_empty(-(-N // ROWS_PER_SUM), E)
    arguments = Backward(slope=slope_NE, d_result=d_result_NE, d_bias=sums_SE, E=E)
    run_rows(backward_rows, arguments, N, N * E, ROWS_PER_SUM)
    return sums_SE.sum(0)
