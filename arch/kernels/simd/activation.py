"""Sigmoid, tanh, softplus, GELU and exponential of vectors, by one polynomial.

    e^x - 1 = 2^n (e^r - 1) + (2^n - 1)       (1)  x = n ln 2 + r, n an integer, |r| ≤ ln 2 / 2
    e^r - 1 ≈ r + r² q(r)                     (2)  q of degree 4, a minimax fit of the relative error
    σ(x)    = 1 / (2 + (e^-x - 1))            (3)
    tanh(x) = m / (m + 2),  m = e^2x - 1      (4)
    log(1 + e^x) = max(x, 0) + 2 artanh(s),  s = u / (2 + u),  u = e^-|x|    (5)
    2^x     = 2^n 2^r,  2^r ≈ 1 + r p(r)      (6)  x = n + r, n an integer, |r| ≤ 1/2; p of degree 4, a minimax fit
    gelu(x) = x Φ(x),  gelu'(x) = Φ(x) + x e^(-x²/2) / √(2π)                (7)  Φ: normal distribution function
    1 - Φ(x) ≈ (a_1 t + ... + a_5 t⁵) e^(-x²/2) / 2,  t = 1 / (1 + a_0 x/√2),  x ≥ 0   (8)

Equation (8) follows from formula 7.1.26 of Abramowitz & Stegun 1964.
Using e^x - 1 rather than e^x keeps tanh accurate to a few units in the last place near 0.
NaN stays NaN. For large |x|, σ and tanh saturate without overflow. tanh saturates at exactly ±1.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import njit

from arch.kernels.simd.vector import (
    BITS,
    LANES,
    MANTISSA_BITS,
    VECTOR,
    VectorType,
    fma,
    instruction,
    larger,
    positive,
    power_of_two,
    reciprocal,
    smaller,
    splat,
    vector,
)

MAX_ERROR = 3e-7
"""Upper bound of the relative error of `tanh`, and of `sigmoid` for |x| ≤ 85.

It equals 5 units in the last place of a float32 just below 1.
"""

LOG2_E, LN_2 = 1.4426950408889634, 0.6931471805599453
LN_2_HIGH, LN_2_LOW = 0.693359375, -2.12194440e-4
"""ln 2 in two parts. The first part has so few bits that its product with n is exact (Cody & Waite 1980)."""

ROUNDING = 12582912.0
"""1.5 · 2²³. If a small number is added, the low bits of the sum's mantissa hold the integer nearest to that number."""

Q_0, Q_1, Q_2, Q_3, Q_4 = 0.49999997, 0.16666543, 0.0416672, 0.00836658, 0.00138825
"""Coefficients of q, fitted on |r| ≤ ln 2 / 2. The relative error of equation (2) is below 2e-8."""

P_0, P_1, P_2, P_3, P_4 = 0.693147, 0.24022242, 0.05550734, 0.00967151, 0.00132647
"""Coefficients of p, fitted on |r| ≤ 1/2. The relative error of 2^r is below 1.2e-7."""

SIGMOID_SATURATES, TANH_SATURATES = 87.0, 9.1
"""Limits to which |x| is clipped.

Above the limit for σ, σ is within 10⁻³⁷ of 0 or 1. Above the limit for tanh, tanh is ±1 in float32.
"""

GELU_MAX_ERROR = 4e-7
"""Upper bound of the errors of GELU and of its slope, relative to max(|x|, 1)."""
A_0, A_1, A_2, A_3, A_4, A_5 = 0.3275911, 0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429
SQRT_HALF, INVERSE_SQRT_2_PI = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)
MIN_EXPONENT = -87.0
"""Lower limit of the exponents of (8), because `exp` needs |x| ≤ 87. e^-87 is negligible."""
MAX_SIZE = 1e4
"""Upper limit of |x|/√2 in (8), so that no infinity reaches `reciprocal`. At this limit, 1 - Φ is negligible."""


@njit(forceinline=True)
def _parts(x):  # type: ignore[no-untyped-def]
    """Return 2^n and e^r - 1 of equations (1) and (2), for a vector x with |x| ≤ 87."""
    shifted = fma(x, splat(LOG2_E), splat(ROUNDING))
    n = shifted - splat(ROUNDING)
    r = fma(n, splat(-LN_2_LOW), fma(n, splat(-LN_2_HIGH), x))
    q = fma(r, splat(Q_4), splat(Q_3))
    q = fma(r, q, splat(Q_2))
    q = fma(r, q, splat(Q_1))
    q = fma(r, q, splat(Q_0))
    return power_of_two(shifted), fma(r * r, q, r)  # (2)


