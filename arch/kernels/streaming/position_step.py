"""Positions for one step: rotary factors and sinusoids of `arch.core.attention.positions`, computed from the position.

No table is stored, so a stream may be as long as it likes. An angle is reduced to |r| ≤ π/4 by subtracting a multiple
of π/2, which is given in two parts (Cody & Waite 1980, "Software Manual for the Elementary Functions"):

    angle = k π/2 + r                                    (1)
    sin r ≈ r - r³/3! + ... + r¹³/13!                    (2)  error below 5e-14
    cos r ≈ 1 - r²/2! + ... + r¹²/12!                    (3)  error below 5e-13

All of this is computed in float64. The result is rounded to float32.
"""

# Shape suffixes: J pairs of numbers

from __future__ import annotations

import math

import numpy as np
from numba import njit

from arch.kernels.simd.matvec import doubles, floats

TWO_OVER_PI = 2 / math.pi
HALF_PI_HIGH, HALF_PI_LOW = 1.57079632673412561417, 6.07710050650619224932e-11
"""π/2 in two parts. The first has 33 bits, so its product with k < 2²⁰ is exact."""
S3, S5, S7, S9, S11, S13 = (-1 / 6, 1 / 120, -1 / 5040, 1 / 362880, -1 / 39916800, 1 / 6227020800)
C2, C4, C6, C8, C10, C12 = (-1 / 2, 1 / 24, -1 / 720, 1 / 40320, -1 / 3628800, 1 / 479001600)


@njit(forceinline=True)
def sine_cosine(angle):  # type: ignore[no-untyped-def]
    """Return the sine and the cosine of a float64 angle ≥ 0 in radians, by equations (1) to (3)."""
    k = np.floor(angle * TWO_OVER_PI + 0.5)
    r = (angle - k * HALF_PI_HIGH) - k * HALF_PI_LOW
    q = r * r
    sine = r * (1.0 + q * (S3 + q * (S5 + q * (S7 + q * (S9 + q * (S11 + q * S13))))))
    cosine = 1.0 + q * (C2 + q * (C4 + q * (C6 + q * (C8 + q * (C10 + q * C12)))))
    # No branches, so that the compiler computes several angles at once. `is_odd` and `is_late` are bits of k.
    is_odd = k - 2.0 * np.floor(0.5 * k)
    is_late = 0.5 * (k - is_odd) - 2.0 * np.floor(0.25 * k)
    of_sine, of_cosine = 1.0 - 2.0 * is_late, 1.0 - 2.0 * (is_late - is_odd) ** 2
    swapped = (cosine - sine) * is_odd
    return of_sine * (sine + swapped), of_cosine * (cosine - swapped)


@njit
def rotary_factors(position, frequencies, J, result):  # type: ignore[no-untyped-def]
    """Write the factors of one position that rotate J pairs of adjacent numbers.

    A pair (a, b) becomes (a cos - b sin, b cos + a sin). So the first half of the result multiplies the pairs and has
    each cosine twice. The second half multiplies the exchanged pairs and has -sin and sin in turn.

    Args:
        position: The position, counted from 0.
        frequencies: Address of float64 numbers, (J,).
        J: Number of pairs.
        result: Array of float32 numbers, (4 · J,), written.
    """
    frequency = doubles(frequencies)
    for j in range(J):
        sine, cosine = sine_cosine(position * frequency[j])
        result[2 * j] = result[2 * j + 1] = np.float32(cosine)
        result[2 * (J + j)], result[2 * (J + j) + 1] = np.float32(-sine), np.float32(sine)


@njit
def add_sinusoids(position, frequencies, D, B, x):  # type: ignore[no-untyped-def]
    """Add the position encoding of one position to each row of `x`: all sines, then all cosines.

    Args:
        position: The position, counted from 0.
        frequencies: Address of float64 numbers, ((D + 1) // 2,).
        D, B: Model width and batch size.
        x: Array of the residual stream, float32 numbers, (B, D).
    """
    J, frequency = (D + 1) // 2, doubles(frequencies)
    for j in range(J):
        sine, cosine = sine_cosine(position * frequency[j])
        for b in range(B):
            x[b * D + j] += np.float32(sine)
            if J + j < D:
                x[b * D + J + j] += np.float32(cosine)


@njit
def add_learned(position, table, D, B, x):  # type: ignore[no-untyped-def]
    """Add one row of the table of learned positions to each row of `x`.

    Args:
        position: The position, counted from 0. It must lie in the table.
        table: Address of float32 numbers, (S, D).
        D, B: Model width and batch size.
        x: Array of the residual stream, float32 numbers, (B, D).
    """
    positions = floats(table)
    for b in range(B):
        for d in range(D):
            x[b * D + d] += positions[position * D + d]
