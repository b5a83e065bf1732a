"""Layer norm of rows, in one pass with the residual sum before the norm. The backward pass is one pass too.

    y  = x + p + b                                                   (1)  residual stream x, product p, bias b of p
    n  = ŷ g + o,  ŷ = (y - mean(y)) s,  s = 1 / √(variance(y) + ε)  (2)  gain g, offset o, scale s
    dy = e + s (g dn - mean(g dn) - ŷ mean(g dn ŷ))                  (3)  e: part of dy that bypasses the norm
    dg = Σ ŷ dn,  do = Σ dn,  over the rows                          (4)

The gradients of biases are sums over rows too. All these sums are computed in blocks of `ROWS_PER_SUM` rows.
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
from arch.kernels.simd.vector import LANES, first_or, fma, lane_sum, load_first, splat, store_first

EPSILON = np.float32(NORM_EPSILON)
"""The ε of equation (2)."""

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


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        x: Residual stream, (N, D).
        product, bias: p (N, D) and b (D,), or None for neither.
        gain, offset: g and o, (D,), or None for neither.
        y: y (N, D), written if there is a product. Without a product, pass `x`.
        normal: n (N, D), written, or None if there is no gain.
        moments: Receives the mean and s of each row of y, (N, 2), or None if there is no gain.
        D: Width.
    """

    x: Tensor
    product: Tensor | None
    bias: Tensor | None
    gain: Tensor | None
    offset: Tensor | None
    y: Tensor
    normal: Tensor | None
    moments: Tensor | None
    D: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        d_normal, y: dn and y, (N, D).
        moments: Mean and s of each row, (N, 2), which `forward_rows` wrote.
        gain: g, (D,).
        above: e (N, D), or None for none.
        d_y: dy, (N, D), written.
        block_sums: Receives dg, do, Σ e and Σ dy of each block of `ROWS_PER_SUM` rows, (S, 4, D). Without e, Σ e and
            Σ dy are set to 0.
        D: Width.
    """

    d_normal: Tensor
    y: Tensor
    moments: Tensor
    gain: Tensor
    above: Tensor | None
    d_y: Tensor
    block_sums: Tensor
    D: int


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write y if there is a product, and n if there is a gain, for rows `first` to `last`.

    The `Forward` is at the address `record`.
    """
    args = arguments_at(record, Forward)
    stream, products, biases, sums = floats(args.x), floats(args.product), floats(args.bias), floats(args.y)
    gains, offsets, normals, saved = floats(args.gain), floats(args.offset), floats(args.normal), floats(args.moments)
    D = args.D
    for row in range(first, last):
        total = splat(0.0)
        for d in range(0, D, LANES):
            at, count = row * D + d, D - d
            value = load_first(stream, at, count)
            if args.product != 0:
                value += load_first(products, at, count) + load_first(biases, d, count)  # (1)
                store_first(sums, at, count, value)
            total += value
        if args.gain == 0:
            continue
        mean = lane_sum(total) / np.float32(D)
        squares = splat(0.0)
        for d in range(0, D, LANES):
            apart = first_or(load_first(sums, row * D + d, D - d) - splat(mean), D - d, splat(0.0))
            squares = fma(apart, apart, squares)
        scale = np.float32(1 / math.sqrt(lane_sum(squares) / np.float32(D) + EPSILON))
        saved[2 * row], saved[2 * row + 1] = mean, scale
        for d in range(0, D, LANES):
            at, count = row * D + d, D - d
            apart = (load_first(sums, at, count) - splat(mean)) * splat(scale)
            store_first(normals, at, count, fma(apart, load_first(gains, d, count), load_first(offsets, d, count)))


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write dy (3) and the sums (4) for rows `first` to `last`. `first` is a multiple of `ROWS_PER_SUM`.

    The sum of dy over rows is the gradient of b in (1). The sum of e over rows is the gradient of a bias that is added
    to y later. The `Backward` is at the address `record`.
    """
    args = arguments_at(record, Backward)
    d_normals, stream, saved, gains = floats(args.d_normal), floats(args.y), floats(args.moments), floats(args.gain)
    others, d_streams, summed, D = floats(args.above), floats(args.d_y), floats(args.block_sums), args.D
    for row in range(first, last):
        block = row // ROWS_PER_SUM * 4 * D
        if row % ROWS_PER_SUM == 0:
            for at in range(block, block + 4 * D):
                summed[at] = 0
        mean, scale = splat(saved[2 * row]), splat(saved[2 * row + 1])
        total, aligned = splat(0.0), splat(0.0)
        for d in range(0, D, LANES):
            at, count = row * D + d, D - d
            asked = load_first(d_normals, at, count) * load_first(gains, d, count)
            total += asked
            aligned = fma(asked, (load_first(stream, at, count) - mean) * scale, aligned)
        level = splat(lane_sum(total) / np.float32(D))
        slope = splat(lane_sum(aligned) / np.float32(D))
        for d in range(0, D, LANES):
            at, count = row * D + d, D - d
            d_n, apart = load_first(d_normals, at, count), (load_first(stream, at, count) - mean) * scale
            result = (d_n * load_first(gains, d, count) - level - apart * slope) * scale  # (3)
            add_first(summed, block + d, count, d_n * apart)  # (4)
            add_first(summed, block + D + d, count, d_n)
            if args.above != 0:
                other = load_first(others, at, count)
                result += other
                add_first(summed, block + 2 * D + d, count, other)
                add_first(summed, block + 3 * D + d, count, result)
            store_first(d_streams, at, count, result)


def add(x_ND: Tensor, product_ND: Tensor, bias_D: Tensor) -> Tensor:
    """Return y (N, D) by equation (1), from x (N, D), p (N, D) and b (D,)."""
    N, D = x_ND.shape
    y_ND = x_ND.new_empty(N, D)
    arguments = Forward(
        x=x_ND, product=product_ND, bias=bias_D, gain=None, offset=None, y=y_ND, normal=None, moments=None, D=D
    )
    run_rows(forward_rows, arguments, N, N * D, ROWS_PER_SUM)
    return y_ND


def normalise(
    x_ND: Tensor, gain_D: Tensor, offset_D: Tensor, product_ND: Tensor | None = None, bias_D: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return y (N, D), n (N, D), and the mean and s of each row of y, (N, 2).

    Args:
        x_ND: x, the residual stream, (N, D).
        gain_D, offset_D: g and o, (D,).
        product_ND, bias_D: p (N, D) and b (D,). If both are None, y is x.
    """
    N, D = x_ND.shape
    y_ND = x_ND if product_ND is None else x_ND.new_empty(N, D)
    normal_ND, moments_NM = x_ND.new_empty(N, D), x_ND.new_empty(N, 2)
    arguments = Forward(
        x=x_ND,
        product=product_ND,
        bias=bias_D,
        gain=gain_D,
        offset=offset_D,
        y=y_ND,
        normal=normal_ND,
        moments=moments_NM,
        D=D,
    )
    run_rows(forward_rows, arguments, N, N * D, ROWS_PER_SUM)
    return y_ND, normal_ND, moments_NM


def denormalise(
    d_normal_ND: Tensor, y_ND: Tensor, moments_NM: Tensor, gain_D: Tensor, above_ND: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return dy (N, D), and the sums dg, do, Σ e and Σ dy over all rows, (4, D).

    Args:
        d_normal_ND: dn, the gradient of n, (N, D).
        y_ND: y, (N, D).
        moments_NM: Mean and s of each row of y, (N, 2).
        gain_D: g, (D,).
        above_ND: e, (N, D), or None if y is used in the norm only. If e is None, the returned Σ e and Σ dy are 0.
    """
    N, D = y_ND.shape
    d_y_ND, sums_S4D = y_ND.new_empty(N, D), y_ND.new_empty(-(-N // ROWS_PER_SUM), 4, D)
    arguments = Backward(
        d_normal=d_normal_ND,
        y=y_ND,
        moments=moments_NM,
        gain=gain_D,
        above=above_ND,
        d_y=d_y_ND,
        block_sums=sums_S4D,
        D=D,
    )
    run_rows(backward_rows, arguments, N, N * D, ROWS_PER_SUM)
    return d_y_ND, sums_S4D.sum(0)
