"""Projections of a layer's inputs, split into parts: `arch/core/memory/projection.py`, and their derivatives.

d· is the derivative of the loss with respect to ·. The slope of each activation follows from its result r:

    dp = dr ⊙ slope,  slope = 1,  r (1 - r)  or  min(r, 1)       (3)  none, σ, φ; dr rotates back if the part rotates
    dx = Wᵀ dp,  dW = Σ dp xᵀ,  db = Σ dp                        (4)  the sums are over the rows

A block of rows passes through the product, the activations and the split while it is in the cache. So does its
gradient, which is read part by part. No array holds all parts, and nothing is copied into the order of the parts.
"""

# Shape suffixes: R rows, D input width, P rows of W, B batch, T time, M sums, S parts that rotate, J pairs of a head

from __future__ import annotations

from functools import lru_cache
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
    sum_rows,
    without_autocast,
)
from arch.kernels.runtime.parts import MAX_PARTS, Part
from arch.kernels.runtime.threads import TILED
from arch.kernels.simd.activation import SIGMOID_SATURATES, exp, sigmoid
from arch.kernels.simd.matmul import multiply, pack, pack_transposed, panels_of
from arch.kernels.simd.matvec import floats, integers
from arch.kernels.simd.prefetch import prefetch_all
from arch.kernels.simd.scratch import empty, zeros
from arch.kernels.simd.vector import LANES, larger, load, load_first, smaller, splat, store, store_first
from arch.kernels.training.chunked import stride_of
from arch.kernels.training.qkv import rotated
from arch.kernels.training.residual_mlp import add_product, whole_tiles

ROWS_AT_ONCE = 32
"""Number of rows that pass through the equations together."""
SIGMOID, FEATURE = 1, 2
CODES = {"none": 0, "sigmoid": SIGMOID, "feature": FEATURE}
"""Numbers of the activations, as the kernels read them."""
FIELDS = 5
"""Numbers that describe a part: blocks, numbers per block, whether a one follows each block, its activation, and its
number among the parts that rotate, from 1 on, or 0 if it does not rotate."""


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        x, W, b: Inputs (R, D), weights (P, D), and biases (P,) or None.
        form: Description of each part, int64 (parts, `FIELDS`).
        rotary: Real and imaginary parts of the factors of the parts that rotate, (S, T, J, 2), or None.
        r_0, r_1, r_2, r_3, r_4: Results of each part, written, or None. A row has `blocks` times its numbers, each
            block with a one if it follows.
        T, D, P, parts: Steps, input width, rows of W, and number of parts. Row number R belongs to step R modulo T.
    """

    x: Tensor
    W: Tensor
    b: Tensor | None
    form: Tensor
    rotary: Tensor | None
    r_0: Tensor
    r_1: Tensor | None
    r_2: Tensor | None
    r_3: Tensor | None
    r_4: Tensor | None
    T: int
    D: int
    P: int
    parts: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        x, W, form, rotary, T, D, P, parts: As for `Forward`.
        r_0, r_1, r_2, r_3, r_4: As for `Forward`, or None for a part without activation.
        d_0, d_1, d_2, d_3, d_4: Gradients of the results, or None.
        d_x: Gradient of the inputs (R, D), written, or None if it is not needed.
        sums: Gradients of Wᵀ and of the biases, (D rounded up to whole tiles + 1, P rounded up to whole vectors), added
            to. `sum_rows` sets it for each share.
    """

    x: Tensor
    W: Tensor
    form: Tensor
    rotary: Tensor | None
    r_0: Tensor | None
    r_1: Tensor | None
    r_2: Tensor | None
    r_3: Tensor | None
    r_4: Tensor | None
    d_0: Tensor
    d_1: Tensor | None
    d_2: Tensor | None
    d_3: Tensor | None
    d_4: Tensor | None
    d_x: Tensor | None
    sums: Tensor | None
    T: int
    D: int
    P: int
    parts: int


@njit(forceinline=True)
def _chosen(part, first, second, third, fourth, fifth):  # type: ignore[no-untyped-def]
    """Return the address of a part's array, of those of all parts."""
    if part < 2:
        return first if part == 0 else second
    return third if part == 2 else fourth if part == 3 else fifth


@njit(forceinline=True)
def _row_of(form, part):  # type: ignore[no-untyped-def]
    """Return the number of results of a part in one row."""
    return form[FIELDS * part] * (form[FIELDS * part + 1] + form[FIELDS * part + 2])


@njit(forceinline=True)
def _activated(code, p):  # type: ignore[no-untyped-def]
    """Return r of equation (2) for a vector p."""
    if code == SIGMOID:
        return sigmoid(p)
    if code == FEATURE:
        return larger(p, splat(0.0)) + exp(larger(smaller(p, splat(0.0)), splat(-SIGMOID_SATURATES)))
    return p


