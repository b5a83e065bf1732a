"""Causal attention over whole sequences: (3) of `arch/transformer.py` without window and bias, and its derivatives.

d· is the derivative of the loss with respect to ·. For each t, `top` is the maximum of l over s ≤ t. `total` is the
sum of e^(l - top) over the same s.

    l = q·k / √K,  p = e^(l - top) / total,  a_t = Σ_s p_ts v_s                    (1)
    dp = da·v,  dl = p (dp - da·a)                                                 (2)
    dq_t = Σ_s dl_ts k_s / √K,  dk_s = Σ_t dl_ts q_t / √K,  dv_s = Σ_t p_ts da_t   (3)

A thread processes one head at a time. The head's numbers are copied into rows padded with zeros to whole vectors and
tiles. These copies are reused for all steps of the head. Only the current rows of p are stored. The backward pass
recomputes p.
"""

# Shape suffixes: B batch, T time, D model width, N heads, K head width

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from llvmlite import ir
from numba import njit
from numba.core import types
from torch import Tensor

from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.runtime.launch import Reference, needs_reference, reference_gradients, run_rows, without_autocast
from arch.kernels.simd.activation import exp
from arch.kernels.simd.matmul import ROWS, tile_rows, tile_rows_more
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.reduction import lane_max, lane_sum
from arch.kernels.simd.scratch import empty
from arch.kernels.simd.vector import (
    BITS,
    LANES,
    address,
    first_or,
    fma,
    instruction,
    larger,
    load,
    load_first,
    read,
    splat,
    store,
    store_first,
    write,
)

MIN_EXPONENT = -87.0
"""Lower limit of exponents, because `exp` needs |x| ≤ 87. e^-87 is negligible."""
GROUP = 64
"""Number of rows of p and dl that the backward pass stores at a time, for the products (3)."""


@instruction
def transpose(
    typing: Any, source: types.Array, at: types.Integer, stride: types.Integer, target: types.Array, to: types.Integer
) -> Any:
    """Write the transpose of LANES rows of LANES numbers of `source` contiguously to `target`.

    Arrays are float32. Offsets and strides count array elements.

    Args:
        typing: Numba's typing context.
        source: Array of the rows, (LANES, LANES).
        at, stride: Offset and row stride in `source`.
        target: Array of the result, (LANES, LANES).
        to: Offset of the result.
    """

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        index, lanes = values[1].type, range(LANES)
        begin = address(context, builder, kind.args[0], *values[:2])
        rows = [read(builder, builder.gep(begin, [builder.mul(values[2], ir.Constant(index, lane))])) for lane in lanes]
        apart = LANES // 2
        while apart:  # swap blocks of `apart` numbers across the diagonal
            low = ir.Constant(BITS, [lane if lane & apart == 0 else LANES + lane - apart for lane in lanes])
            high = ir.Constant(BITS, [lane + apart if lane & apart == 0 else LANES + lane for lane in lanes])
            for lane in lanes:
                if lane & apart == 0:
                    one, other = rows[lane], rows[lane + apart]
                    rows[lane] = builder.shuffle_vector(one, other, low)
                    rows[lane + apart] = builder.shuffle_vector(one, other, high)
            apart //= 2
        end = address(context, builder, kind.args[3], *values[3:])
        for lane, row in enumerate(rows):
            write(builder, row, builder.gep(end, [ir.Constant(index, lane * LANES)]))
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, target, types.intp), lower


@njit
def pad(source, at, stride, T, K, target, T_pad, K_pad):  # type: ignore[no-untyped-def]
    """Copy T rows of K numbers into `T_pad` rows of `K_pad` numbers, padded with zeros.

    Arrays are float32. Offsets and strides count array elements.

    Args:
        source: Array of the rows, (T, K).
        at, stride: Offset and row stride in `source`.
        T, K: Shape of the source.
        target: Array of the result, (T_pad, K_pad), from offset 0 on.
        T_pad, K_pad: Shape of the result. `K_pad` is a multiple of LANES.
    """
    for t in range(T_pad):
        for unit in range(0, K_pad, LANES):
            count = K - unit if t < T else 0
            store(target, t * K_pad + unit, load_first(source, at + t * stride + unit, count))


