"""The cell of `slstm`: from the sums of the matrix products to the next state.

Equation numbers refer to `arch/slstm.py`. Each argument is a vector of LANES float32 numbers, one per unit.

    log σ(x)  = min(x, 0) - log(1 + u),  u = e^-|x|                                  (a)
    log(1 + u) = 2 atanh(s) = 2 s (1 + s²/3 + s⁴/5 + …),  s = u / (2 + u) ≤ 1/3      (b)

One of the two exponentials of (6) is 1, and the other one is the power of a difference, so one power gives both.
"""

from __future__ import annotations

from numba import njit

from arch.kernels.simd.activation import exp, sigmoid, tanh
from arch.kernels.simd.vector import fma, larger, positive, reciprocal, smaller, splat

SMALLEST_POWER = -87.0
"""Smallest x for which the kernel computes e^x. Smaller powers count as this one, 1.6e-38."""

MAX_ERROR = 3e-7
"""Upper bound of the relative error of `log_sigmoid`, for |x| ≤ 80."""

A_1, A_2, A_3, A_4, A_5, A_6 = 2 / 3, 2 / 5, 2 / 7, 2 / 9, 2 / 11, 2 / 13
"""Coefficients of (b) after the first one, 2. The first term that is left out is below 2e-8 of the sum."""


@njit(forceinline=True)
def power(x):  # type: ignore[no-untyped-def]
    """Return e^x for a vector x ≤ 0."""
    return exp(larger(x, splat(SMALLEST_POWER)))


@njit(forceinline=True)
def log_sigmoid(x):  # type: ignore[no-untyped-def]
    """Return log σ(x) of a vector x, by (a) and (b)."""
    u = power(smaller(x, -x))
    s = u * reciprocal(u + splat(2.0))
    square = s * s
    series = fma(square, splat(A_6), splat(A_5))
    series = fma(square, series, splat(A_4))
    series = fma(square, series, splat(A_3))
    series = fma(square, series, splat(A_2))
    series = fma(square, series, splat(A_1))
    series = fma(square, series, splat(2.0))
    return smaller(x, splat(0.0)) - s * series


@njit(forceinline=True)
def slstm(i, f, z, o, c, n, m):  # type: ignore[no-untyped-def]
    """Return the activations i, f, z and o and 1 - σ(f̂), then c', n', m' and h'.

    Args:
        i, f, z, o: The sums of the gates. Those of i and f are ĩ and f̂.
        c, n, m: The parts of the state before the step.
    """
    kept, closed, one = log_sigmoid(f) + m, sigmoid(-f), splat(1.0)
    apart = i - kept
    m, ratio = larger(i, kept), power(smaller(apart, -apart))  # (5)
    i, f = ratio + positive(apart, one - ratio), ratio + positive(-apart, one - ratio)  # (6)
    z, o = tanh(z), sigmoid(o)  # (3), (4)
    c, n = fma(f, c, i * z), fma(f, n, i)  # (7), (8)
    return i, f, z, o, closed, c, n, m, o * c * reciprocal(n)  # (9)


@njit(forceinline=True)
def slstm_back(i, f, z, o, closed, c, n, c_after, n_after, dh, dc, dn, dm):  # type: ignore[no-untyped-def]
    """Return the gradients of the sums of i, f, z and o, then dc, dn and dm of the state before the step.

    The equations are in `arch/kernels/training/slstm.py`.

    Args:
        i, f, z, o, closed: What `slstm` returned.
        c, n: The cell and the normaliser before the step.
        c_after, n_after: The same after the step.
        dh, dc, dn, dm: The gradients of the output and of the state after the step.
    """
    one, scale = splat(1.0), reciprocal(n_after)
    mean = c_after * scale
    do = dh * mean  # (10)
    dh = dh * o * scale
    dc, dn = dc + dh, dn - dh * mean  # (11)
    di, df = fma(dc, z, dn) * i, fma(dc, c, dn * n) * f  # (12)
    rest = dm - di - df  # (13)
    is_kept = positive(f - i, rest)
    di, df = di + (rest - is_kept), df + is_kept
    dz = dc * i * (one - z * z)  # (14)
    return di, df * closed, dz, do * o * (one - o), dc * f, dn * f, df  # (15), (16)
