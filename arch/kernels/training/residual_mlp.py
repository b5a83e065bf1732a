"""The second half of a residual block, some rows at a time: sum, norm, MLP and final norm, and their derivatives.

Equations (1) and (2) are those of `arch/kernels/training/mlp.py`. A block of rows passes through all of them, so that
no number of the wide layer leaves the cache. d· is the derivative of the loss with respect to ·. With p = W_1 n + b_1:

    dp  = W_2ᵀ dz ⊙ gelu'(p),  dn = W_1ᵀ dp                                        (3)
    dW_2 = Σ dz gelu(p)ᵀ,  dW_1 = Σ dp nᵀ,  db_1 = Σ dp,  db_2 = Σ dz              (4)  over the rows
    dy  = dz + the gradient through the norm, da = dx = dy                         (5)

The forward pass keeps y alone, and the sum before a final norm. The backward pass computes n and p again. Weight
gradients are summed in fixed blocks of `ROWS_PER_SUM` rows, so they do not depend on the number of threads.
"""

# Shape suffixes: N rows, D model width, E MLP width, S blocks of rows

from __future__ import annotations

from typing import NamedTuple

import torch
from numba import njit
from numba.extending import register_jitable
from torch import Tensor

from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.runtime.launch import run_rows
from arch.kernels.runtime.threads import TILED
from arch.kernels.simd.activation import gelu_and_slope
from arch.kernels.simd.matmul import ROWS, multiply, pack, pack_transposed, panels_of, tile_rows_more
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.prefetch import prefetch_all
from arch.kernels.simd.scratch import empty, zeros
from arch.kernels.simd.vector import LANES, load, load_first, store, store_first
from arch.kernels.training.chunked import in_whole_vectors, stride_of
from arch.kernels.training.layer_norm import denormalise_row, moments, normalise_row

ROWS_AT_ONCE = 64
"""Number of rows that pass through the equations together."""
ROWS_PER_SUM = 1024
"""Number of rows per block of the sums over rows, a multiple of `ROWS_AT_ONCE`."""
EXTRA_SUMS = 7
"""Rows of the sums besides dW_2 and dW_1: db_1, dg, do, db_2, Σ dy, and dg and do of the final norm."""


@register_jitable
def whole_tiles(width: int) -> int:
    """Return a number of rows of a product, rounded up to whole tiles."""
    return (width + ROWS - 1) // ROWS * ROWS


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        x, a: x, and a or its projection without bias, (N, D).
        bias: b_o (D,), or None if nothing is projected.
        gain, offset, W_1, b_1, W_2, b_2: The norm (D,) and the MLP: (E, D), (E,), (D, E) and (D,).
        final_gain, final_offset: The final norm (D,), or None.
        y: y (N, D), written.
        total: z (N, D) before the final norm, written. Pass `z` if there is none.
        z: The result (N, D), written.
        D, E: Widths.
    """

    x: Tensor
    a: Tensor
    bias: Tensor | None
    gain: Tensor
    offset: Tensor
    W_1: Tensor
    b_1: Tensor
    W_2: Tensor
    b_2: Tensor
    final_gain: Tensor | None
    final_offset: Tensor | None
    y: Tensor
    total: Tensor
    z: Tensor
    D: int
    E: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        y, gain, offset, W_1, b_1, W_2, final_gain: As for `Forward`.
        total: The sum before the final norm, or None if there is none.
        d_z: Gradient of the result, (N, D).
        d_y: dy (N, D), written.
        sums: Sums of each block of `ROWS_PER_SUM` rows, (S, 2 · tall + `EXTRA_SUMS`, padded E), added to: dW_2,
            transposed dW_1, then the others in the order of `EXTRA_SUMS`. `tall` is D rounded up to whole tiles.
        D, E: Widths.
    """

    y: Tensor
    total: Tensor | None
    gain: Tensor
    offset: Tensor
    W_1: Tensor
    b_1: Tensor
    W_2: Tensor
    final_gain: Tensor | None
    d_z: Tensor
    d_y: Tensor
    sums: Tensor
    D: int
    E: int


