"""The arithmetic of state-space layers, element by element: the update of one state.

Equation numbers refer to `arch/mamba.py` and `arch/s4d.py`. Each argument is a vector of LANES float32 numbers, one per
channel. Only `zero_order_hold` takes plain numbers.
"""

from __future__ import annotations

import math

from numba import njit

from arch.kernels.simd.activation import LOG2_E, exp, exp2
from arch.kernels.simd.vector import fma, larger, smaller, splat

MAX_EXPONENT = 87.0
"""Largest size of exponents, because `exp` needs |x| ≤ 87."""
MIN_EXPONENT = -126.0
"""Smallest exponent of a decay, because `exp2` needs x ≥ -126. A state that decays by 2^-126 is forgotten."""


@njit(forceinline=True)
def rate(A_log):  # type: ignore[no-untyped-def]
    """Return A log₂ e from the parameter of A in (4) of `mamba`."""
    size = exp(larger(smaller(A_log, splat(MAX_EXPONENT)), splat(-MAX_EXPONENT)))
    return size * splat(-LOG2_E)


@njit(forceinline=True)
def decay(step, A, least):  # type: ignore[no-untyped-def]
    """Return a of (5) of `mamba`, which lies in (`least`, 1).

    Args:
        step: Δ, which is positive.
        A: A log₂ e, which is negative.
        least: 0 for a = e^(Δ A), or -1 for a = 2 e^(Δ A) - 1.
    """
    return fma(exp2(larger(step * A, splat(MIN_EXPONENT))), splat(1.0) - least, least)


@njit(forceinline=True)
def rotated(a, a_i, h, h_i, x):  # type: ignore[no-untyped-def]
    """Return the real and the imaginary part of the next state by (2) of `s4d`.

    Args:
        a, a_i: Real and imaginary part of the transition.
        h, h_i: Real and imaginary part of the state.
        x: The input.
    """
    return fma(a, h, fma(-a_i, h_i, x)), fma(a, h_i, a_i * h)


@njit
def inverse_square(A, A_i):  # type: ignore[no-untyped-def]
    """Return 1 / |A|² from real and imaginary part, or NaN for A = 0."""
    size = A * A + A_i * A_i
    return 1 / size if size != 0 else math.nan


@njit
def zero_order_hold(step, A, A_i):  # type: ignore[no-untyped-def]
    """Return a of (1) and b of (3) of `s4d`, each as real and imaginary part, for one state in float64.

    b is NaN for A = 0, as in the equations.

    Args:
        step: Δ.
        A, A_i: Real and imaginary part of A.
    """
    less, sine, cosine = math.expm1(step * A), math.sin(step * A_i / 2), math.cos(step * A_i / 2)
    real, imag = less - 2 * (less + 1) * sine * sine, 2 * (less + 1) * sine * cosine  # a - 1, without cancellation
    share = inverse_square(A, A_i)
    return real + 1, imag, (real * A + imag * A_i) * share, (imag * A - real * A_i) * share
