"""The divisor of what a memory reads: `arch/core/memory/normaliser.py`, and its derivatives.

d· is the derivative of the loss with respect to ·. c is the divisor, t + ε or max(|t|, e), and s the slope of |t|:

    dr = dy / c,  dc = -Σ dy r / c²                            (a)  over the values of a head
    dt = dc  or  s dc where |t| > e;  de = dc where e > |t|    (b)  half of each where they are equal

A row is one head at one step.
"""

# Shape suffixes: B batch, T time, N heads, V value width, U = V + 1

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.runtime.launch import (
    Reference,
    needs_reference,
    reference_gradients,
    run_rows,
    without_autocast,
)
from arch.kernels.runtime.tensors import TOTAL_EPSILON
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.prefetch import AHEAD, prefetch_all
from arch.kernels.simd.reduction import lane_sum
from arch.kernels.simd.vector import LANES, fma, load_first, splat, store_first


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        read: r and t of each row, (B, T, N, U).
        least: e, (B, T, N), or None for equation (1).
        y: Results (B, T, N, V), written.
        V: Value width.
    """

    read: Tensor
    least: Tensor | None
    y: Tensor
    V: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        read, least, V: As for `Forward`.
        d_y: Gradient of the results.
        d_read, d_least: Gradients of `read` and of `least`, written. The latter is None if there is no `least`.
    """

    read: Tensor
    least: Tensor | None
    d_y: Tensor
    d_read: Tensor
    d_least: Tensor | None
    V: int


@njit(forceinline=True)
def _inverse(args, row):  # type: ignore[no-untyped-def]
    """Return 1 / c of a row."""
    total = floats(args.read)[row * (args.V + 1) + args.V]
    if args.least == 0:
        return np.float32(1) / (total + np.float32(TOTAL_EPSILON))
    size, least = abs(total), floats(args.least)[row]
    return np.float32(1) / (least if least > size else size)  # NaN in t stays NaN


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the results of rows `first` to `last`."""
    args = arguments_at(record, Forward)
    V, read, y = args.V, floats(args.read), floats(args.y)
    for row in range(first, last):
        at, to, inverse = row * (V + 1), row * V, splat(_inverse(args, row))
        prefetch_all(read, at + AHEAD, V)
        prefetch_all(y, to + AHEAD, V)
        for v in range(0, V, LANES):
            store_first(y, to + v, V - v, load_first(read, at + v, V - v) * inverse)  # (1), (2)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the gradients of rows `first` to `last`."""
    args = arguments_at(record, Backward)
    V, read, d_y, d_read = args.V, floats(args.read), floats(args.d_y), floats(args.d_read)
    for row in range(first, last):
        at, to, inverse, products = row * (V + 1), row * V, _inverse(args, row), splat(0.0)
        prefetch_all(read, at + AHEAD, V)
        prefetch_all(d_y, to + AHEAD, V)
        prefetch_all(d_read, at + AHEAD, V)
        for v in range(0, V, LANES):
            dy = load_first(d_y, to + v, V - v)
            products = fma(dy, load_first(read, at + v, V - v), products)
            store_first(d_read, at + v, V - v, dy * splat(inverse))  # (a)
        of_divisor = -lane_sum(products) * inverse * inverse
        if args.least == 0:
            d_read[at + V] = of_divisor  # (b)
            continue
        total, least = read[at + V], floats(args.least)[row]
        share = np.float32(0.5) if abs(total) == least else np.float32(abs(total) > least)
        slope = np.float32(total > 0) - np.float32(total < 0)
        d_read[at + V] = slope * share * of_divisor  # (b)
        floats(args.d_least)[row] = (np.float32(1) - share) * of_divisor


class Normaliser(torch.autograd.Function):
    """The map from r and t (B, T, N, U), and e (B, T, N) if there is one, to y (B, T, N, V)."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, *inputs: Tensor) -> Tensor:
        read_BTNU, *least = inputs
        V = read_BTNU.shape[3] - 1
        y_BTNV = read_BTNU.new_empty(*read_BTNU.shape[:3], V)
        arguments = Forward(read_BTNU, least[0] if least else None, y_BTNV, V)
        run_rows(forward_rows, arguments, y_BTNV.numel() // V, y_BTNV.numel())
        ctx.reference = reference
        ctx.save_for_backward(*inputs)
        return y_BTNV

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, *reference_gradients(ctx.reference, inputs, gradients)
        read_BTNU, *least = inputs
        V = read_BTNU.shape[3] - 1
        found = [torch.empty(tensor.shape, dtype=torch.float32, device="cpu") for tensor in inputs]
        given, written = (least[0], found[1]) if least else (None, None)
        arguments = Backward(read_BTNU, given, gradients[0], found[0], written, V)
        run_rows(backward_rows, arguments, read_BTNU.numel() // (V + 1), 2 * read_BTNU.numel())
        return None, *found


def normalise(reference: Reference, *inputs: Tensor) -> Tensor:
    """Return y (B, T, N, V), by `Normaliser`.

    Args:
        reference: Function of the inputs that computes the same result in plain torch, for second derivatives.
        inputs: r, then t (B, T, N, U), and e (B, T, N) for equation (2).
    """
    result: Tensor = Normaliser.apply(reference, *inputs)  # type: ignore[no-untyped-call]
    return result
