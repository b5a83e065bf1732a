"""A causal depthwise convolution over four steps: equation (1) of `arch/core/block.py`, and its derivatives.

    c_t  = b + Σ_k w_k ⊙ u_(t-3+k)             (1)
    du_t = Σ_k w_k ⊙ dc_(t+3-k)                (2)  dc is 0 after the last step
    dw_k = Σ_t dc_t ⊙ u_(t-3+k),  db = Σ_t dc_t   (3)

d· is the derivative of the loss with respect to ·. The inputs of four steps stay in registers, and so do the gradients.
Sequences lie in memory with the batch first or with the time first. The result lies as its input does.
"""

# Shape suffixes: X, Y batch and time in either order, B batch, T time, K taps, D channels

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from numba import njit
from torch import Tensor

from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.runtime.launch import (
    CONTIGUOUS,
    Reference,
    needs_reference,
    reference_gradients,
    run_rows,
    sum_rows,
    without_autocast,
)
from arch.kernels.simd.matmul import ROWS
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.vector import LANES, fma, load_first, splat, store_first

TAPS = 4
"""Number of steps that the convolution reads, including the current one."""


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        u: Inputs, (B, T, D) or (T, B, D).
        before: Inputs of the three steps before, (B, 3, D), oldest first.
        w, bias: Filters (4, D), oldest input first, and bias (D,).
        result: c, in the layout of `u`, written.
        T, D: Steps and channels.
        row_stride, step_stride: Distances between rows of the batch and between steps in `u`, in units of D.
    """

    u: Tensor
    before: Tensor
    w: Tensor
    bias: Tensor
    result: Tensor
    T: int
    D: int
    row_stride: int
    step_stride: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        u, before, w, T, D, row_stride, step_stride: As for `Forward`.
        d_result: Gradient of c, in the layout of `u`.
        d_u, d_before: Gradients of `u` and `before`, written.
        sums: Gradients of the filters, then of the bias, (5, D), added to. `sum_rows` sets it for each share.
    """

    u: Tensor
    before: Tensor
    w: Tensor
    d_result: Tensor
    d_u: Tensor
    d_before: Tensor
    sums: Tensor | None
    T: int
    D: int
    row_stride: int
    step_stride: int


@njit(forceinline=True)
def _input(u, before, row, t, d, args):  # type: ignore[no-untyped-def]
    """Return the input of a row at step `t` for channels from `d` on. Steps below 0 are those of `before`."""
    D = args.D
    if t < 0:
        return load_first(before, (row * (TAPS - 1) + TAPS - 1 + t) * D + d, D - d)
    return load_first(u, (row * args.row_stride + t * args.step_stride) * D + d, D - d)


@njit(forceinline=True)
def _filters(w, d, D):  # type: ignore[no-untyped-def]
    """Return the filters of LANES channels, that of the current input last."""
    count = D - d
    w_3, w_2 = load_first(w, d, count), load_first(w, D + d, count)
    return w_3, w_2, load_first(w, 2 * D + d, count), load_first(w, 3 * D + d, count)


