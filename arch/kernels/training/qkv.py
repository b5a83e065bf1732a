"""The first half of a `transformer` block: queries, keys and values per head, from the residual stream.

    (q, k, v) = W norm(x) + b                    (1)
    (a, b) → (a cos - b sin, b cos + a sin)      (2)  rotary position: adjacent numbers of a head of q or k

One pass over the matrix product adds the bias, rotates q and k, and splits the result into heads. The corresponding
pass over the gradients of q, k and v rotates in the opposite direction.
"""

# Shape suffixes: B batch, T time, D model width, N heads, K head width, M two moments, Y all rows, J rotary pairs

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from llvmlite import ir
from torch import Tensor

from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.runtime.launch import Reference, needs_reference, reference_gradients, run_rows, without_autocast
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
def rotated(typing: Any, x: VectorType, rotary_row: VectorType, direction: VectorType) -> Any:
    """Return `x`, rotated by equation (2).

    Args:
        typing: Numba's typing context.
        x: Vector of adjacent pairs.
        rotary_row: Vector of alternating cosines and sines.
        direction: Vector with 1 in all lanes, or with -1 in all lanes to rotate in the opposite direction.
    """

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        x, rotary_row, direction = values

        def picked(source: ir.Value, places: list[int]) -> ir.Value:
            return builder.shuffle_vector(source, ir.Constant(VECTOR, ir.Undefined), ir.Constant(BITS, places))

        lanes = range(LANES)
        signs = ir.Constant(VECTOR, [-1.0 if lane % 2 == 0 else 1.0 for lane in lanes])
        cosine, sine = (
            picked(rotary_row, [lane & -2 for lane in lanes]),
            picked(rotary_row, [lane | 1 for lane in lanes]),
        )
        sine = builder.fmul(builder.fmul(sine, signs), direction)
        return multiply_add(builder, x, cosine, builder.fmul(picked(x, [lane ^ 1 for lane in lanes]), sine))

    return vector(vector, vector, vector), lower


class Move(NamedTuple):
    """Arguments of `move_rows`.

    Args:
        qkv: W norm(x), (B, T, 3, N, K). If `back` is true, receives its gradient instead.
        bias: b, (3, N, K). If `back` is true, receives the sums of the gradient of qkv over time, (B, 3, N, K).
        q, k, v: Queries, keys and values, (B, N, T, K), written. If `back` is true, their gradients, which are only
            read.
        rotary: Alternating cosines and sines, (T, K), or None for no rotation.
        back: Whether to compute gradients.
        T, N, K: Steps, heads, head width.
    """

    qkv: Tensor
    bias: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    rotary: Tensor | None
    back: bool
    T: int
    N: int
    K: int


@kernel(ROWS_SIGNATURE)
def move_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Add the bias to qkv, split the sum into q, k and v, and rotate q and k, for rows `first` to `last` of the batch.

    If `back` is true, compute the gradient of qkv from the gradients of q, k and v instead. The `Move` is at the
    address `record`.
    """
    args = arguments_at(record, Move)
    T, N, K, back = args.T, args.N, args.K, args.back != 0
    together, biases, rotary_row = floats(args.qkv), floats(args.bias), floats(args.rotary)
    direction, width = splat(-1.0) if back else splat(1.0), 3 * N * K
    for b in range(first, last):
        if back:
            for at in range(b * width, (b + 1) * width):
                biases[at] = 0
        for t in range(T):
            for part in range(3):
                side = floats(args.q if part == 0 else args.k if part == 1 else args.v)
                rotates = args.rotary != 0 and part < 2
                for n in range(N):
                    for unit in range(0, K, LANES):
                        count, column = K - unit, (part * N + n) * K + unit
                        at, apart = (b * T + t) * width + column, ((b * N + n) * T + t) * K + unit
                        if back:
                            x = load_first(side, apart, count)
                        else:
                            x = load_first(together, at, count) + load_first(biases, column, count)
                        if rotates:
                            x = rotated(x, load_first(rotary_row, t * K + unit, count), direction)  # (2)
                        if back:
                            store_first(together, at, count, x)
                            add_first(biases, b * width + column, count, x)
                        else:
                            store_first(side, apart, count, x)


class Heads(torch.autograd.Function):
    """The map from x (B, T, D) and the weights to q, k and v (B, N, T, K).

    The weights are gain and offset of the norm (D,), W (3D, D) and b (3D,).
    """

    @staticmethod
    def forward(
        ctx: Any, reference: Reference, heads: int, rotary_TJ: Tensor | None, *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        x_BTD, gain_D, offset_D, W_GD, b_G = inputs
        B, T, D = x_BTD.shape
        x_YD = x_BTD.reshape(B * T, D)
        normal_YD, moments_YM = normalise(x_YD, gain_D, offset_D)
        qkv_YG = normal_YD @ W_GD.T
        parts = tuple(x_BTD.new_empty(B, heads, T, D // heads) for _ in range(3))
        _move(qkv_YG, b_G, parts, rotary_TJ, back=False)
        ctx.reference, ctx.rotary_TJ = reference, rotary_TJ
        ctx.save_for_backward(*inputs, x_YD, normal_YD, moments_YM)
        return parts

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, x_YD, normal_YD, moments_YM = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, None, None, *reference_gradients(ctx.reference, inputs, gradients)
        x_BTD, gain_D, _, W_GD, b_G = inputs
        d_qkv_YG, sums_BG = x_BTD.new_empty(len(x_YD), len(b_G)), x_BTD.new_empty(len(x_BTD), len(b_G))
        _move(d_qkv_YG, sums_BG, gradients, ctx.rotary_TJ, back=True)
        d_W_GD = (normal_YD.T @ d_qkv_YG).T
        d_x_YD, sums_2D = denormalise(d_qkv_YG @ W_GD, x_YD, moments_YM, gain_D)
        return None, None, None, d_x_YD.view_as(x_BTD), sums_2D[0], sums_2D[1], d_W_GD, sums_BG.sum(0)


def _move(qkv_YG: Tensor, bias: Tensor, parts: tuple[Tensor, ...], rotary_TJ: Tensor | None, back: bool) -> None:
    B, N, T, K = parts[0].shape
    rotary = None if rotary_TJ is None else torch.view_as_real(rotary_TJ)
    q, k, v = parts
    arguments = Move(qkv=qkv_YG, bias=bias, q=q, k=k, v=v, rotary=rotary, back=back, T=T, N=N, K=K)
    run_rows(move_rows, arguments, B, qkv_YG.numel())


def project(reference: Reference, heads: int, rotary_TJ: Tensor | None, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return q, k and v (B, N, T, K), by `Heads`.

    Args:
        reference: Function of `inputs` that computes the same results in plain torch. Second derivatives use it.
        heads: Number of heads, N.
        rotary_TJ: Complex rotary factors, (T, K / 2), or None for no rotation.
        inputs: x (B, T, D), gain and offset of the norm (D,), W (3D, D) and b (3D,).
    """
    parts: tuple[Tensor, ...] = Heads.apply(reference, heads, rotary_TJ, *inputs)  # type: ignore[no-untyped-call]
    return parts
