"""The parts of a step that layers of heads share: memory, norms and gate.

Equation numbers refer to `arch/core/memory/heads.py` unless another file is named. All arrays are float32. Offsets
count array elements. Results are written in place.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from arch.kernels.cells.matrix_memory import read, write
from arch.kernels.simd.activation import silu
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.reduction import lane_sum
from arch.kernels.simd.vector import LANES, first_or, fma, load_first, splat, store_first
from arch.kernels.training.layer_norm import EPSILON


@njit
def remember(S, at, K, V, a, a_at, decays, w, w_at, v, v_at, q, q_at, y, y_at):  # type: ignore[no-untyped-def]
    """Decay and write the memory of one head, then read it: (2) and (3) of `arch/core/matrix_memory.py`.

    Args:
        S, at: Array and offset of the memory, (K, V).
        K, V: Key and value width.
        a, a_at, decays: Array and offset of the decay, and its length: K, 1 or 0.
        w, w_at, v, v_at, q, q_at: Arrays and offsets of key, value and query.
        y, y_at: Array and offset that receive the V numbers read.
    """
    for value in range(0, V, LANES):
        count = V - value
        write(S, at + value, V, count, a, a_at, decays, w, w_at, load_first(v, v_at + value, count), K)
        store_first(y, y_at + value, count, read(S, at + value, V, count, q, q_at, K))


@njit
def rms_norm(y, at, V, gain):  # type: ignore[no-untyped-def]
    """Replace V numbers by their RMS norm (2). `gain` is the address of g, (V,)."""
    gains, squares = floats(gain), splat(0.0)
    for value in range(0, V, LANES):
        numbers = load_first(y, at + value, V - value)
        squares = fma(numbers, numbers, squares)
    scale = splat(np.float32(1) / np.float32(math.sqrt(lane_sum(squares) / np.float32(V) + np.float32(EPSILON))))
    for value in range(0, V, LANES):
        count = V - value
        store_first(y, at + value, count, load_first(y, at + value, count) * scale * load_first(gains, value, count))


@njit
def group_norm(y, at, V, gain, offset, epsilon=EPSILON):  # type: ignore[no-untyped-def]
    """Replace V numbers by their group norm (1) with ε. `gain` and `offset` are the addresses of g and o, (V,)."""
    gains, offsets, total, squares = floats(gain), floats(offset), splat(0.0), splat(0.0)
    for value in range(0, V, LANES):
        total += load_first(y, at + value, V - value)
    mean = splat(lane_sum(total) / np.float32(V))
    for value in range(0, V, LANES):
        apart = first_or(load_first(y, at + value, V - value) - mean, V - value, splat(0.0))
        squares = fma(apart, apart, squares)
    scale = splat(np.float32(1) / np.float32(math.sqrt(lane_sum(squares) / np.float32(V) + epsilon)))
    for value in range(0, V, LANES):
        count = V - value
        normal = (load_first(y, at + value, count) - mean) * scale
        normal = fma(normal, load_first(gains, value, count), load_first(offsets, value, count))
        store_first(y, at + value, count, normal)


@njit
def gate(y, at, g, g_at, C):  # type: ignore[no-untyped-def]
    """Multiply C numbers of `y` by the SiLU of as many numbers of `g`. `at` and `g_at` are their offsets."""
    for c in range(0, C, LANES):
        count = C - c
        store_first(y, at + c, count, load_first(y, at + c, count) * silu(load_first(g, g_at + c, count)))


@njit
def scale(y, at, C, factor):  # type: ignore[no-untyped-def]
    """Multiply C numbers of `y` from offset `at` on by a float32 number."""
    for c in range(0, C, LANES):
        store_first(y, at + c, C - c, load_first(y, at + c, C - c) * splat(factor))
