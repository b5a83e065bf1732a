"""The first half of a `transformer` block: queries, keys and values by head, from the residual stream.

    (q, k, v) = W norm(x) + b                    (1)
    (a, b) → (a cos - b sin, b cos + a sin)      (2)  neighbouring numbers of a head of q or k: their position

Bias, position and the order by heads are one pass over the product, and one pass on the way back, which turns
the other way.
"""

# Shape suffixes: B batch, T time, D model width, N heads, K head width, M two moments, Y rows of all sequences

from __future__ import annotations

from typing import Any

import torch
from llvmlite import ir
from numba import boolean, int64, void
from torch import Tensor

from arch.kernels.runtime.jit import kernel
from arch.kernels.runtime.launch import Reference, run_rows, through_reference
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.vector import (
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
from arch.kernels.training.layer_norm import add_first, denormalise, normalise


@instruction
def turned(typing: Any, x: VectorType, turn: VectorType, direction: VectorType) -> Any:
    """Equation (2); `turn` holds cosines and sines in turns, `direction` is 1 or -1 in all lanes."""

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


@kernel(void(*[int64] * 6, boolean, *[int64] * 5))
def move_rows(qkv, bias, q, k, v, turns, back, T, N, K, first, last):  # type: ignore[no-untyped-def]
    """From qkv + bias (B, T, 3, N, K) to q, k and v (B, N, T, K), turned where there are turns; or `back`.

    On the way back, `bias` (B, 3, N, K) receives the sums of qkv over time. For rows `first` to `last` of the batch.
    """
    together, biases, turn = floats(qkv), floats(bias), floats(turns)
    direction, width = splat(-1.0) if back else splat(1.0), 3 * N * K
    for b in range(first, last):
        if back:
            for at in range(b * width, (b + 1) * width):
                biases[at] = 0
        for t in range(T):
            for part in range(3):
                side = floats(q if part == 0 else k if part == 1 else v)
                turns_it = turns != 0 and part < 2
                for n in range(N):
                    for unit in range(0, K, LANES):
                        count, column = K - unit, (part * N + n) * K + unit
                        at, apart = (b * T + t) * width + column, ((b * N + n) * T + t) * K + unit
                        if back:
                            x = load_first(side, apart, count)
                        else:
                            x = load_first(together, at, count) + load_first(biases, column, count)
                        if turns_it:
                            x = turned(x, load_first(turn, t * K + unit, count), direction)  # (2)
                        if back:
                            store_first(together, at, count, x)
                            add_first(biases, b * width + column, count, x)
                        else:
                            store_first(side, apart, count, x)


class Heads(torch.autograd.Function):
    """q, k and v (B, N, T, K) from x (B, T, D), the norm's gain and offset, W and b."""

    @staticmethod
    def forward(
        ctx: Any, reference: Reference, heads: int, turns_TJ: Tensor | None, *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        x_BTD, gain_D, offset_D, W_GD, b_G = inputs
        B, T, D = x_BTD.shape
        x_YD, normal_YD, moments_YM = normalise(x_BTD.reshape(B * T, D), gain_D, offset_D)
        qkv_YG = normal_YD @ W_GD.T
        parts = tuple(x_BTD.new_empty(B, heads, T, D // heads) for _ in range(3))
        _move(qkv_YG, b_G, parts, turns_TJ, back=False)
        ctx.reference, ctx.turns_TJ = reference, turns_TJ
        ctx.save_for_backward(*inputs, x_YD, normal_YD, moments_YM)
        return parts

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, x_YD, normal_YD, moments_YM = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, None, None, *through_reference(ctx.reference, inputs, gradients)
        x_BTD, gain_D, _, W_GD, b_G = inputs
        d_qkv_YG, sums_BG = x_BTD.new_empty(len(x_YD), len(b_G)), x_BTD.new_empty(len(x_BTD), len(b_G))
        _move(d_qkv_YG, sums_BG, gradients, ctx.turns_TJ, back=True)
        d_W_GD = (normal_YD.T @ d_qkv_YG).T
        d_x_YD, sums_4D = denormalise(d_qkv_YG @ W_GD, x_YD, moments_YM, gain_D)
        return None, None, None, d_x_YD.view_as(x_BTD), sums_4D[0], sums_4D[1], d_W_GD, sums_BG.sum(0)


def _move(qkv_YG: Tensor, bias: Tensor, parts: tuple[Tensor, ...], turns_TJ: Tensor | None, back: bool) -> None:
    B, N, T, K = parts[0].shape
    turns = None if turns_TJ is None else torch.view_as_real(turns_TJ)
    run_rows(move_rows, (qkv_YG, bias, *parts, turns), (back, T, N, K, B), qkv_YG.numel())


def project(reference: Reference, heads: int, turns_TJ: Tensor | None, *inputs: Tensor) -> tuple[Tensor, ...]:
    """See `Heads`. `reference` is the same function by torch, for derivatives of derivatives."""
    parts: tuple[Tensor, ...] = Heads.apply(reference, heads, turns_TJ, *inputs)  # type: ignore[no-untyped-call]
    return parts