@njit(forceinline=True)
def exp_minus_one(x):  # type: ignore[no-untyped-def]
    """Return e^x - 1 by equation (1), for a vector x with |x| ≤ 87."""
    scale, rest = _parts(x)
    return fma(scale, rest, scale - splat(1.0))


@njit(forceinline=True)
def exp(x):  # type: ignore[no-untyped-def]
    """Return e^x, for a vector x with |x| ≤ 87."""
    scale, rest = _parts(x)
    return fma(scale, rest, scale)


@instruction
def _times_power_of_two(typing: Any, a: VectorType, shifted: VectorType) -> Any:
    """Return a · 2^n in each lane, for the integer n in the low mantissa bits of `shifted`.

    The result must be a normal number. A product below the smallest one gives some number of about its size.
    """

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        bits, exponent = (builder.bitcast(value, BITS) for value in values)
        shift = ir.Constant(BITS, [MANTISSA_BITS] * LANES)
        return builder.bitcast(builder.add(bits, builder.shl(exponent, shift)), VECTOR)

    return vector(vector, vector), lower


@njit(forceinline=True)
def exp2(x):  # type: ignore[no-untyped-def]
    """Return 2^x by equation (6), for a vector x with -126 ≤ x ≤ 126."""
    shifted = x + splat(ROUNDING)
    r = x - (shifted - splat(ROUNDING))
    p = fma(r, splat(P_4), splat(P_3))
    p = fma(r, p, splat(P_2))
    p = fma(r, p, splat(P_1))
    p = fma(r, p, splat(P_0))
    return _times_power_of_two(fma(r, p, splat(1.0)), shifted)


@njit(forceinline=True)
def sigmoid(x):  # type: ignore[no-untyped-def]
    """Return the sigmoid of a vector x, by equation (3)."""
    bounded = larger(smaller(-x, splat(SIGMOID_SATURATES)), splat(-SIGMOID_SATURATES))
    return reciprocal(splat(2.0) + exp_minus_one(bounded))


@njit(forceinline=True)
def tanh(x):  # type: ignore[no-untyped-def]
    """Return the hyperbolic tangent of a vector x, by equation (4)."""
    bounded = larger(smaller(x, splat(TANH_SATURATES)), splat(-TANH_SATURATES))
    m = exp_minus_one(bounded + bounded)
    return m * reciprocal(m + splat(2.0))


@njit(forceinline=True)
def softplus(x):  # type: ignore[no-untyped-def]
    """Return log(1 + e^x) of a vector x, by equation (5). s is at most 1/3, so the series of artanh ends soon."""
    u = exp(larger(smaller(x, -x), splat(-SIGMOID_SATURATES)))
    s = u * reciprocal(splat(2.0) + u)
    w = s * s
    series = fma(w, splat(1 / 13), splat(1 / 11))
    series = fma(w, series, splat(1 / 9))
    series = fma(w, series, splat(1 / 7))
    series = fma(w, series, splat(1 / 5))
    series = fma(w, series, splat(1 / 3))
    return larger(x, splat(0.0)) + splat(2.0) * fma(s * w, series, s)


@njit(forceinline=True)
def silu(x):  # type: ignore[no-untyped-def]
    """Return x σ(x) of a vector x, which is also called swish."""
    return x * sigmoid(x)


@njit(forceinline=True)
def silu_slope(x):  # type: ignore[no-untyped-def]
    """Return the derivative of x σ(x) at a vector x."""
    gate = sigmoid(x)
    return fma(x * gate, splat(1.0) - gate, gate)


@njit(forceinline=True)
def _normal_distribution(x):  # type: ignore[no-untyped-def]
    """Return Φ(x) by (8), and e^(-x²/2), of a vector x."""
    scaled = x * splat(SQRT_HALF)
    size = smaller(larger(scaled, -scaled), splat(MAX_SIZE))
    bell = exp(larger(-(size * size), splat(MIN_EXPONENT)))
    t = reciprocal(fma(splat(A_0), size, splat(1.0)))
    p = fma(t, splat(A_5), splat(A_4))
    p = fma(t, p, splat(A_3))
    p = fma(t, p, splat(A_2))
    p = fma(t, p, splat(A_1))
    beyond = p * t * bell * splat(0.5)  # (8)
    return positive(x, splat(1.0) - beyond - beyond) + beyond, bell


@njit(forceinline=True)
def gelu(x):  # type: ignore[no-untyped-def]
    """Return the GELU of a vector x, by equation (7)."""
    below, _ = _normal_distribution(x)
    return x * below


@njit(forceinline=True)
def gelu_and_slope(x):  # type: ignore[no-untyped-def]
    """Return the GELU of a vector x and its slope, by equation (7)."""
    below, bell = _normal_distribution(x)
    return x * below, fma(x * splat(INVERSE_SQRT_2_PI), bell, below)
