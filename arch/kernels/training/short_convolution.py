"""A causal depthwise convolution over four steps followed by SiLU: equation (2) of `arch/mamba.py`, and derivatives.

p is the sum before SiLU. d· is the derivative of the loss with respect to ·:

    dp   = dc silu'(p)                                    (1)
    du_t = Σ_k w_k dp_(t+3-k)                             (2)  dp is 0 after the last step
    dw_k = Σ_t dp_t u_(t-3+k),  db = Σ_t dp_t             (3)

The backward pass computes p again from u. All inputs and gradients of a window of four steps stay in registers.
"""

# Shape suffixes: B batch, T time, K taps, E channels

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from numba import njit
from torch import Tensor

from arch.kernels.cells.state_space import convolved
from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.runtime.launch import (
    Reference,
    needs_reference,
    reference_gradients,
    run_rows,
    sum_rows,
    without_autocast,
)
from arch.kernels.simd.activation import silu, silu_slope
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.vector import LANES, fma, load_first, splat, store_first
from arch.kernels.training.layer_norm import add_first

TAPS = 4
"""Number of steps that the convolution reads, including the current one."""


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        u, before: Inputs (B, T, E), and those of the three steps before, (B, 3, E).
        w, bias: Filters (4, E), oldest input first, and bias (E,).
        result: c, (B, T, E), written.
        T, E: Steps and channels.
    """

    u: Tensor
    before: Tensor
    w: Tensor
    bias: Tensor
    result: Tensor
    T: int
    E: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        u, before, w, bias: As for `Forward`.
        d_result: Gradient of c, (B, T, E).
        d_u, d_before: Gradients of `u` and `before`, written.
        sums: Gradients of the filters, then of the bias, (5, E), added to. `sum_rows` sets it for each share.
        T, E: Steps and channels.
    """

    u: Tensor
    before: Tensor
    w: Tensor
    bias: Tensor
    d_result: Tensor
    d_u: Tensor
    d_before: Tensor
    sums: Tensor | None
    T: int
    E: int


@njit(forceinline=True)
def _input(u, before, b, t, T, E, e):  # type: ignore[no-untyped-def]
    """Return the input of step `t` of row `b`, channels from `e` on. Steps below 0 are those of `before`."""
    if t < 0:
        return load_first(before, (b * (TAPS - 1) + TAPS - 1 + t) * E + e, E - e)
    return load_first(u, (b * T + t) * E + e, E - e)


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the results of rows `first` to `last` of the batch, for the `Forward` at the address `record`."""
    args = arguments_at(record, Forward)
    T, E = args.T, args.E
    u, before, w, biases, result = (
        floats(args.u),
        floats(args.before),
        floats(args.w),
        floats(args.bias),
        floats(args.result),
    )
    for e in range(0, E, LANES):
        count, bias = E - e, load_first(biases, e, E - e)
        filters = (
            load_first(w, e, count),
            load_first(w, E + e, count),
            load_first(w, 2 * E + e, count),
            load_first(w, 3 * E + e, count),
        )
        for b in range(first, last):
            oldest = b * (TAPS - 1) * E + e
            u_3, u_2 = load_first(before, oldest, count), load_first(before, oldest + E, count)
            u_1 = load_first(before, oldest + 2 * E, count)
            for t in range(T):
                at = (b * T + t) * E + e
                now = load_first(u, at, count)
                store_first(result, at, count, silu(convolved(filters, bias, u_3, u_2, u_1, now)))
                u_3, u_2, u_1 = u_2, u_1, now


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write `d_u` and `d_before`, and add to `sums`, for rows `first` to `last` of the batch.

    The `Backward` is at the address `record`.
    """
    args = arguments_at(record, Backward)
    T, E = args.T, args.E
    u, before, w, biases = floats(args.u), floats(args.before), floats(args.w), floats(args.bias)
    d_result, d_u, d_before, sums = (
        floats(args.d_result),
        floats(args.d_u),
        floats(args.d_before),
        floats(args.sums),
    )
    zero = splat(0.0)
    for e in range(0, E, LANES):
        count, bias = E - e, load_first(biases, e, E - e)
        w_3, w_2 = load_first(w, e, count), load_first(w, E + e, count)
        w_1, w_0 = load_first(w, 2 * E + e, count), load_first(w, 3 * E + e, count)
        filters = (w_3, w_2, w_1, w_0)
        dw_3 = dw_2 = dw_1 = dw_0 = db = zero
        for b in range(first, last):
            ahead_1 = ahead_2 = ahead_3 = zero  # dp of the next three steps
            now = _input(u, before, b, T - 1, T, E, e)
            u_1, u_2 = _input(u, before, b, T - 2, T, E, e), _input(u, before, b, T - 3, T, E, e)
            for t in range(T - 1, -1, -1):
                u_3 = _input(u, before, b, t - 3, T, E, e)
                at = (b * T + t) * E + e
                slope = silu_slope(convolved(filters, bias, u_3, u_2, u_1, now))
                dp = load_first(d_result, at, count) * slope  # (1)
                du = fma(w_0, dp, fma(w_1, ahead_1, fma(w_2, ahead_2, w_3 * ahead_3)))  # (2)
                store_first(d_u, at, count, du)
                dw_3, dw_2 = fma(dp, u_3, dw_3), fma(dp, u_2, dw_2)  # (3)
                dw_1, dw_0 = fma(dp, u_1, dw_1), fma(dp, now, dw_0)
                db += dp
                ahead_3, ahead_2, ahead_1 = ahead_2, ahead_1, dp
                now, u_1, u_2 = u_1, u_2, u_3
            oldest = b * (TAPS - 1) * E + e
            store_first(d_before, oldest, count, w_3 * ahead_1)  # (2) for the steps before the first one
            store_first(d_before, oldest + E, count, fma(w_2, ahead_1, w_3 * ahead_2))
            latest = fma(w_1, ahead_1, fma(w_2, ahead_2, w_3 * ahead_3))
            store_first(d_before, oldest + 2 * E, count, latest)
        add_first(sums, e, count, dw_3)
        add_first(sums, E + e, count, dw_2)
        add_first(sums, 2 * E + e, count, dw_1)
        add_first(sums, 3 * E + e, count, dw_0)
        add_first(sums, 4 * E + e, count, db)