@njit
def _wide(n, tall, D, packed_W_1, biases, panels, rows, hidden, slopes, stride):  # type: ignore[no-untyped-def]
    """Write gelu(p) and gelu'(p) of some rows.

    Args:
        n, tall, D: Array of the normalised rows (rows, tall), their distance, and their width.
        packed_W_1: W_1 in panels, (panels, D, LANES).
        biases: Array of b_1, padded with zeros.
        panels: Vectors of E.
        rows: Number of rows.
        hidden, slopes, stride: Arrays of the results (rows, stride), and their row stride.
    """
    multiply(slopes, 0, stride, n, 0, tall, packed_W_1, D, rows, panels)
    for row in range(rows):
        for unit in range(0, panels * LANES, LANES):
            at = row * stride + unit
            p = load(slopes, at) + load(biases, unit)
            value, slope = gelu_and_slope(p)
            store(hidden, at, value)
            store(slopes, at, slope)


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write y, the sum before a final norm, and the result of rows `first` to `last`."""
    args = arguments_at(record, Forward)
    D, E = args.D, args.E
    x, a, bias = floats(args.x), floats(args.a), floats(args.bias)
    y, total, z = floats(args.y), floats(args.total), floats(args.z)
    gain, offset, b_2 = floats(args.gain), floats(args.offset), floats(args.b_2)
    final_gain, final_offset = floats(args.final_gain), floats(args.final_offset)
    panels, narrow = panels_of(E), panels_of(D) * LANES
    stride = stride_of(panels)
    packed_W_1 = pack_transposed(floats(args.W_1), 0, E, E, D)
    packed_W_2 = pack_transposed(floats(args.W_2), 0, D, D, E)
    biases = in_whole_vectors(floats(args.b_1), 0, E)
    n, product = empty(ROWS_AT_ONCE * D), empty(ROWS_AT_ONCE * narrow)
    hidden, slopes = empty(ROWS_AT_ONCE * stride), empty(ROWS_AT_ONCE * stride)
    for begin in range(first, last, ROWS_AT_ONCE):
        rows, following = min(ROWS_AT_ONCE, last - begin), begin + ROWS_AT_ONCE
        prefetch_all(x, following * D, rows * D)
        prefetch_all(a, following * D, rows * D)
        prefetch_all(y, following * D, rows * D)
        prefetch_all(z, begin * D, rows * D)
        for row in range(rows):
            here = (begin + row) * D
            for d in range(0, D, LANES):
                count = D - d
                value = load_first(x, here + d, count) + load_first(a, here + d, count)
                if args.bias != 0:
                    value += load_first(bias, d, count)
                store_first(y, here + d, count, value)  # (1)
            mean, scale = moments(y, here, D)
            normalise_row(y, here, D, mean, scale, gain, offset, n, row * D)
        _wide(n, D, D, packed_W_1, biases, panels, rows, hidden, slopes, stride)
        multiply(product, 0, narrow, hidden, 0, stride, packed_W_2, E, rows, narrow // LANES)
        for row in range(rows):
            here = (begin + row) * D
            for d in range(0, D, LANES):
                count = D - d
                value = load(product, row * narrow + d) + load_first(b_2, d, count)
                store_first(total, here + d, count, value + load_first(y, here + d, count))  # (2)
            if args.final_gain != 0:
                mean, scale = moments(total, here, D)
                normalise_row(total, here, D, mean, scale, final_gain, final_offset, z, here)


@njit
def add_product(sums, at, width, left, tall, right, stride, rows, panels):  # type: ignore[no-untyped-def]
    """Add leftᵀ · right to `sums`.

    Args:
        sums, at, width: Array and offset of the sums (tall, width), and their row stride.
        left, tall: Array of the left-hand rows (rows, tall). `tall` is a multiple of `ROWS`.
        right, stride: Array of the right-hand rows, and their stride.
        rows, panels: Number of rows, and vectors of each right-hand row.
    """
    for d in range(0, tall, ROWS):
        tile_rows_more(sums, at + d * width, width, left, d, tall, right, 0, stride, rows, panels)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write dy, and add to `sums`, for rows `first` to `last`. `first` is a multiple of `ROWS_PER_SUM`."""
    args = arguments_at(record, Backward)
    D, E = args.D, args.E
    y, total, d_y, sums = floats(args.y), floats(args.total), floats(args.d_y), floats(args.sums)
    gain, offset, final_gain = floats(args.gain), floats(args.offset), floats(args.final_gain)
    panels, narrow = panels_of(E), panels_of(D) * LANES
    width, stride, tall = panels * LANES, stride_of(panels), whole_tiles(D)
    packed_W_1 = pack_transposed(floats(args.W_1), 0, E, E, D)
    back_W_1, back_W_2 = pack(floats(args.W_1), 0, E, D, E, width), pack(floats(args.W_2), 0, D, E, D, D)
    biases = in_whole_vectors(floats(args.b_1), 0, E)
    n, d_n = zeros(ROWS_AT_ONCE * tall), empty(ROWS_AT_ONCE * narrow)
    means, scales = empty(ROWS_AT_ONCE), empty(ROWS_AT_ONCE)
    hidden, slopes = empty(ROWS_AT_ONCE * stride), empty(ROWS_AT_ONCE * stride)
    d_p, d_z = empty(ROWS_AT_ONCE * stride), zeros(ROWS_AT_ONCE * tall)
    d_end = floats(args.d_z)
    for begin in range(first, last, ROWS_AT_ONCE):
        rows, block = min(ROWS_AT_ONCE, last - begin), begin // ROWS_PER_SUM * (2 * tall + EXTRA_SUMS) * width
        of_biases, following = block + 2 * tall * width, begin + ROWS_AT_ONCE
        prefetch_all(y, following * D, rows * D)
        prefetch_all(d_end, following * D, rows * D)
        prefetch_all(d_y, begin * D, rows * D)
        for row in range(rows):
            here, to, of_norm = (begin + row) * D, row * tall, of_biases + 5 * width
            if args.final_gain != 0:
                mean, scale = moments(total, here, D)
                denormalise_row(
                    d_end,
                    here,
                    total,
                    here,
                    D,
                    mean,
                    scale,
                    final_gain,
                    False,
                    d_z,
                    0,
                    d_z,
                    to,
                    sums,
                    of_norm,
                    width,
                )
            else:
                for d in range(0, D, LANES):
                    store_first(d_z, to + d, D - d, load_first(d_end, here + d, D - d))
            mean, scale = moments(y, here, D)
            means[row], scales[row] = mean, scale
            normalise_row(y, here, D, mean, scale, gain, offset, n, to)
        _wide(n, tall, D, packed_W_1, biases, panels, rows, hidden, slopes, stride)
        multiply(d_p, 0, stride, d_z, 0, tall, back_W_2, D, rows, panels)
        for unit in range(0, width, LANES):
            summed = load(sums, of_biases + unit)
            for row in range(rows):
                at = row * stride + unit
                value = load(d_p, at) * load(slopes, at)  # (3)
                store(d_p, at, value)
                summed += value
            store(sums, of_biases + unit, summed)  # (4)
        add_product(sums, block, width, d_z, tall, hidden, stride, rows, panels)  # (4)
        add_product(sums, block + tall * width, width, n, tall, d_p, stride, rows, panels)
        multiply(d_n, 0, narrow, d_p, 0, stride, back_W_1, width, rows, narrow // LANES)  # (3)
        for row in range(rows):
            here, of_norm = (begin + row) * D, of_biases + width
            at, mean, scale = row * narrow, means[row], scales[row]
            denormalise_row(
                d_n, at, y, here, D, mean, scale, gain, True, d_z, row * tall, d_y, here, sums, of_norm, width
            )  # (5)


class Weights(NamedTuple):
    """Gain and offset (D,) of the norm, W_1 (E, D), b_1 (E,), W_2 (D, E), b_2 (D,), and the final norm (D,) if any."""

    gain: Tensor
    offset: Tensor
    W_1: Tensor
    b_1: Tensor
    W_2: Tensor
    b_2: Tensor
    final_gain: Tensor | None = None
    final_offset: Tensor | None = None


class Gradients(NamedTuple):
    """Gradients of the sum y (N, D), of the bias b_o (D,) in it, and of the `Weights`, in their order."""

    y: Tensor
    bias: Tensor
    weights: tuple[Tensor, ...]


def advance(x_ND: Tensor, a_ND: Tensor, bias_D: Tensor | None, weights: Weights) -> tuple[Tensor, Tensor, Tensor]:
    """Return y, the sum before a final norm, and the result, each (N, D). Without a final norm, the last two are one.

    Args:
        x_ND: x.
        a_ND: a, or its projection without bias.
        bias_D: b_o, or None if nothing is projected.
        weights: The weights.
    """
    (N, D), E = x_ND.shape, len(weights.b_1)
    y_ND, z_ND = x_ND.new_empty(N, D), x_ND.new_empty(N, D)
    total_ND = z_ND if weights.final_gain is None else x_ND.new_empty(N, D)
    run_rows(
        forward_rows,
        Forward(x_ND, a_ND, bias_D, *weights, y=y_ND, total=total_ND, z=z_ND, D=D, E=E),
        N,
        2 * N * D * E // TILED,
        ROWS_AT_ONCE,
    )
    return y_ND, total_ND, z_ND


def go_back(d_z_ND: Tensor, y_ND: Tensor, total_ND: Tensor | None, weights: Weights) -> Gradients:
    """Return the gradients for the gradient of the result, (N, D).

    Args:
        d_z_ND: Gradient of the result.
        y_ND, total_ND: What `advance` returned. The latter is None if there is no final norm.
        weights: The weights.
    """
    (N, D), E, d_y_ND = y_ND.shape, len(weights.b_1), torch.empty_like(y_ND)
    blocks, tall, width = -(-N // ROWS_PER_SUM), whole_tiles(D), panels_of(E) * LANES
    sums_SMP = torch.zeros(blocks, 2 * tall + EXTRA_SUMS, width, dtype=torch.float32, device="cpu")
    arguments = Backward(
        y=y_ND,
        total=total_ND,
        gain=weights.gain,
        offset=weights.offset,
        W_1=weights.W_1,
        b_1=weights.b_1,
        W_2=weights.W_2,
        final_gain=weights.final_gain,
        d_z=d_z_ND,
        d_y=d_y_ND,
        sums=sums_SMP,
        D=D,
        E=E,
    )
    run_rows(backward_rows, arguments, N, 5 * N * D * E // TILED, ROWS_PER_SUM)
    sums_MP = sums_SMP[0] if blocks == 1 else sums_SMP.sum(0)
    d_W_2, d_W_1, others = sums_MP.split([tall, tall, EXTRA_SUMS])
    d_gain, d_offset, d_b_2, d_bias, *of_final = others[1:, :D].unbind()
    of_weights = (d_gain, d_offset, d_W_1[:D, :E].T, others[0, :E], d_W_2[:D, :E], d_b_2)
    return Gradients(d_y_ND, d_bias, of_weights if weights.final_gain is None else (*of_weights, *of_final))
