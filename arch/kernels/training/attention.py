"""Causal attention of whole sequences: equation (3) of `arch/transformer.py` without a bias, and its derivatives.

    l = q·k / √K,  p = e^(l - top) / total,  a_t = Σ_s p_ts v_s            (1)  top, total: of row t, over s ≤ t
    dp = da·v,  dl = p (dp - da·a)                                         (2)
    dq_t = Σ_s dl_ts k_s / √K,  dk_s = Σ_t dl_ts q_t / √K,  dv_s = Σ_t p_ts da_t   (3)

One head is one task of a thread. Its numbers are copied into rows that are padded with zeros to whole
vectors and tiles, which stay in the cache; of p only the rows at hand exist, and the way back computes them again.
"""

# Shape suffixes: B batch, T time, D model width, N heads, K head width

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import int64, njit, void
from numba.core import types
from torch import Tensor

from arch.kernels.runtime.jit import kernel
from arch.kernels.runtime.launch import Reference, run_rows, through_reference
from arch.kernels.simd.activation import exponential
from arch.kernels.simd.matmul import ROWS, eight_rows, eight_rows_more
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.vector import (
    BITS,
    LANES,
    address,
    first_or,
    fused,
    instruction,
    lane_max,
    lane_sum,
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
"""e^x is 0 to every purpose from here down."""
GROUP = 64
"""Rows whose p and dl are held at once on the way back, for the products (3) that run over them."""


@instruction
def transpose(
    typing: Any, source: types.Array, at: types.Integer, stride: types.Integer, target: types.Array, to: types.Integer
) -> Any:
    """LANES rows of LANES numbers, `stride` apart, as columns; these lie one after the other."""

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        index, lanes = values[1].type, range(LANES)
        begin = address(context, builder, kind.args[0], *values[:2])
        rows = [read(builder, builder.gep(begin, [builder.mul(values[2], ir.Constant(index, lane))])) for lane in lanes]
        apart = LANES // 2
        while apart:  # blocks of `apart` numbers change places across the diagonal
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
def padded(source, at, stride, T, K, target, room, wide):  # type: ignore[no-untyped-def]
    """T rows of K numbers, `stride` apart, as `room` rows of `wide`."""
    for t in range(room):
        for unit in range(0, wide, LANES):
            count = K - unit if t < T else 0
            store(target, t * wide + unit, load_first(source, at + t * stride + unit, count))


@njit
def packed(source, room, wide, target):  # type: ignore[no-untyped-def]
    """The panels, each LANES columns, of the transpose of `room` rows of `wide` numbers."""
    for t in range(0, room, LANES):
        for unit in range(0, wide, LANES):
            transpose(source, t * wide + unit, wide, target, t * wide + unit * LANES)


@kernel(void(*[int64] * 10))
def forward_rows(q, k, v, result, kept, T, N, K, first, last):  # type: ignore[no-untyped-def]
    """Heads `first` to `last` of B · N: from q, k, v (B, N, T, K) the result (B, T, N, K).

    Keeps top / √K and 1 / total of each row, (B, N, T, 2).
    """
    queries, keys, values, results, moments = floats(q), floats(k), floats(v), floats(result), floats(kept)
    room, wide = -(-T // LANES) * LANES, -(-K // LANES) * LANES
    q_rows, k_panels = np.empty(room * wide, np.float32), np.empty(room * wide, np.float32)
    v_rows, out = np.empty(room * wide, np.float32), np.empty(ROWS * wide, np.float32)
    p = np.empty(ROWS * room, np.float32)
    scale = splat(np.float32(1 / math.sqrt(K)))
    for head in range(first, last):
        padded(keys, head * T * K, K, T, K, v_rows, room, wide)
        packed(v_rows, room, wide, k_panels)
        padded(queries, head * T * K, K, T, K, q_rows, room, wide)
        padded(values, head * T * K, K, T, K, v_rows, room, wide)
        result_at = (head // N * T * N + head % N) * K
        for start in range(0, T, ROWS):
            seen = start + ROWS
            panels = -(-seen // LANES)
            eight_rows(p, 0, room, q_rows, start * wide, wide, k_panels, 0, wide * LANES, LANES, wide, panels)
            for t in range(start, min(seen, T)):
                row = (t - start) * room
                highest = splat(-np.inf)
                for s in range(0, t + 1, LANES):
                    highest = larger(highest, first_or(load(p, row + s), t + 1 - s, splat(-np.inf)))
                top = splat(lane_max(highest)) * scale
                sums = splat(0.0)
                for s in range(0, panels * LANES, LANES):
                    weight = exponential(larger(fused(load(p, row + s), scale, -top), splat(MIN_EXPONENT)))
                    weight = first_or(weight, t + 1 - s, splat(0.0))
                    store(p, row + s, weight)
                    sums += weight
                moments[2 * (head * T + t)] = lane_max(top)
                moments[2 * (head * T + t) + 1] = np.float32(1) / lane_sum(sums)
            eight_rows(out, 0, wide, p, 0, room, v_rows, 0, LANES, wide, seen, wide // LANES)
            for t in range(start, min(seen, T)):
                share = splat(moments[2 * (head * T + t) + 1])
                for unit in range(0, K, LANES):
                    value = load(out, (t - start) * wide + unit) * share
                    store_first(results, result_at + t * N * K + unit, K - unit, value)  # (1)


@kernel(void(*[int64] * 14))
def backward_rows(q, k, v, result, kept, d_result, d_q, d_k, d_v, T, N, K, first, last):  # type: ignore[no-untyped-def]
    """Heads `first` to `last` of B · N: from what `forward_rows` read and wrote, d_q, d_k, d_v (B, N, T, K)."""
    queries, keys, values, results, moments = floats(q), floats(k), floats(v), floats(result), floats(kept)
    d_results, d_queries, d_keys, d_values = floats(d_result), floats(d_q), floats(d_k), floats(d_v)
    room, wide = -(-T // LANES) * LANES, -(-K // LANES) * LANES
    q_rows, k_rows = np.empty(room * wide, np.float32), np.empty(room * wide, np.float32)
    d_rows, out = np.empty(room * wide, np.float32), np.empty(ROWS * wide, np.float32)
    k_panels, v_panels = np.empty(room * wide, np.float32), np.empty(room * wide, np.float32)
    d_k_rows, d_v_rows = np.empty(room * wide, np.float32), np.empty(room * wide, np.float32)
    stride = room + LANES  # apart from powers of two, whose columns would share few places of the cache
    p, d_l = np.empty(GROUP * stride, np.float32), np.empty(GROUP * stride, np.float32)
    scale = splat(np.float32(1 / math.sqrt(K)))
    whole = wide // LANES
    for head in range(first, last):
        padded(values, head * T * K, K, T, K, k_rows, room, wide)
        packed(k_rows, room, wide, v_panels)
        padded(keys, head * T * K, K, T, K, k_rows, room, wide)
        packed(k_rows, room, wide, k_panels)
        padded(queries, head * T * K, K, T, K, q_rows, room, wide)
        result_at = (head // N * T * N + head % N) * K
        padded(d_results, result_at, N * K, T, K, d_rows, room, wide)
        d_k_rows[:] = 0
        d_v_rows[:] = 0
        for begin in range(0, T, GROUP):
            end = min(begin + GROUP, -(-T // ROWS) * ROWS)
            for start in range(begin, end, ROWS):
                seen, here = start + ROWS, (start - begin) * stride
                panels = -(-seen // LANES)
                at = start * wide
                eight_rows(p, here, stride, q_rows, at, wide, k_panels, 0, wide * LANES, LANES, wide, panels)
                eight_rows(d_l, here, stride, d_rows, at, wide, v_panels, 0, wide * LANES, LANES, wide, panels)
                for t in range(start, seen):
                    row = here + (t - start) * stride
                    seen_now = t + 1 if t < T else 0
                    top, share, along = splat(0.0), splat(0.0), splat(0.0)
                    if t < T:
                        top, share = splat(moments[2 * (head * T + t)]), splat(moments[2 * (head * T + t) + 1])
                        for unit in range(0, K, LANES):
                            a = load_first(results, result_at + t * N * K + unit, K - unit)
                            along = fused(a, load(d_rows, t * wide + unit), along)
                        along = splat(lane_sum(along))
                    for s in range(0, panels * LANES, LANES):
                        exponent = larger(fused(load(p, row + s), scale, -top), splat(MIN_EXPONENT))
                        weight = exponential(exponent) * share
                        slope = weight * (load(d_l, row + s) - along) * scale  # (2)
                        store(p, row + s, first_or(weight, seen_now - s, splat(0.0)))
                        store(d_l, row + s, first_or(slope, seen_now - s, splat(0.0)))
                eight_rows(out, 0, wide, d_l, here, stride, k_rows, 0, LANES, wide, seen, whole)
                for t in range(start, min(seen, T)):
                    for unit in range(0, K, LANES):
                        value = load(out, (t - start) * wide + unit)
                        store_first(d_queries, (head * T + t) * K + unit, K - unit, value)  # (3)
            for s in range(0, end, ROWS):
                t = max(begin, s)
                column, depth = (t - begin) * stride + s, end - t
                eight_rows_more(d_k_rows, s * wide, wide, d_l, column, stride, q_rows, t * wide, wide, depth, whole)
                eight_rows_more(d_v_rows, s * wide, wide, p, column, stride, d_rows, t * wide, wide, depth, whole)
        for t in range(T):
            for unit in range(0, K, LANES):
                at = (head * T + t) * K + unit
                store_first(d_keys, at, K - unit, load(d_k_rows, t * wide + unit))
                store_first(d_values, at, K - unit, load(d_v_rows, t * wide + unit))


class Attention(torch.autograd.Function):
    """a (B, T, D) from q, k and v (B, N, T, K)."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, *inputs: Tensor) -> Tensor:
        B, N, T, K = inputs[0].shape
        result_BTD, moments = inputs[0].new_empty(B, T, N * K), inputs[0].new_empty(B, N, T, 2)
        run_rows(forward_rows, (*inputs, result_BTD, moments), (T, N, K, B * N), B * N * T * T * K)
        ctx.reference = reference
        ctx.save_for_backward(*inputs, result_BTD, moments)
        return result_BTD

    @staticmethod
    def backward(ctx: Any, d_result_BTD: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, result_BTD, moments = ctx.saved_tensors
        if torch.is_grad_enabled():
            return None, *through_reference(ctx.reference, inputs, [d_result_BTD])
        B, N, T, K = inputs[0].shape
        gradients = [part.new_empty(B, N, T, K) for part in inputs]
        tensors = (*inputs, result_BTD, moments, d_result_BTD, *gradients)
        run_rows(backward_rows, tensors, (T, N, K, B * N), B * N * T * T * K)
        return None, *gradients


def attend(reference: Reference, *inputs: Tensor) -> Tensor:
    """See `Attention`. `reference` is the same function by torch, for derivatives of derivatives."""
    result_BTD: Tensor = Attention.apply(reference, *inputs)  # type: ignore[no-untyped-call]
    return result_BTD
