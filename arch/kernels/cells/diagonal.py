"""Cells of diagonal recurrences: from the sums of the matrix products to a and b of h' = a h + b, and derivatives.

Equation numbers refer to the architecture's file. Each argument is a vector of LANES float32 numbers, one per unit.
A sum such as W_z x + b_z is called by the name of its gate. Functions whose names end with `_back` return the
derivatives of the loss with respect to the arguments of the cell, from those with respect to a and b: da and db.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit
from numba.core import cgutils

from arch.kernels.simd.activation import exp, exp_minus_one, sigmoid, tanh
from arch.kernels.simd.vector import (
    LANES,
    VECTOR,
    VectorType,
    fma,
    instruction,
    larger,
    positive,
    reciprocal,
    smaller,
    splat,
    vector,
)

EXPONENT = 80.0
"""Size to which negative arguments of exponentials are clipped, so that `exp` returns normal numbers."""
SMALLEST = 1e-30
"""Smallest value of 1 - a² of an `rg_lru`, so that its square root has a derivative."""


@instruction
def square_root(typing: Any, a: VectorType) -> Any:
    """Return the square root of each lane."""

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        form = ir.FunctionType(VECTOR, [VECTOR])
        return builder.call(cgutils.get_or_insert_function(builder.module, form, f"llvm.sqrt.v{LANES}f32"), values)

    return vector(vector), lower


@njit(forceinline=True)
def slope(s):  # type: ignore[no-untyped-def]
    """Return the derivative of the sigmoid where its value is s."""
    return s * (splat(1.0) - s)


@njit(forceinline=True)
def g(n):  # type: ignore[no-untyped-def]
    """Return n + 1/2 if n ≥ 0, else σ(n)."""
    return sigmoid(smaller(n, splat(0.0))) + larger(n, splat(0.0))


@njit(forceinline=True)
def slope_of_g(n):  # type: ignore[no-untyped-def]
    """Return the derivative of g."""
    return splat(1.0) + positive(-n, slope(sigmoid(n)) - splat(1.0))


@njit(forceinline=True)
def min_gru(z, n):  # type: ignore[no-untyped-def]
    """Return a and b of a minGRU."""
    z = sigmoid(z)  # (1)
    return splat(1.0) - z, z * g(n)  # (2), (3)


@njit(forceinline=True)
def min_gru_back(z, n, da, db):  # type: ignore[no-untyped-def]
    """Return dz and dn of `min_gru`."""
    z = sigmoid(z)
    return fma(db, g(n), -da) * slope(z), db * z * slope_of_g(n)


@njit(forceinline=True)
def min_gru_signed(z, n, s):  # type: ignore[no-untyped-def]
    """Return a and b of a minGRU with signed decay."""
    z = sigmoid(z)  # (1)
    return (splat(1.0) - z) * tanh(s), z * n  # (4)


@njit(forceinline=True)
def min_gru_signed_back(z, n, s, da, db):  # type: ignore[no-untyped-def]
    """Return dz, dn and ds of `min_gru_signed`."""
    z, s = sigmoid(z), tanh(s)
    return fma(db, n, -da * s) * slope(z), db * z, da * (splat(1.0) - z) * (splat(1.0) - s * s)


@njit(forceinline=True)
def _small_power(x):  # type: ignore[no-untyped-def]
    return exp(larger(x, splat(-EXPONENT)))


@njit(forceinline=True)
def forget_share(f, i):  # type: ignore[no-untyped-def]
    """Return σ(f) / (σ(f) + σ(i)), as (1 + e^-i) / (2 + e^-i + e^-f), divided by the largest of the powers."""
    largest = larger(larger(-f, -i), splat(0.0))
    one, from_f, from_i = _small_power(-largest), _small_power(-f - largest), _small_power(-i - largest)
    return (one + from_i) * reciprocal(one + one + from_i + from_f)


@njit(forceinline=True)
def min_lstm(f, i, n):  # type: ignore[no-untyped-def]
    """Return a and b of a minLSTM."""
    share = forget_share(f, i)  # (1), (2), (4)
    return share, (splat(1.0) - share) * g(n)  # (3), (5)


@njit(forceinline=True)
def min_lstm_back(f, i, n, da, db):  # type: ignore[no-untyped-def]
    """Return df, di and dn of `min_lstm`. The share of h that is kept is σ(log σ(f) - log σ(i))."""
    share = forget_share(f, i)
    common = fma(-db, g(n), da) * slope(share)
    return common * sigmoid(-f), -common * sigmoid(-i), db * (splat(1.0) - share) * slope_of_g(n)


@njit(forceinline=True)
def _written(log_a):  # type: ignore[no-untyped-def]
    """Return a and √(1 - a²), from log a."""
    a = exp(larger(log_a, splat(-EXPONENT)))
    left = -exp_minus_one(larger(log_a + log_a, splat(-EXPONENT)))  # 1 - a² without cancellation
    return a, square_root(larger(left, splat(SMALLEST)))


@njit(forceinline=True)
def rg_lru(r, i, u, c):  # type: ignore[no-untyped-def]
    """Return a and b of an RG-LRU.

    Args:
        r, i: The recurrence gate and the input gate.
        u: The input of the recurrence.
        c: -8 softplus(Λ).
    """
    a, scale = _written(c * r)  # (5)
    return a, scale * i * u  # (6)


@njit(forceinline=True)
def rg_lru_back(r, i, u, c, da, db):  # type: ignore[no-untyped-def]
    """Return the gradients of the sums of r and i, then du, dc, and a of `rg_lru`."""
    a, scale = _written(c * r)
    d_log_a = a * (da - db * i * u * a / scale)
    return d_log_a * c * slope(r), db * scale * u * slope(i), db * scale * i, d_log_a * r, a