@njit(forceinline=True)
def _slope(code, r):  # type: ignore[no-untyped-def]
    """Return the slope (3) of an activation for its results r."""
    return r * (splat(1.0) - r) if code == SIGMOID else smaller(r, splat(1.0))


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the results of rows `first` to `last`, for the `Forward` at the address `record`."""
    args = arguments_at(record, Forward)
    T, D, P, parts, rotary = args.T, args.D, args.P, args.parts, floats(args.rotary)
    x, b, form = floats(args.x), floats(args.b), integers(args.form, parts * FIELDS)
    panels = panels_of(P)
    stride = stride_of(panels)
    packed_W = pack_transposed(floats(args.W), 0, P, P, D)
    p = empty(ROWS_AT_ONCE * stride)
    for begin in range(first, last, ROWS_AT_ONCE):
        rows, column = min(ROWS_AT_ONCE, last - begin), 0
        for part in range(parts):
            r = floats(_chosen(part, args.r_0, args.r_1, args.r_2, args.r_3, args.r_4))
            whole = _row_of(form, part)
            prefetch_all(r, begin * whole, rows * whole)
        multiply(p, 0, stride, x, begin * D, D, packed_W, D, rows, panels)  # (1)
        for part in range(parts):
            r = floats(_chosen(part, args.r_0, args.r_1, args.r_2, args.r_3, args.r_4))
            blocks, numbers, counts, code, turns = form[FIELDS * part : FIELDS * (part + 1)]
            apart = numbers + counts
            for row in range(rows):
                factors = ((turns - 1) * T + (begin + row) % T) * numbers
                for block in range(blocks):
                    at, to = column + block * numbers, ((begin + row) * blocks + block) * apart
                    for unit in range(0, numbers, LANES):
                        value = load(p, row * stride + at + unit)
                        if args.b != 0:
                            value += load_first(b, at + unit, numbers - unit)
                        if turns != 0:
                            value = rotated(value, load_first(rotary, factors + unit, numbers - unit), splat(1.0))
                        store_first(r, to + unit, numbers - unit, _activated(code, value))  # (2)
                    if counts != 0:
                        r[to + numbers] = np.float32(1)
            column += blocks * numbers


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write `d_x`, and add to `sums`, for rows `first` to `last`. The `Backward` is at the address `record`."""
    args = arguments_at(record, Backward)
    T, D, P, parts, rotary = args.T, args.D, args.P, args.parts, floats(args.rotary)
    x, form, d_x, sums = floats(args.x), integers(args.form, parts * FIELDS), floats(args.d_x), floats(args.sums)
    panels, narrow, tall = panels_of(P), panels_of(D) * LANES, whole_tiles(D)
    width, stride = panels * LANES, stride_of(panels)
    packed_W = pack(floats(args.W), 0, P, D, P, P)
    here, product = zeros(ROWS_AT_ONCE * tall), empty(ROWS_AT_ONCE * narrow)
    dp = zeros(ROWS_AT_ONCE * stride)
    for begin in range(first, last, ROWS_AT_ONCE):
        rows, column = min(ROWS_AT_ONCE, last - begin), 0
        last_row = begin + rows
        for part in range(parts):
            r = floats(_chosen(part, args.r_0, args.r_1, args.r_2, args.r_3, args.r_4))
            d_r = floats(_chosen(part, args.d_0, args.d_1, args.d_2, args.d_3, args.d_4))
            blocks, numbers, counts, code, turns = form[FIELDS * part : FIELDS * (part + 1)]
            apart = numbers + counts
            for row in range(rows):
                factors = ((turns - 1) * T + (begin + row) % T) * numbers
                for block in range(blocks):
                    to, at = row * stride + column + block * numbers, ((begin + row) * blocks + block) * apart
                    for unit in range(0, numbers, LANES):
                        count = numbers - unit
                        value = load_first(d_r, at + unit, count)
                        if turns != 0:
                            value = rotated(value, load_first(rotary, factors + unit, count), splat(-1.0))  # (3)
                        if code != 0:
                            value = value * _slope(code, load_first(r, at + unit, count))  # (3)
                        store_first(dp, to + unit, count, value)
            column += blocks * numbers
        for part in range(parts):
            d_r = floats(_chosen(part, args.d_0, args.d_1, args.d_2, args.d_3, args.d_4))
            whole = _row_of(form, part)
            prefetch_all(d_r, last_row * whole, rows * whole)
        prefetch_all(x, last_row * D, rows * D)
        prefetch_all(d_x, begin * D, rows * D)
        for unit in range(0, width, LANES):
            total = load(sums, tall * width + unit)
            for row in range(rows):
                total += load(dp, row * stride + unit)
            store(sums, tall * width + unit, total)  # (4)
        for row in range(rows):
            for d in range(0, D, LANES):
                store_first(here, row * tall + d, D - d, load_first(x, (begin + row) * D + d, D - d))
        add_product(sums, 0, width, here, tall, dp, stride, rows, panels)  # (4)
        if args.d_x != 0:
            multiply(product, 0, narrow, dp, 0, stride, packed_W, P, rows, narrow // LANES)  # (4)
            for row in range(rows):
                for d in range(0, D, LANES):
                    store_first(d_x, (begin + row) * D + d, D - d, load(product, row * narrow + d))


class Projection(torch.autograd.Function):
    """The map from x (B, T, D), W (P, D) and b (P,), if there is one, to the parts."""

    @staticmethod
    def forward(
        ctx: Any, reference: Reference, parts: tuple[Part, ...], rotary: Tensor | None, *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        x_BTD, W_PD, *bias = inputs
        P, D = W_PD.shape
        results = [x_BTD.new_empty(*x_BTD.shape[:2], *part.shape) for part in parts]
        given = (x_BTD, W_PD, bias[0] if bias else None, form_of(parts), rotary)
        arguments = Forward._make([*given, *_padded(results), x_BTD.shape[1], D, P, len(parts)])
        run_rows(forward_rows, arguments, x_BTD.shape[0] * x_BTD.shape[1], x_BTD.numel() * P // TILED, ROWS_AT_ONCE)
        ctx.reference, ctx.parts, ctx.rotary, ctx.inputs = reference, parts, rotary, len(inputs)
        activated = (None if part.activation == "none" else r for part, r in zip(parts, results, strict=True))
        ctx.save_for_backward(*inputs, *activated)
        return tuple(results)

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        inputs, results = saved[: ctx.inputs], saved[ctx.inputs :]
        if needs_reference(*gradients):
            return None, None, None, *reference_gradients(ctx.reference, inputs, gradients)
        (x_BTD, W_PD, *bias), parts = inputs, ctx.parts
        (P, D), tall = W_PD.shape, int(whole_tiles(W_PD.shape[1]))
        d_x_BTD = x_BTD.new_empty(x_BTD.shape) if ctx.needs_input_grad[3] else None
        given = (x_BTD, W_PD, form_of(parts), ctx.rotary, *_padded(results), *_padded(gradients))
        arguments = Backward._make([*given, d_x_BTD, None, x_BTD.shape[1], D, P, len(parts)])
        rows, work = x_BTD.shape[0] * x_BTD.shape[1], 2 * x_BTD.numel() * P // TILED
        sums_MP = sum_rows(backward_rows, arguments, rows, work, (tall + 1, panels_of(P) * LANES))
        return None, None, None, d_x_BTD, sums_MP[:D, :P].T, *([sums_MP[tall, :P]] if bias else [])


@lru_cache(maxsize=128)
def form_of(parts: tuple[Part, ...]) -> Tensor:
    """Return the description of the parts that the kernels read, int64 (parts, `FIELDS`)."""
    rows, turns = [], 0
    for part in parts:
        assert not part.rotates or (part.activation == "none" and not part.counts)
        blocks, turns = max(part.heads, 1), turns + part.rotates
        numbers = part.width // blocks
        rows.append((blocks, numbers, int(part.counts), CODES[part.activation], turns if part.rotates else 0))
    return torch.tensor(rows, dtype=torch.int64, device="cpu")


def _padded(tensors: Any) -> list[Tensor | None]:
    """Return the tensors of the parts, followed by None up to `MAX_PARTS`."""
    return [*tensors, *[None] * (MAX_PARTS - len(tensors))]


def project(
    reference: Reference,
    parts: tuple[Part, ...],
    rotary_STJ: Tensor | None,
    x_BTD: Tensor,
    W_PD: Tensor,
    b_P: Tensor | None,
) -> tuple[Tensor, ...]:
    """Return the parts, by `Projection`.

    Args:
        reference: Function of the inputs that computes the same results in plain torch, for second derivatives.
        parts: The parts.
        rotary_STJ: Complex factors of the parts that rotate, or None if there are none.
        x_BTD, W_PD, b_P: Inputs, weights, and biases or None.
    """
    given = (x_BTD, W_PD) if b_P is None else (x_BTD, W_PD, b_P)
    rotary = None if rotary_STJ is None else torch.view_as_real(rotary_STJ)
    results: tuple[Tensor, ...] = Projection.apply(reference, parts, rotary, *given)  # type: ignore[no-untyped-call]
    return results
