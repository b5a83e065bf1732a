"""Short convolution with SiLU and unit vectors over a whole sequence, and its gradients.

Equations (1) to (3) are those of `arch/core/memory/short_convolution.py`.
d· is the derivative of the loss with respect to ·. n = ρ s are the results. ρ is 1 for channels that are not scaled:

    ds = ρ (dn - n Σ n dn)  for scaled channels, else dn     (4)  the sum is over a head
    dc = ds σ(c) (1 + c (1 - σ(c)))                          (5)
    dx_s = Σ_k w_k ⊙ dc_(s+3-k)                              (6)  dc is 0 outside the sequence
    dw_k = Σ_s x_s ⊙ dc_(s+3-k),  db = Σ_t dc_t              (7)

The backward pass computes c again instead of keeping it. First it writes ds of scaled channels in the place of dx.
"""

# Shape suffixes: B batch, T time, L taps, C channels, K head width

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from arch.kernels.cells.short_convolution import convolve, scale_to_unit
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
from arch.kernels.simd.vector import LANES, first_or, fma, lane_sum, load_first, splat, store_first
from arch.kernels.training.layer_norm import add_first

TAPS = 4
"""Number of steps that the convolution reads."""


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        x, before: Inputs (B, T, C) and the three before them (B, 3, C).
        filters, bias: w (4, C), and b (C,) or None.
        n: Results (B, T, C), written.
        scales: ρ of each scaled head (B, T, unit_channels / K), written, or None if no channel is scaled.
        unit_channels, K: Number of channels that are scaled, and channels per head.
        T, C: Steps and channels.
    """

    x: Tensor
    before: Tensor
    filters: Tensor
    bias: Tensor | None
    n: Tensor
    scales: Tensor | None
    unit_channels: int
    K: int
    T: int
    C: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        x, before, filters, bias, n, scales: As for `Forward`.
        d_n: Gradient of the results, (B, T, C).
        d_x, d_before: Gradients of `x` and `before`, written.
        sums: Sums (5, C), added to: dw and db. `sum_rows` sets it for each share.
        unit_channels, K, T, C: As for `Forward`.
    """

    x: Tensor
    before: Tensor
    filters: Tensor
    bias: Tensor | None
    n: Tensor
    scales: Tensor | None
    d_n: Tensor
    d_x: Tensor
    d_before: Tensor
    sums: Tensor | None
    unit_channels: int
    K: int
    T: int
    C: int


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the results of rows `first` to `last` of the batch."""
    args = arguments_at(record, Forward)
    T, C, K, n, scales = args.T, args.C, args.K, floats(args.n), floats(args.scales)
    x, before, filters, biases = floats(args.x), floats(args.before), floats(args.filters), floats(args.bias)
    heads = args.unit_channels // K
    for row in range(first, last):
        for channel in range(0, C, LANES):
            count, at = C - channel, row * (TAPS - 1) * C + channel
            w_0, w_1 = load_first(filters, channel, count), load_first(filters, C + channel, count)
            w_2, w_3 = load_first(filters, 2 * C + channel, count), load_first(filters, 3 * C + channel, count)
            bias = load_first(biases, channel, count if args.bias != 0 else 0)
            oldest, older = load_first(before, at, count), load_first(before, at + C, count)
            latest = load_first(before, at + 2 * C, count)
            for t in range(T):
                step = (row * T + t) * C + channel
                now = load_first(x, step, count)
                c = convolve(w_0, w_1, w_2, w_3, bias, oldest, older, latest, now)  # (1)
                store_first(n, step, count, silu(c))  # (2)
                oldest, older, latest = older, latest, now
        for t in range(T if heads > 0 else 0):
            for head in range(heads):
                squares, begin = splat(0.0), (row * T + t) * C + head * K
                for channel in range(0, K, LANES):
                    s = load_first(n, begin + channel, K - channel)
                    squares = fma(s, s, squares)
                scale = scale_to_unit(squares)
                scales[(row * T + t) * heads + head] = scale
                for channel in range(0, K, LANES):
                    at, count = begin + channel, K - channel
                    store_first(n, at, count, splat(scale) * load_first(n, at, count))  # (3)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write `d_x` and `d_before`, and add the weight gradients to `sums`, for rows `first` to `last` of the batch."""
    args = arguments_at(record, Backward)
    T, C, K, n, d_n, d_x = args.T, args.C, args.K, floats(args.n), floats(args.d_n), floats(args.d_x)
    x, before, filters, biases = floats(args.x), floats(args.before), floats(args.filters), floats(args.bias)
    scales, d_before, sums = floats(args.scales), floats(args.d_before), floats(args.sums)
    heads, zero = args.unit_channels // K, splat(0.0)
    for row in range(first, last):
        for t in range(T if heads > 0 else 0):
            for head in range(heads):
                products, begin = zero, (row * T + t) * C + head * K
                for channel in range(0, K, LANES):
                    at, count = begin + channel, K - channel
                    products = fma(load_first(n, at, count), load_first(d_n, at, count), products)
                along, scale = splat(lane_sum(products)), splat(scales[(row * T + t) * heads + head])
                for channel in range(0, K, LANES):
                    at, count = begin + channel, K - channel
                    ds = scale * (load_first(d_n, at, count) - along * load_first(n, at, count))  # (4)
                    store_first(d_x, at, count, ds)
        for channel in range(0, C, LANES):
            count, at = C - channel, row * (TAPS - 1) * C + channel
            scaled = args.unit_channels - channel  # ds of these channels is in d_x, that of the others is dn
            w_0, w_1 = load_first(filters, channel, count), load_first(filters, C + channel, count)
            w_2, w_3 = load_first(filters, 2 * C + channel, count), load_first(filters, 3 * C + channel, count)
            bias = load_first(biases, channel, count if args.bias != 0 else 0)
            oldest, older = load_first(before, at, count), load_first(before, at + C, count)
            latest = load_first(before, at + 2 * C, count)
            d_w0, d_w1, d_w2, d_w3, d_b = zero, zero, zero, zero, zero
            dc_0, dc_1, dc_2 = zero, zero, zero  # dc of the last three steps
            for t in range(T + TAPS - 1):
                dc_3, now = zero, zero
                if t < T:
                    step = (row * T + t) * C + channel
                    now = load_first(x, step, count)
                    ds = first_or(load_first(d_x, step, scaled), scaled, load_first(d_n, step, count))
                    c = convolve(w_0, w_1, w_2, w_3, bias, oldest, older, latest, now)
                    dc_3 = ds * silu_slope(c)  # (5)
                    d_w0, d_w1 = fma(oldest, dc_3, d_w0), fma(older, dc_3, d_w1)  # (7)
                    d_w2, d_w3 = fma(latest, dc_3, d_w2), fma(now, dc_3, d_w3)
                    d_b += dc_3
                d = fma(w_3, dc_0, w_2 * dc_1) + fma(w_1, dc_2, w_0 * dc_3)  # (6)
                if t < TAPS - 1:
                    store_first(d_before, at + t * C, count, d)
                else:
                    store_first(d_x, (row * T + t - TAPS + 1) * C + channel, count, d)
                dc_0, dc_1, dc_2 = dc_1, dc_2, dc_3
                oldest, older, latest = older, latest, now
            add_first(sums, channel, count, d_w0)
            add_first(sums, C + channel, count, d_w1)
            add_first(sums, 2 * C + channel, count, d_w2)
            add_first(sums, 3 * C + channel, count, d_w3)
            add_first(sums, 4 * C + channel, count, d_b)


