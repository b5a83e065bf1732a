"""Layer norm of rows, and its gradients. The functions of one row are part of other kernels too.

    n  = ŷ g + o,  ŷ = (y - mean(y)) s,  s = 1 / √(variance(y) + ε)  (1)  gain g, offset o, scale s
    dy = e + s (g dn - mean(g dn) - ŷ mean(g dn ŷ))                  (2)  e: part of dy that bypasses the norm
    dg = Σ ŷ dn,  do = Σ dn                                          (3)  over the rows

d· is the derivative of the loss with respect to ·. Sums over rows are computed in blocks of `ROWS_PER_SUM` rows.
Therefore, they do not depend on the number of threads.
"""

# Shape suffixes: N rows, D model width, M two moments, S blocks of rows

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from torch import Tensor

from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.runtime.launch import run_rows
from arch.kernels.runtime.tensors import NORM_EPSILON
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.prefetch import AHEAD, prefetch_all
from arch.kernels.simd.reduction import lane_sum
from arch.kernels.simd.vector import LANES, first_or, fma, load_first, splat, store_first

EPSILON = np.float32(NORM_EPSILON)
"""The ε of equation (1)."""

ROWS_PER_SUM = 64
"""Number of rows per block of the sums over rows."""


@njit(forceinline=True)
def add_first(sums, at, count, value):  # type: ignore[no-untyped-def]
    """Add the first lanes of `value` to sums[at : at + count].

    Args:
        sums: Flat array of float32 numbers.
        at: Offset in array elements.
        count: Number of elements to add to. Values above LANES act as LANES.
        value: Vector to add.
    """
    store_first(sums, at, count, load_first(sums, at, count) + value)


@njit(forceinline=True)
def moments(numbers, at, D):  # type: ignore[no-untyped-def]
    """Return the mean and s of (1) for D numbers from offset `at` on."""
    total, squares = splat(0.0), splat(0.0)
    for d in range(0, D, LANES):
        total += load_first(numbers, at + d, D - d)
    mean = lane_sum(total) / np.float32(D)
    for d in range(0, D, LANES):
        apart = first_or(load_first(numbers, at + d, D - d) - splat(mean), D - d, splat(0.0))
        squares = fma(apart, apart, squares)
    return mean, np.float32(1 / math.sqrt(lane_sum(squares) / np.float32(D) + EPSILON))


@njit(forceinline=True)
def normalise_row(numbers, at, D, mean, scale, gains, offsets, normals, to):  # type: ignore[no-untyped-def]
    """Write n of (1) for one row.

    Args:
        numbers, at, D: Array, offset and number of the numbers y.
        mean, scale: Their mean and s.
        gains, offsets: Arrays of g and o.
        normals, to: Array and offset of n.
    """
    for d in range(0, D, LANES):
        count = D - d
        apart = (load_first(numbers, at + d, count) - splat(mean)) * splat(scale)
        store_first(normals, to + d, count, fma(apart, load_first(gains, d, count), load_first(offsets, d, count)))