class Convolution(torch.autograd.Function):
    """The map from u (B, T, E), the three inputs before (B, 3, E), w (4, E) and b (E,) to c (B, T, E)."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, *inputs: Tensor) -> Tensor:
        u_BTE, before_BKE, w_KE, bias_E = inputs
        B, T, E = u_BTE.shape
        result_BTE = u_BTE.new_empty(B, T, E)
        arguments = Forward(u=u_BTE, before=before_BKE, w=w_KE, bias=bias_E, result=result_BTE, T=T, E=E)
        run_rows(forward_rows, arguments, B, B * T * E)
        ctx.reference = reference
        ctx.save_for_backward(*inputs)
        return result_BTE

    @staticmethod
    @without_autocast
    def backward(ctx: Any, gradient_BTE: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        if needs_reference(gradient_BTE):
            return None, *reference_gradients(ctx.reference, inputs, [gradient_BTE])
        u_BTE, before_BKE, w_KE, bias_E = inputs
        B, T, E = u_BTE.shape
        d_u_BTE, d_before_BKE = u_BTE.new_empty(B, T, E), u_BTE.new_empty(B, TAPS - 1, E)
        arguments = Backward(
            u=u_BTE,
            before=before_BKE,
            w=w_KE,
            bias=bias_E,
            d_result=gradient_BTE,
            d_u=d_u_BTE,
            d_before=d_before_BKE,
            sums=None,
            T=T,
            E=E,
        )
        sums = sum_rows(backward_rows, arguments, B, B * T * E, (TAPS + 1, E))
        return None, d_u_BTE, d_before_BKE, sums[:TAPS], sums[TAPS]


def convolve(reference: Reference, *inputs: Tensor) -> Tensor:
    """Return c (B, T, E), by `Convolution`.

    Args:
        reference: Function of `inputs` that computes the same result in plain torch. Second derivatives use it.
        inputs: u (B, T, E), the three inputs before (B, 3, E), the filters (4, E) and the bias (E,).
    """
    result_BTE: Tensor = Convolution.apply(reference, *inputs)  # type: ignore[no-untyped-call]
    return result_BTE
