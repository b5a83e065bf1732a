"""Cells of `rnn`, `lstm` and `gru`: from the sums of the matrix products to the next state.

Equation numbers refer to `arch/rnn.py`, `arch/lstm.py` and `arch/gru.py`. Each argument is a vector of LANES float32
numbers, one per unit. A sum such as W_i x + U_i h + b_i is called by the name of its gate.
"""

from __future__ import annotations

from numba import njit

from arch.kernels.simd.activation import sigmoid, tanh
from arch.kernels.simd.vector import fma, larger, splat


@njit(forceinline=True)
def rnn_tanh(total):  # type: ignore[no-untyped-def]
    """Return h' of an RNN with φ = tanh."""
    return tanh(total)  # (1)


@njit(forceinline=True)
def rnn_relu(total):  # type: ignore[no-untyped-def]
    """Return h' of an RNN with φ = relu."""
    return larger(total, splat(0.0))  # (1)


@njit(forceinline=True)
def lstm(i, f, g, o, c):  # type: ignore[no-untyped-def]
    """Return the activations i, f, g and o of an LSTM, then c' and h'.

    Args:
        i, f, g, o: The sums of the gates.
        c: The cell before the step.
    """
    i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)  # (1) to (4)
    c = fma(f, c, i * g)  # (5)
    return i, f, g, o, c, o * tanh(c)  # (6)


@njit(forceinline=True)
def lstm_variant(i, f, g, o, c, p_i, p_f, p_o, forget):  # type: ignore[no-untyped-def]
    """Return c' and h' of an LSTM without a learned forget gate or with peepholes.

    Args:
        i, f, g, o: The sums of the gates, without peepholes. f is not read unless it is learned.
        c: The cell before the step.
        p_i, p_f, p_o: The peepholes. They are 0 if there are none.
        forget: 0 for a learned f, 1 for f = 1, 2 for f = 1 - i.
    """
    i, one = sigmoid(fma(p_i, c, i)), splat(1.0)  # (1)
    learned = sigmoid(fma(p_f, c, f))
    f = learned if forget == 0 else one if forget == 1 else one - i  # (2)
    c = fma(f, c, i * tanh(g))  # (3), (5)
    return c, sigmoid(fma(p_o, c, o)) * tanh(c)  # (4), (6)


@njit(forceinline=True)
def gru_after(r, z, n, s, h):  # type: ignore[no-untyped-def]
    """Return the activations r, z and n of a GRU with equation (3a), then h'.

    Args:
        r, z: The sums of the gates.
        n: W_n x + b_n.
        s: U_n h + b_u.
        h: The state before the step.
    """
    r, z = sigmoid(r), sigmoid(z)  # (1), (2)
    n = tanh(fma(r, s, n))  # (3a)
    return r, z, n, fma(z, h - n, n)  # (4)


@njit(forceinline=True)
def gru_reset(r, h):  # type: ignore[no-untyped-def]
    """Return r and r * h of a GRU with equation (3b). `r` is the sum of the reset gate."""
    r = sigmoid(r)  # (1)
    return r, r * h


@njit(forceinline=True)
def gru_before(z, n, h):  # type: ignore[no-untyped-def]
    """Return the activations z and n of a GRU with equation (3b), then h'.

    Args:
        z: The sum of the update gate.
        n: W_n x + U_n (r * h) + b_n.
        h: The state before the step.
    """
    z, n = sigmoid(z), tanh(n)  # (2), (3b)
    return z, n, fma(z, h - n, n)  # (4)