@njit(forceinline=True)
def _add(sums, at, count, value):  # type: ignore[no-untyped-def]
    store_first(sums, at, count, load_first(sums, at, count) + value)


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the results of rows `first` to `last` of the batch."""
    args = arguments_at(record, Forward)
    T, D = args.T, args.D
    u, before, w, biases = floats(args.u), floats(args.before), floats(args.w), floats(args.bias)
    result = floats(args.result)
    for row in range(first, last):
        for d in range(0, D, LANES):
            count, bias = D - d, load_first(biases, d, D - d)
            w_3, w_2, w_1, w_0 = _filters(w, d, D)
            u_3, u_2 = _input(u, before, row, -3, d, args), _input(u, before, row, -2, d, args)
            u_1 = _input(u, before, row, -1, d, args)
            for t in range(T):
                at = (row * args.row_stride + t * args.step_stride) * D + d
                now = load_first(u, at, count)
                total = fma(w_0, now, fma(w_1, u_1, fma(w_2, u_2, fma(w_3, u_3, bias))))  # (1)
                store_first(result, at, count, total)
                u_3, u_2, u_1 = u_2, u_1, now


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write `d_u` and `d_before`, and add to `sums`, for rows `first` to `last` of the batch."""
    args = arguments_at(record, Backward)
    T, D = args.T, args.D
    u, before, w, d_result = floats(args.u), floats(args.before), floats(args.w), floats(args.d_result)
    d_u, d_before, sums = floats(args.d_u), floats(args.d_before), floats(args.sums)
    for row in range(first, last):
        for d in range(0, D, LANES):
            count, zero = D - d, splat(0.0)
            w_3, w_2, w_1, w_0 = _filters(w, d, D)
            dw_3 = dw_2 = dw_1 = dw_0 = db = zero
            dc_1 = dc_2 = dc_3 = zero  # the gradients of the next three steps
            now = _input(u, before, row, T - 1, d, args)
            u_1, u_2 = _input(u, before, row, T - 2, d, args), _input(u, before, row, T - 3, d, args)
            for t in range(T - 1, -1, -1):
                u_3 = _input(u, before, row, t - 3, d, args)
                at = (row * args.row_stride + t * args.step_stride) * D + d
                dc = load_first(d_result, at, count)
                store_first(d_u, at, count, fma(w_0, dc, fma(w_1, dc_1, fma(w_2, dc_2, w_3 * dc_3))))  # (2)
                dw_3, dw_2 = fma(dc, u_3, dw_3), fma(dc, u_2, dw_2)  # (3)
                dw_1, dw_0 = fma(dc, u_1, dw_1), fma(dc, now, dw_0)
                db += dc
                dc_3, dc_2, dc_1 = dc_2, dc_1, dc
                now, u_1, u_2 = u_1, u_2, u_3
            oldest = row * (TAPS - 1) * D + d
            store_first(d_before, oldest, count, w_3 * dc_1)  # (2) for the steps before the first one
            store_first(d_before, oldest + D, count, fma(w_2, dc_1, w_3 * dc_2))
            store_first(d_before, oldest + 2 * D, count, fma(w_1, dc_1, fma(w_2, dc_2, w_3 * dc_3)))
            _add(sums, d, count, dw_3)
            _add(sums, D + d, count, dw_2)
            _add(sums, 2 * D + d, count, dw_1)
            _add(sums, 3 * D + d, count, dw_0)
            _add(sums, 4 * D + d, count, db)


def _sizes(u_XYD: Tensor, time: int) -> dict[str, int]:
    """Return T, D and the strides of inputs whose dimension `time` is the time, and which are contiguous."""
    X, Y, D = u_XYD.shape
    if time == 0:
        return {"T": X, "D": D, "row_stride": 1, "step_stride": Y}
    return {"T": Y, "D": D, "row_stride": Y, "step_stride": 1}


class Convolution(torch.autograd.Function):
    """The map from u (B, T, D) or (T, B, D), the inputs before (B, 3, D), w (4, D) and b (D,) to c."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, time: int, *inputs: Tensor) -> Tensor:
        u_XYD, before_BKD, w_KD, bias_D = inputs
        result_XYD = torch.empty_like(u_XYD, memory_format=CONTIGUOUS)
        arguments = Forward(u=u_XYD, before=before_BKD, w=w_KD, bias=bias_D, result=result_XYD, **_sizes(u_XYD, time))
        run_rows(forward_rows, arguments, len(before_BKD), u_XYD.numel(), ROWS)
        ctx.reference, ctx.time = reference, time
        ctx.save_for_backward(*inputs)
        return result_XYD

    @staticmethod
    @without_autocast
    def backward(ctx: Any, d_result_XYD: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        if needs_reference(d_result_XYD):
            return None, None, *reference_gradients(ctx.reference, inputs, [d_result_XYD])
        u_XYD, before_BKD, w_KD, _ = inputs
        d_u_XYD = torch.empty_like(u_XYD, memory_format=CONTIGUOUS)
        d_before_BKD = torch.empty_like(before_BKD, memory_format=CONTIGUOUS)
        arguments = Backward(
            u=u_XYD,
            before=before_BKD,
            w=w_KD,
            d_result=d_result_XYD,
            d_u=d_u_XYD,
            d_before=d_before_BKD,
            sums=None,
            **_sizes(u_XYD, ctx.time),
        )
        sums = sum_rows(backward_rows, arguments, len(before_BKD), u_XYD.numel(), (TAPS + 1, u_XYD.shape[2]))
        return None, None, d_u_XYD, d_before_BKD, sums[:TAPS], sums[TAPS]


def convolve(reference: Reference, time: int, *inputs: Tensor) -> Tensor:
    """Return c in the layout of u, by `Convolution`.

    Args:
        reference: Function of `inputs` that computes the same result in plain torch. Second derivatives use it.
        time: The dimension of u that is the time, 0 or 1.
        inputs: u (B, T, D) or (T, B, D), the inputs before (B, 3, D), the filters (4, D) and the bias (D,).
    """
    result_XYD: Tensor = Convolution.apply(reference, time, *inputs)  # type: ignore[no-untyped-call]
    return result_XYD
