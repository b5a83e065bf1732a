"""Sigmoid and tanh of vectors, by one polynomial.

    e^x - 1 = 2^n (e^r - 1) + (2^n - 1)       (1)  x = n ln 2 + r, n a whole number, |r| ≤ ln 2 / 2
    e^r - 1 ≈ r + r² q(r)                     (2)  q of degree 4, fitted for the least relative error
    σ(x)    = 1 / (2 + (e^-x - 1))            (3)
    tanh(x) = m / (m + 2),  m = e^2x - 1      (4)

Starting from e^x - 1 rather than e^x keeps tanh exact to a few units in the last place near 0.
NaN stays NaN; both functions saturate without overflow, tanh at exactly ±1.
"""

from __future__ import annotations

from numba import njit

from arch.kernels.simd.vector import fused, larger, power_of_two, reciprocal, smaller, splat

MAXIMUM_ERROR = 3e-7
"""The largest relative error of both functions, about 5 units in the last place of a float32."""

LOG2_E = 1.4426950408889634
LN_2_HIGH, LN_2_LOW = 0.693359375, -2.12194440e-4
"""ln 2 in two parts, the first of so few bits that its product with n is exact (Cody & Waite 1980)."""

ROUNDING = 12582912.0
"""1.5 · 2²³: added to a smaller number, it leaves that number's nearest integer in the low bits."""

Q_0, Q_1, Q_2, Q_3, Q_4 = 0.49999997, 0.16666543, 0.0416672, 0.00836658, 0.00138825
"""q of equation (2): the weighted minimax fit on |r| ≤ ln 2 / 2, whose own error is 1.4e-8."""

SIGMOID_SATURATES, TANH_SATURATES = 87.0, 9.1
"""Beyond these σ is within 10⁻³⁷ of its limit, and tanh is 1 in float32."""


@njit(forceinline=True)
def _parts(x):  # type: ignore[no-untyped-def]
    """2^n and e^r - 1 of equations (1) and (2), for |x| ≤ 87."""
    shifted = fused(x, splat(LOG2_E), splat(ROUNDING))
    n = shifted - splat(ROUNDING)
    r = fused(n, splat(-LN_2_LOW), fused(n, splat(-LN_2_HIGH), x))
    q = fused(r, splat(Q_4), splat(Q_3))
    q = fused(r, q, splat(Q_2))
    q = fused(r, q, splat(Q_1))
    q = fused(r, q, splat(Q_0))
    return power_of_two(shifted), fused(r * r, q, r)  # (2)


@njit(forceinline=True)
def exponential_less_one(x):  # type: ignore[no-untyped-def]
    """Equation (1), for |x| ≤ 87."""
    scale, rest = _parts(x)
    return fused(scale, rest, scale - splat(1.0))


@njit(forceinline=True)
def exponential(x):  # type: ignore[no-untyped-def]
    """e^x, for |x| ≤ 87."""
    scale, rest = _parts(x)
    return fused(scale, rest, scale)


@njit(forceinline=True)
def sigmoid(x):  # type: ignore[no-untyped-def]
    """Equation (3)."""
    bounded = larger(smaller(-x, splat(SIGMOID_SATURATES)), splat(-SIGMOID_SATURATES))
    return reciprocal(splat(2.0) + exponential_less_one(bounded))


@njit(forceinline=True)
def tanh(x):  # type: ignore[no-untyped-def]
    """Equation (4)."""
    bounded = larger(smaller(x, splat(TANH_SATURATES)), splat(-TANH_SATURATES))
    m = exponential_less_one(bounded + bounded)
    return m * reciprocal(m + splat(2.0))
