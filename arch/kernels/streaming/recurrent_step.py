"""One step of `rnn`, `lstm` and `gru` for a small batch. The state is updated in place.

Equation numbers refer to `arch/rnn.py`, `arch/lstm.py` and `arch/gru.py`. All arrays are float32.
"""

from __future__ import annotations

from numba import njit

from arch.kernels.simd.activation import sigmoid, tanh
from arch.kernels.simd.matvec import apply, floats
from arch.kernels.simd.vector import LANES, fma, larger, load_first, splat, store_first


@njit
def rnn_step(is_tanh, D, H, weights, x, h, sums, B):  # type: ignore[no-untyped-def]
    """Update the state `h` of an RNN in place, from the input `x`.

    Args:
        is_tanh: True if φ is tanh, false if φ is relu.
        D, H: Input width and hidden width.
        weights: Addresses of float32 numbers: W (H, D), b (H,) and U (H, H). The address of b is 0 without biases.
        x, h: Arrays of the input (B, D) and the state (B, H).
        sums: Array that serves as workspace for B · H numbers.
        B: Batch size.
    """
    apply(floats(weights[0]), 0, weights[1], H, D, x, 0, D, B, sums, 0, H, False)
    apply(floats(weights[2]), 0, 0, H, H, h, 0, H, B, sums, 0, H, True)
    for at in range(0, B * H, LANES):
        total = load_first(sums, at, B * H - at)
        store_first(h, at, B * H - at, tanh(total) if is_tanh else larger(total, splat(0.0)))  # (1)


@njit
def lstm_step(D, H, weights, x, h, c, sums, B):  # type: ignore[no-untyped-def]
    """Update the state `h` and `c` of an LSTM in place, from the input `x`.

    Args:
        D, H: Input width and hidden width.
        weights: Addresses of float32 numbers: W (4H, D), b (4H,) and U (4H, H). The address of b is 0 without biases.
        x: Array of the input, (B, D).
        h, c: Arrays of the state, (B, H).
        sums: Array that serves as workspace for B · 4H numbers.
        B: Batch size.
    """
    apply(floats(weights[0]), 0, weights[1], 4 * H, D, x, 0, D, B, sums, 0, 4 * H, False)
    apply(floats(weights[2]), 0, 0, 4 * H, H, h, 0, H, B, sums, 0, 4 * H, True)
    for b in range(B):
        for unit in range(0, H, LANES):
            at, here, count = b * 4 * H + unit, b * H + unit, H - unit
            i = sigmoid(load_first(sums, at, count))  # (1)
            f = sigmoid(load_first(sums, at + H, count))  # (2)
            g = tanh(load_first(sums, at + 2 * H, count))  # (3)
            o = sigmoid(load_first(sums, at + 3 * H, count))  # (4)
            c_new = fma(f, load_first(c, here, count), i * g)  # (5)
            store_first(c, here, count, c_new)
            store_first(h, here, count, o * tanh(c_new))  # (6)


@njit
def gru_step(is_after, D, H, weights, x, h, sums, B):  # type: ignore[no-untyped-def]
    """Update the state `h` of a GRU in place, from the input `x`.

    Args:
        is_after: True for equation (3a), false for equation (3b).
        D, H: Input width and hidden width.
        weights: Addresses of float32 numbers: W (3H, D), b (3H,), U (3H, H) and b_u (H,). The addresses of b and b_u
            are 0 without biases. b_u is read only if `is_after` is true.
        x, h: Arrays of the input (B, D) and the state (B, H).
        sums: Array that serves as workspace for B · 4H numbers. The last B · H numbers hold U_n h + b_u for (3a), or
            r * h for (3b).
        B: Batch size.
    """
    G, U, side = 3 * H, floats(weights[2]), B * 3 * H
    apply(floats(weights[0]), 0, weights[1], G, D, x, 0, D, B, sums, 0, G, False)
    apply(U, 0, 0, 2 * H, H, h, 0, H, B, sums, 0, G, True)
    if is_after:
        apply(U, 2 * H * H, weights[3], H, H, h, 0, H, B, sums, side, H, False)
    else:
        for b in range(B):
            for unit in range(0, H, LANES):
                count = H - unit
                r = sigmoid(load_first(sums, b * G + unit, count))  # (1)
                store_first(sums, side + b * H + unit, count, r * load_first(h, b * H + unit, count))
        apply(U, 2 * H * H, 0, H, H, sums, side, H, B, sums, 2 * H, G, True)
    for b in range(B):
        for unit in range(0, H, LANES):
            at, here, count = b * G + unit, b * H + unit, H - unit
            z = sigmoid(load_first(sums, at + H, count))  # (2)
            total = load_first(sums, at + 2 * H, count)
            if is_after:
                r = sigmoid(load_first(sums, at, count))  # (1)
                total = fma(r, load_first(sums, side + here, count), total)
            n = tanh(total)  # (3a), (3b)
            store_first(h, here, count, fma(z, load_first(h, here, count) - n, n))  # (4)