@njit(forceinline=True)
def denormalise_row(  # type: ignore[no-untyped-def]
    d_normals, d_at, numbers, at, D, mean, scale, gains, above, others, others_at, d_numbers, to, sums, sums_at, stride
):
    """Write dy (2) of one row, and add to the sums (3).

    Args:
        d_normals, d_at: Array and offset of dn.
        numbers, at, D: Array, offset and number of the numbers y.
        mean, scale: Their mean and s.
        gains: Array of g.
        above: Whether there is an e.
        others, others_at: Array and offset of e.
        d_numbers, to: Array and offset of dy.
        sums, sums_at, stride: Array and offset of dg, and the distance to do, to Σ e and to Σ dy. The last two are
            added to if there is an e.
    """
    total, aligned, mean, scale = splat(0.0), splat(0.0), splat(mean), splat(scale)
    for d in range(0, D, LANES):
        count = D - d
        asked = load_first(d_normals, d_at + d, count) * load_first(gains, d, count)
        total += asked
        aligned = fma(asked, (load_first(numbers, at + d, count) - mean) * scale, aligned)
    level, slope = splat(lane_sum(total) / np.float32(D)), splat(lane_sum(aligned) / np.float32(D))
    for d in range(0, D, LANES):
        count = D - d
        d_n, apart = load_first(d_normals, d_at + d, count), (load_first(numbers, at + d, count) - mean) * scale
        result = (d_n * load_first(gains, d, count) - level - apart * slope) * scale  # (2)
        add_first(sums, sums_at + d, count, d_n * apart)  # (3)
        add_first(sums, sums_at + stride + d, count, d_n)
        if above:
            other = load_first(others, others_at + d, count)
            result += other
            add_first(sums, sums_at + 2 * stride + d, count, other)
            add_first(sums, sums_at + 3 * stride + d, count, result)
        store_first(d_numbers, to + d, count, result)


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        y: Inputs, (N, D).
        gain, offset: g and o, (D,).
        normal: n (N, D), written.
        moments: Receives the mean and s of each row, (N, 2).
        D: Width.
    """

    y: Tensor
    gain: Tensor
    offset: Tensor
    normal: Tensor
    moments: Tensor
    D: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        d_normal, y: dn and y, (N, D).
        moments: Mean and s of each row, (N, 2), which `forward_rows` wrote.
        gain: g, (D,).
        d_y: dy, (N, D), written.
        block_sums: Receives dg and do of each block of `ROWS_PER_SUM` rows, (S, 2, D).
        D: Width.
    """

    d_normal: Tensor
    y: Tensor
    moments: Tensor
    gain: Tensor
    d_y: Tensor
    block_sums: Tensor
    D: int


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write n and the moments of rows `first` to `last`, for the `Forward` at the address `record`."""
    args = arguments_at(record, Forward)
    D, numbers, normals, saved = args.D, floats(args.y), floats(args.normal), floats(args.moments)
    gains, offsets = floats(args.gain), floats(args.offset)
    for row in range(first, last):
        mean, scale = moments(numbers, row * D, D)
        saved[2 * row], saved[2 * row + 1] = mean, scale
        prefetch_all(numbers, row * D + AHEAD, D)
        prefetch_all(normals, row * D + AHEAD, D)
        normalise_row(numbers, row * D, D, mean, scale, gains, offsets, normals, row * D)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write dy (2) and the sums (3) for rows `first` to `last`. `first` is a multiple of `ROWS_PER_SUM`.

    The `Backward` is at the address `record`.
    """
    args = arguments_at(record, Backward)
    d_normals, numbers, saved, gains = floats(args.d_normal), floats(args.y), floats(args.moments), floats(args.gain)
    d_numbers, sums, D = floats(args.d_y), floats(args.block_sums), args.D
    for row in range(first, last):
        at, block, mean, scale = row * D, row // ROWS_PER_SUM * 2 * D, saved[2 * row], saved[2 * row + 1]
        if row % ROWS_PER_SUM == 0:
            for place in range(block, block + 2 * D):
                sums[place] = 0
        prefetch_all(d_normals, at + AHEAD, D)
        prefetch_all(numbers, at + AHEAD, D)
        prefetch_all(d_numbers, at + AHEAD, D)
        denormalise_row(
            d_normals, at, numbers, at, D, mean, scale, gains, False, numbers, 0, d_numbers, at, sums, block, D
        )


def normalise(y_ND: Tensor, gain_D: Tensor, offset_D: Tensor) -> tuple[Tensor, Tensor]:
    """Return n (N, D), and the mean and s of each row of y, (N, 2).

    Args:
        y_ND: y.
        gain_D, offset_D: g and o.
    """
    N, D = y_ND.shape
    normal_ND, moments_NM = y_ND.new_empty(N, D), y_ND.new_empty(N, 2)
    run_rows(forward_rows, Forward(y_ND, gain_D, offset_D, normal_ND, moments_NM, D), N, N * D, ROWS_PER_SUM)
    return normal_ND, moments_NM


def denormalise(d_normal_ND: Tensor, y_ND: Tensor, moments_NM: Tensor, gain_D: Tensor) -> tuple[Tensor, Tensor]:
    """Return dy (N, D), and dg and do over all rows, (2, D).

    Args:
        d_normal_ND: dn, the gradient of n.
        y_ND: y.
        moments_NM: Mean and s of each row of y, (N, 2).
        gain_D: g.
    """
    N, D = y_ND.shape
    d_y_ND, sums_S2D = y_ND.new_empty(N, D), y_ND.new_empty(-(-N // ROWS_PER_SUM), 2, D)
    arguments = Backward(d_normal_ND, y_ND, moments_NM, gain_D, d_y_ND, sums_S2D, D)
    run_rows(backward_rows, arguments, N, N * D, ROWS_PER_SUM)
    return d_y_ND, sums_S2D.sum(0)