@njit
def pack_transposed_rows(source, T_pad, K_pad, target):  # type: ignore[no-untyped-def]
    """Pack the transpose of `source` into panels of LANES columns, and write them to `target`.

    Args:
        source: Array of the rows, float32 numbers, (T_pad, K_pad).
        T_pad, K_pad: Shape of `source`, multiples of LANES.
        target: Array of the panels, float32 numbers, (T_pad / LANES, K_pad, LANES).
    """
    for t in range(0, T_pad, LANES):
        for unit in range(0, K_pad, LANES):
            transpose(source, t * K_pad + unit, K_pad, target, t * K_pad + unit * LANES)


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        q, k, v: Queries, keys and values, (B, N, T, K).
        result: Attention output a, (B, T, N · K), written.
        moments: Receives top and 1 / total of each query, (B, N, T, 2).
        T, N, K: Steps, heads, head width.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    result: Tensor
    moments: Tensor
    T: int
    N: int
    K: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        q, k, v: Queries, keys and values, (B, N, T, K).
        result, moments: What `forward_rows` wrote, (B, T, N · K) and (B, N, T, 2).
        d_result: Gradient of `result`, (B, T, N · K).
        d_q, d_k, d_v: Gradients of q, k and v, (B, N, T, K), written.
        T, N, K: Steps, heads, head width.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    result: Tensor
    moments: Tensor
    d_result: Tensor
    d_q: Tensor
    d_k: Tensor
    d_v: Tensor
    T: int
    N: int
    K: int


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write attention (1) for heads `first` to `last`, out of B · N heads, for the `Forward` at address `record`."""
    args = arguments_at(record, Forward)
    T, N, K = args.T, args.N, args.K
    queries, keys, values = floats(args.q), floats(args.k), floats(args.v)
    results, moments = floats(args.result), floats(args.moments)
    T_pad, K_pad = -(-T // LANES) * LANES, -(-K // LANES) * LANES
    q_rows, k_panels = empty(T_pad * K_pad), empty(T_pad * K_pad)
    v_rows, out = empty(T_pad * K_pad), empty(ROWS * K_pad)
    p = empty(ROWS * T_pad)
    scale = splat(np.float32(1 / math.sqrt(K)))
    for head in range(first, last):
        pad(keys, head * T * K, K, T, K, v_rows, T_pad, K_pad)
        pack_transposed_rows(v_rows, T_pad, K_pad, k_panels)
        pad(queries, head * T * K, K, T, K, q_rows, T_pad, K_pad)
        pad(values, head * T * K, K, T, K, v_rows, T_pad, K_pad)
        result_at = (head // N * T * N + head % N) * K
        for start in range(0, T, ROWS):
            seen = start + ROWS
            panels = -(-seen // LANES)
            tile_rows(
                p,
                0,
                T_pad,
                q_rows,
                start * K_pad,
                K_pad,
                k_panels,
                0,
                K_pad * LANES,
                LANES,
                K_pad,
                panels,
            )
            for t in range(start, min(seen, T)):
                row = (t - start) * T_pad
                highest = splat(-np.inf)
                for s in range(0, t + 1, LANES):
                    highest = larger(highest, first_or(load(p, row + s), t + 1 - s, splat(-np.inf)))
                top = splat(lane_max(highest)) * scale
                sums = splat(0.0)
                for s in range(0, panels * LANES, LANES):
                    weight = exp(larger(fma(load(p, row + s), scale, -top), splat(MIN_EXPONENT)))
                    weight = first_or(weight, t + 1 - s, splat(0.0))
                    store(p, row + s, weight)
                    sums += weight
                moments[2 * (head * T + t)] = lane_max(top)
                moments[2 * (head * T + t) + 1] = np.float32(1) / lane_sum(sums)
            tile_rows(out, 0, K_pad, p, 0, T_pad, v_rows, 0, LANES, K_pad, seen, K_pad // LANES)
            for t in range(start, min(seen, T)):
                share = splat(moments[2 * (head * T + t) + 1])
                for unit in range(0, K, LANES):
                    value = load(out, (t - start) * K_pad + unit) * share
                    store_first(results, result_at + t * N * K + unit, K - unit, value)  # (1)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the gradients (3) for heads `first` to `last`, out of B · N heads, for the `Backward` at `record`."""
    args = arguments_at(record, Backward)
    T, N, K = args.T, args.N, args.K
    queries, keys, values = floats(args.q), floats(args.k), floats(args.v)
    results, moments, d_results = floats(args.result), floats(args.moments), floats(args.d_result)
    d_queries, d_keys, d_values = floats(args.d_q), floats(args.d_k), floats(args.d_v)
    T_pad, K_pad = -(-T // LANES) * LANES, -(-K // LANES) * LANES
    q_rows, k_rows = empty(T_pad * K_pad), empty(T_pad * K_pad)
    d_rows, out = empty(T_pad * K_pad), empty(ROWS * K_pad)
    k_panels, v_panels = empty(T_pad * K_pad), empty(T_pad * K_pad)
    d_k_rows, d_v_rows = empty(T_pad * K_pad), empty(T_pad * K_pad)
    stride = T_pad + LANES  # one vector more, because columns at power-of-two strides share few cache sets
    p, d_l = empty(GROUP * stride), empty(GROUP * stride)
    scale = splat(np.float32(1 / math.sqrt(K)))
    whole = K_pad // LANES
    for head in range(first, last):
        pad(values, head * T * K, K, T, K, k_rows, T_pad, K_pad)
        pack_transposed_rows(k_rows, T_pad, K_pad, v_panels)
        pad(keys, head * T * K, K, T, K, k_rows, T_pad, K_pad)
        pack_transposed_rows(k_rows, T_pad, K_pad, k_panels)
        pad(queries, head * T * K, K, T, K, q_rows, T_pad, K_pad)
        result_at = (head // N * T * N + head % N) * K
        pad(d_results, result_at, N * K, T, K, d_rows, T_pad, K_pad)
        d_k_rows[:] = 0
        d_v_rows[:] = 0
        for begin in range(0, T, GROUP):
            end = min(begin + GROUP, -(-T // ROWS) * ROWS)
            for start in range(begin, end, ROWS):
                seen, here = start + ROWS, (start - begin) * stride
                panels = -(-seen // LANES)
                at = start * K_pad
                tile_rows(p, here, stride, q_rows, at, K_pad, k_panels, 0, K_pad * LANES, LANES, K_pad, panels)
                tile_rows(d_l, here, stride, d_rows, at, K_pad, v_panels, 0, K_pad * LANES, LANES, K_pad, panels)
                for t in range(start, seen):
                    row = here + (t - start) * stride
                    seen_now = t + 1 if t < T else 0
                    top, share, along = splat(0.0), splat(0.0), splat(0.0)
                    if t < T:
                        top, share = splat(moments[2 * (head * T + t)]), splat(moments[2 * (head * T + t) + 1])
                        for unit in range(0, K, LANES):
                            a = load_first(results, result_at + t * N * K + unit, K - unit)
                            along = fma(a, load(d_rows, t * K_pad + unit), along)
                        along = splat(lane_sum(along))
                    for s in range(0, panels * LANES, LANES):
                        exponent = larger(fma(load(p, row + s), scale, -top), splat(MIN_EXPONENT))
                        weight = exp(exponent) * share
                        slope = weight * (load(d_l, row + s) - along) * scale  # (2)
                        store(p, row + s, first_or(weight, seen_now - s, splat(0.0)))
                        store(d_l, row + s, first_or(slope, seen_now - s, splat(0.0)))
                tile_rows(out, 0, K_pad, d_l, here, stride, k_rows, 0, LANES, K_pad, seen, whole)
                for t in range(start, min(seen, T)):
                    for unit in range(0, K, LANES):
                        value = load(out, (t - start) * K_pad + unit)
                        store_first(d_queries, (head * T + t) * K + unit, K - unit, value)  # (3)
            for s in range(0, end, ROWS):
                t = max(begin, s)
                column, depth = (t - begin) * stride + s, end - t
                tile_rows_more(d_k_rows, s * K_pad, K_pad, d_l, column, stride, q_rows, t * K_pad, K_pad, depth, whole)
                tile_rows_more(d_v_rows, s * K_pad, K_pad, p, column, stride, d_rows, t * K_pad, K_pad, depth, whole)
        for t in range(T):
            for unit in range(0, K, LANES):
                at = (head * T + t) * K + unit
                store_first(d_keys, at, K - unit, load(d_k_rows, t * K_pad + unit))
                store_first(d_values, at, K - unit, load(d_v_rows, t * K_pad + unit))


class Attention(torch.autograd.Function):
    """The map from q, k and v (B, N, T, K) to the attention output (B, T, D)."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, *inputs: Tensor) -> Tensor:
        B, N, T, K = inputs[0].shape
        result_BTD, moments = inputs[0].new_empty(B, T, N * K), inputs[0].new_empty(B, N, T, 2)
        q, k, v = inputs
        arguments = Forward(q=q, k=k, v=v, result=result_BTD, moments=moments, T=T, N=N, K=K)
        run_rows(forward_rows, arguments, B * N, B * N * T * T * K)
        ctx.reference = reference
        ctx.save_for_backward(*inputs, result_BTD, moments)
        return result_BTD

    @staticmethod
    @without_autocast
    def backward(ctx: Any, d_result_BTD: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, result_BTD, moments = ctx.saved_tensors
        if needs_reference(d_result_BTD):
            return None, *reference_gradients(ctx.reference, inputs, [d_result_BTD])
        B, N, T, K = inputs[0].shape
        q, k, v = inputs
        d_q, d_k, d_v = gradients = [part.new_empty(B, N, T, K) for part in inputs]
        arguments = Backward(
            q=q,
            k=k,
            v=v,
            result=result_BTD,
            moments=moments,
            d_result=d_result_BTD,
            d_q=d_q,
            d_k=d_k,
            d_v=d_v,
            T=T,
            N=N,
            K=K,
        )
        run_rows(backward_rows, arguments, B * N, B * N * T * T * K)
        return None, *gradients


def attend(q_BNTK: Tensor, k_BNTK: Tensor, v_BNTK: Tensor) -> Tensor:
    """Return the attention output (B, T, D), by `Attention`."""
    result_BTD: Tensor = Attention.apply(_causal, q_BNTK, k_BNTK, v_BNTK)  # type: ignore[no-untyped-call]
    return result_BTD


def _causal(q_BNTK: Tensor, k_BNTK: Tensor, v_BNTK: Tensor) -> tuple[Tensor]:
    """Return what `attend` returns, by plain torch. Second derivatives use it."""
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        attended_BNTK = torch.nn.functional.scaled_dot_product_attention(q_BNTK, k_BNTK, v_BNTK, is_causal=True)
    return (attended_BNTK.transpose(1, 2).flatten(2),)
