"""Queries, keys and values by head, turned by their positions, in one pass over the projection.

    (a, b) → (a cos - b sin, b cos + a sin)      (1)  neighbouring numbers of a head, see `arch/transformer.py`

The way back turns the other way.
"""

# Shape suffixes: B batch, T time, D model width, N heads, K head width

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from llvmlite import ir
from numba import boolean, float32, int64, void
from torch import Tensor

from arch.kernels._compile import kernel
from arch.kernels._tensors import Reference, flat, through_reference
from arch.kernels._threads import over_rows
from arch.kernels._vector import (
    BITS,
    LANES,
    VECTOR,
    VectorType,
    instruction,
    load_first,
    multiply_add,
    splat,
    store_first,
    vector,
)


@instruction
def turned(typing: Any, x: VectorType, turn: VectorType, direction: VectorType) -> Any:
    """Equation (1); `turn` holds cosines and sines in turns, `direction` is 1 or -1 in all lanes."""

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        x, turn, direction = values

        def picked(source: ir.Value, places: list[int]) -> ir.Value:
            return builder.shuffle_vector(source, ir.Constant(VECTOR, ir.Undefined), ir.Constant(BITS, places))

        lanes = range(LANES)
        signs = ir.Constant(VECTOR, [-1.0 if lane % 2 == 0 else 1.0 for lane in lanes])
        cosine, sine = picked(turn, [lane & -2 for lane in lanes]), picked(turn, [lane | 1 for lane in lanes])
        sine = builder.fmul(builder.fmul(sine, signs), direction)
        return multiply_add(builder, x, cosine, builder.fmul(picked(x, [lane ^ 1 for lane in lanes]), sine))

    return vector(vector, vector, vector), lower


@kernel(void(*[float32[::1]] * 5, boolean, boolean, *[int64] * 5))
def move_rows(qkv, q, k, v, turns, turns_them, back, T, N, K, first, last):  # type: ignore[no-untyped-def]
    """From qkv (B, T, 3, N, K) to q, k and v (B, N, T, K), or `back`; rows `first` to `last` of the batch."""
    direction = splat(-1.0) if back else splat(1.0)
    for b in range(first, last):
        for t in range(T):
            for n in range(N):
                for unit in range(0, K, LANES):
                    count = K - unit
                    together = ((b * T + t) * 3 * N + n) * K + unit
                    apart = ((b * N + n) * T + t) * K + unit
                    for part in range(2):
                        side = q if part == 0 else k
                        at = together + part * N * K
                        x = load_first(side, apart, count) if back else load_first(qkv, at, count)
                        if turns_them:
                            x = turned(x, load_first(turns, t * K + unit, count), direction)
                        if back:
                            store_first(qkv, at, count, x)
                        else:
                            store_first(side, apart, count, x)
                    if back:
                        store_first(qkv, together + 2 * N * K, count, load_first(v, apart, count))
                    else:
                        store_first(v, apart, count, load_first(qkv, together + 2 * N * K, count))


def _move(qkv_BTD: Tensor, parts: tuple[Tensor, ...], turns_TJ: Tensor | None, back: bool) -> None:
    B, N, T, K = parts[0].shape
    turns = torch.empty(0) if turns_TJ is None else torch.view_as_real(turns_TJ)
    arrays = map(flat, (qkv_BTD, *parts, turns))
    over_rows(B, qkv_BTD.numel(), partial(move_rows, *arrays, turns_TJ is not None, back, T, N, K), 1)


class Heads(torch.autograd.Function):
    """q, k and v (B, N, T, K) from their projection (B, T, 3D)."""

    @staticmethod
    def forward(
        ctx: Any, reference: Reference, heads: int, turns_TJ: Tensor | None, qkv_BTD: Tensor
    ) -> tuple[Tensor, ...]:
        B, T, D = qkv_BTD.shape
        parts = tuple(qkv_BTD.new_empty(B, heads, T, D // 3 // heads) for _ in range(3))
        _move(qkv_BTD, parts, turns_TJ, back=False)
        ctx.reference, ctx.turns_TJ = reference, turns_TJ
        ctx.save_for_backward(qkv_BTD)
        return parts

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (qkv_BTD,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, None, None, *through_reference(ctx.reference, [qkv_BTD], gradients)
        d_qkv_BTD = torch.empty_like(qkv_BTD, memory_format=torch.contiguous_format)
        _move(d_qkv_BTD, gradients, ctx.turns_TJ, back=True)
        return None, None, None, d_qkv_BTD


def split(reference: Reference, heads: int, turns_TJ: Tensor | None, qkv_BTD: Tensor) -> tuple[Tensor, ...]:
    """See `Heads`. `reference` is the same function by torch, for derivatives of derivatives."""
    parts: tuple[Tensor, ...] = Heads.apply(reference, heads, turns_TJ, qkv_BTD)  # type: ignore[no-untyped-call]
    return parts