class Scan(torch.autograd.Function):
    """The map from x, the inputs before, the filters and the bias, if there is one, to the results (B, T, C)."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, unit_channels: int, head_width: int, *inputs: Tensor) -> Tensor:
        x_BTC, before_BLC, w_LC, *bias = inputs
        B, T, C = x_BTC.shape
        n_BTC, heads = torch.empty_like(x_BTC), unit_channels // head_width
        scales_BTN = x_BTC.new_empty(B, T, heads) if heads else None
        b_C = bias[0] if bias else None
        arguments = Forward(x_BTC, before_BLC, w_LC, b_C, n_BTC, scales_BTN, unit_channels, head_width, T, C)
        run_rows(forward_rows, arguments, B, B * T * C)
        ctx.reference, ctx.unit_channels, ctx.head_width = reference, unit_channels, head_width
        ctx.save_for_backward(*inputs, n_BTC, scales_BTN)
        return n_BTC

    @staticmethod
    @without_autocast
    def backward(ctx: Any, d_n_BTC: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, n_BTC, scales_BTN = ctx.saved_tensors
        if needs_reference(d_n_BTC):
            return None, None, None, *reference_gradients(ctx.reference, inputs, (d_n_BTC,))
        x_BTC, before_BLC, w_LC, *bias = inputs
        B, T, C = x_BTC.shape
        d_x_BTC, d_before_BLC = torch.empty_like(x_BTC), torch.empty_like(before_BLC)
        arguments = Backward(
            x_BTC,
            before_BLC,
            w_LC,
            bias[0] if bias else None,
            n_BTC,
            scales_BTN,
            d_n_BTC,
            d_x_BTC,
            d_before_BLC,
            None,
            ctx.unit_channels,
            ctx.head_width,
            T,
            C,
        )
        sums = sum_rows(backward_rows, arguments, B, 2 * B * T * C, (TAPS + 1, C))
        return None, None, None, d_x_BTC, d_before_BLC, sums[:TAPS], *([sums[TAPS]] if bias else [])


def scan(reference: Reference, unit_channels: int, head_width: int, *inputs: Tensor) -> Tensor:
    """Return the results (B, T, C), by `Scan`.

    Args:
        reference: Function of `inputs` that computes the same results in plain torch. Second derivatives use it.
        unit_channels: Number of first channels that are scaled to norm 1 per head.
        head_width: Channels per head.
        inputs: x (B, T, C), the inputs before (B, 3, C), w (4, C), and b (C,) if there is a bias.
    """
    contiguous = [tensor.contiguous() for tensor in inputs]
    n_BTC: Tensor = Scan.apply(reference, unit_channels, head_width, *contiguous)  # type: ignore[no-untyped-call]
    return n_BTC
