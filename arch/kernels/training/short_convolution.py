"""Short convolution over a whole sequence, with SiLU and unit vectors if asked, and its gradients.

Equations (1) to (3) are those of `arch/core/convolution.py`.
d· is the derivative of the loss with respect to ·. n = ρ s are the results. ρ is 1 for channels that are not scaled:

    ds = ρ (dn - n Σ n dn)  for scaled channels, else dn     (4)  the sum is over a head
    dc = ds σ(c) (1 + c (1 - σ(c))),  or ds without SiLU     (5)
    du_s = Σ_k w_k ⊙ dc_(s+3-k)                              (6)  dc is 0 outside the sequence
    dw_k = Σ_s u_s ⊙ dc_(s+3-k),  db = Σ_t dc_t              (7)

The inputs of four steps stay in registers, and so do the gradients. The backward pass computes c again instead of
keeping it. Both passes take a few steps at a time through all channels. If the results are split or scaled, s and ds of
these steps are kept apart, because heads start between vectors. Sequences lie in memory with the batch first or with
the time first. The results lie as the input does.
"""

# Shape suffixes: X, Y batch and time in either order, B batch, T time, L taps, C channels, K head width, P part width

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from numba import njit
from torch import Tensor

from arch.kernels.cells.short_convolution import convolve as cell
from arch.kernels.cells.short_convolution import scale_to_unit
from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.runtime.launch import (
    Reference,
    needs_reference,
    reference_gradients,
    run_rows,
    sum_rows,
    without_autocast,
)
from arch.kernels.runtime.tensors import CONV_STEPS
from arch.kernels.simd.activation import silu, silu_slope
from arch.kernels.simd.matmul import panels_of
from arch.kernels.simd.matvec import floats, load_if
from arch.kernels.simd.prefetch import prefetch
from arch.kernels.simd.reduction import lane_sum
from arch.kernels.simd.scratch import empty
from arch.kernels.simd.vector import LANES, fma, load, load_first, splat, store, store_first
from arch.kernels.training.layer_norm import add_first

STEPS_AT_ONCE = 32
"""Number of steps that pass through all channels together. They stay in the L1 cache meanwhile."""
MAX_PARTS = 3
"""Largest number of parts of the results: queries, keys and values."""


class Form(NamedTuple):
    """What the convolution is.

    Args:
        time: The dimension of the inputs that is the time, 0 or 1.
        activates: Whether SiLU follows.
        unit_channels: Number of first channels that are scaled to norm 1 per head. It is 0 without SiLU.
        head_width: Channels per head.
        widths: Channels of each part of the results, which are multiples of `head_width`.
    """

    time: int
    activates: bool
    unit_channels: int
    head_width: int
    widths: tuple[int, ...]


class Sizes(NamedTuple):
    """The sizes that both passes read.

    Args:
        activates, unit_channels, K: See `Form`. K is `head_width`.
        T, C: Steps and channels.
        row_stride, step_stride: Distances between rows of the batch and between steps of `u`, in units of C.
        P_0, P_1, P_2: Channels of the parts of the results. They are 0 for missing parts.
    """

    activates: bool
    unit_channels: int
    K: int
    T: int
    C: int
    row_stride: int
    step_stride: int
    P_0: int
    P_1: int
    P_2: int


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        u, before: Inputs (B, T, C) or (T, B, C), and the three before them (B, 3, C), oldest first.
        filters, bias: w (4, C), oldest input first, and b (C,) or None.
        n_0, n_1, n_2: Parts of the results in the layout of `u`, written, or None.
        scales: ρ of each scaled head (B, T, unit_channels / K), written, or None if no channel is scaled.
        activates, unit_channels, K, T, C, row_stride, step_stride, P_0, P_1, P_2: See `Sizes`.
    """

    u: Tensor
    before: Tensor
    filters: Tensor
    bias: Tensor | None
    n_0: Tensor
    n_1: Tensor | None
    n_2: Tensor | None
    scales: Tensor | None
    activates: bool
    unit_channels: int
    K: int
    T: int
    C: int
    row_stride: int
    step_stride: int
    P_0: int
    P_1: int
    P_2: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        u, before, filters, bias, scales: As for `Forward`.
        n_0, n_1, n_2: Parts of the results, or None if no channel of the part is scaled.
        d_0, d_1, d_2: Gradients of the parts, in their layout, or None.
        d_u, d_before: Gradients of `u` and `before`, written.
        sums: Sums (5, C), added to: dw and db. `sum_rows` sets it for each share.
        activates, unit_channels, K, T, C, row_stride, step_stride, P_0, P_1, P_2: See `Sizes`.
    """

    u: Tensor
    before: Tensor
    filters: Tensor
    bias: Tensor | None
    n_0: Tensor | None
    n_1: Tensor | None
    n_2: Tensor | None
    scales: Tensor | None
    d_0: Tensor
    d_1: Tensor | None
    d_2: Tensor | None
    d_u: Tensor
    d_before: Tensor
    sums: Tensor | None
    activates: bool
    unit_channels: int
    K: int
    T: int
    C: int
    row_stride: int
    step_stride: int
    P_0: int
    P_1: int
    P_2: int


@njit(forceinline=True)
def _filters(filters, channel, C):  # type: ignore[no-untyped-def]
    """Return w of LANES channels, that of the oldest input first."""
    count = C - channel
    w_0, w_1 = load_first(filters, channel, count), load_first(filters, C + channel, count)
    return w_0, w_1, load_first(filters, 2 * C + channel, count), load_first(filters, 3 * C + channel, count)


@njit(forceinline=True)
def _input(u, before, row, t, channel, args):  # type: ignore[no-untyped-def]
    """Return the input of LANES channels at a step. Steps -3 to -1 are those before the sequence."""
    count = args.C - channel
    if t < 0:
        return load_first(before, (row * (CONV_STEPS - 1) + CONV_STEPS - 1 + t) * args.C + channel, count)
    return load_first(u, (row * args.row_stride + t * args.step_stride) * args.C + channel, count)


@njit(forceinline=True)
def _chosen(part, first, second, third):  # type: ignore[no-untyped-def]
    """Return the number of a part, of those of all parts."""
    return first if part == 0 else second if part == 1 else third


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the results of rows `first` to `last` of the batch."""
    args = arguments_at(record, Forward)
    T, C, K, n, scales = args.T, args.C, args.K, floats(args.n_0), floats(args.scales)
    u, before, filters, biases = floats(args.u), floats(args.before), floats(args.filters), floats(args.bias)
    heads, activates, width = args.unit_channels // K, args.activates != 0, panels_of(C) * LANES
    goes_on = args.P_1 > 0 or heads > 0
    held = empty(STEPS_AT_ONCE * width)  # s
    for row in range(first, last):
        for begin in range(0, T, STEPS_AT_ONCE):
            end = min(T, begin + STEPS_AT_ONCE)
            for channel in range(0, C, LANES):
                count = C - channel
                w_0, w_1, w_2, w_3 = _filters(filters, channel, C)
                bias = load_if(args.bias != 0, biases, channel, count)
                oldest, older = (
                    _input(u, before, row, begin - 3, channel, args),
                    _input(u, before, row, begin - 2, channel, args),
                )
                latest = _input(u, before, row, begin - 1, channel, args)
                for t in range(begin, end):
                    step = (row * args.row_stride + t * args.step_stride) * C + channel
                    now = load_first(u, step, count)
                    prefetch(u, step + STEPS_AT_ONCE * args.step_stride * C)
                    c = cell(w_0, w_1, w_2, w_3, bias, oldest, older, latest, now)  # (1)
                    s = silu(c) if activates else c  # (2)
                    if goes_on:
                        store(held, (t - begin) * width + channel, s)
                    else:
                        store_first(n, step, count, s)
                    oldest, older, latest = older, latest, now
            for t in range(begin, end if goes_on else begin):
                at, place = row * args.row_stride + t * args.step_stride, (t - begin) * width
                scale_at, head = (row * T + t) * heads, 0
                for part in range(MAX_PARTS):
                    P = _chosen(part, args.P_0, args.P_1, args.P_2)
                    results = floats(_chosen(part, args.n_0, args.n_1, args.n_2))
                    for to in range(at * P, (at + 1) * P, K):
                        scale = splat(1.0)
                        if head < heads:
                            squares = splat(0.0)
                            for channel in range(0, K, LANES):
                                s = load_first(held, place + channel, K - channel)
                                squares = fma(s, s, squares)
                            scales[scale_at + head] = scale_to_unit(squares)
                            scale = splat(scales[scale_at + head])
                        for channel in range(0, K, LANES):
                            s = load_first(held, place + channel, K - channel)
                            prefetch(results, to + channel + STEPS_AT_ONCE * args.step_stride * P)
                            store_first(results, to + channel, K - channel, scale * s)  # (3)
                        place, head = place + K, head + 1


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write `d_u` and `d_before`, and add the weight gradients to `sums`, for rows `first` to `last` of the batch."""
    args = arguments_at(record, Backward)
    T, C, K, d_n, d_u = args.T, args.C, args.K, floats(args.d_0), floats(args.d_u)
    u, before, filters, biases = floats(args.u), floats(args.before), floats(args.filters), floats(args.bias)
    scales, d_before, sums = floats(args.scales), floats(args.d_before), floats(args.sums)
    heads, activates, zero = args.unit_channels // K, args.activates != 0, splat(0.0)
    width, goes_on = panels_of(C) * LANES, args.P_1 > 0 or heads > 0
    carried = empty(3 * width)  # dc of the last three steps
    held = empty(STEPS_AT_ONCE * width + LANES)  # ds
    ahead = STEPS_AT_ONCE * args.step_stride
    for row in range(first, last):
        carried[:] = 0
        for begin in range(0, T, STEPS_AT_ONCE):
            end = min(T, begin + STEPS_AT_ONCE)
            for t in range(begin, end if goes_on else begin):
                at, place = row * args.row_stride + t * args.step_stride, (t - begin) * width
                scale_at, head = (row * T + t) * heads, 0
                for part in range(MAX_PARTS):
                    P = _chosen(part, args.P_0, args.P_1, args.P_2)
                    results = floats(_chosen(part, args.n_0, args.n_1, args.n_2))
                    gradients = floats(_chosen(part, args.d_0, args.d_1, args.d_2))
                    for to in range(at * P, (at + 1) * P, K):
                        along, scale = zero, splat(1.0)
                        if head < heads:
                            for channel in range(0, K, LANES):
                                prefetch(results, to + channel + ahead * P)
                                of_n = load_first(results, to + channel, K - channel)
                                along = fma(of_n, load_first(gradients, to + channel, K - channel), along)
                            along, scale = splat(lane_sum(along)), splat(scales[scale_at + head])
                        for channel in range(0, K, LANES):
                            ds = load_first(gradients, to + channel, K - channel)
                            prefetch(gradients, to + channel + ahead * P)
                            ds = ds - load_if(head < heads, results, to + channel, K - channel) * along
                            store(held, place + channel, scale * ds)  # (4); the next head overwrites the zeros
                        place, head = place + K, head + 1
            for channel in range(0, C, LANES):
                count = C - channel
                w_0, w_1, w_2, w_3 = _filters(filters, channel, C)
                bias = load_if(args.bias != 0, biases, channel, count)
                oldest, older = (
                    _input(u, before, row, begin - 3, channel, args),
                    _input(u, before, row, begin - 2, channel, args),
                )
                latest = _input(u, before, row, begin - 1, channel, args)
                d_w0, d_w1, d_w2, d_w3, d_b = zero, zero, zero, zero, zero
                dc_0, dc_1 = load(carried, channel), load(carried, width + channel)
                dc_2 = load(carried, 2 * width + channel)
                for t in range(begin, end if end < T else T + CONV_STEPS - 1):
                    dc_3, now = zero, zero
                    if t < T:
                        step = (row * args.row_stride + t * args.step_stride) * C + channel
                        now = load_first(u, step, count)
                        prefetch(u, step + ahead * C)
                        prefetch(d_u, step + ahead * C)
                        if goes_on:
                            dc_3 = load_first(held, (t - begin) * width + channel, count)
                        else:
                            dc_3 = load_first(d_n, step, count)
                            prefetch(d_n, step + ahead * C)
                        if activates:
                            dc_3 = dc_3 * silu_slope(cell(w_0, w_1, w_2, w_3, bias, oldest, older, latest, now))  # (5)
                        d_w0, d_w1 = fma(oldest, dc_3, d_w0), fma(older, dc_3, d_w1)  # (7)
                        d_w2, d_w3 = fma(latest, dc_3, d_w2), fma(now, dc_3, d_w3)
                        d_b += dc_3
                    d = fma(w_3, dc_0, w_2 * dc_1) + fma(w_1, dc_2, w_0 * dc_3)  # (6)
                    if t < CONV_STEPS - 1:
                        store_first(d_before, (row * (CONV_STEPS - 1) + t) * C + channel, count, d)
                    else:
                        written = row * args.row_stride + (t - CONV_STEPS + 1) * args.step_stride
                        store_first(d_u, written * C + channel, count, d)
                    dc_0, dc_1, dc_2 = dc_1, dc_2, dc_3
                    oldest, older, latest = older, latest, now
                store(carried, channel, dc_0)
                store(carried, width + channel, dc_1)
                store(carried, 2 * width + channel, dc_2)
                add_first(sums, channel, count, d_w0)
                add_first(sums, C + channel, count, d_w1)
                add_first(sums, 2 * C + channel, count, d_w2)
                add_first(sums, 3 * C + channel, count, d_w3)
                add_first(sums, 4 * C + channel, count, d_b)


def _sizes(form: Form, u_XYC: Tensor) -> Sizes:
    """Return the sizes for contiguous inputs."""
    X, Y, C = u_XYC.shape
    T, row_stride, step_stride = (X, 1, Y) if form.time == 0 else (Y, Y, 1)
    _, activates, unit_channels, K, widths = form
    return Sizes(activates, unit_channels, K, T, C, row_stride, step_stride, *_three(widths, 0))


def _three(items: Sequence[Any], missing: Any) -> list[Any]:
    """Return the items of the parts, with `missing` for parts that there are not."""
    return [*items, *[missing] * (MAX_PARTS - len(items))]


class Convolution(torch.autograd.Function):
    """The map from u, the inputs before, the filters and the bias, if there is one, to the parts in u's layout."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, form: Form, *inputs: Tensor) -> tuple[Tensor, ...]:
        u_XYC, before_BLC, w_LC, *bias = inputs
        B, sizes = len(before_BLC), _sizes(form, u_XYC)
        parts = tuple(u_XYC.new_empty(*u_XYC.shape[:2], width) for width in form.widths)
        heads = sizes.unit_channels // sizes.K
        scales_BTN = u_XYC.new_empty(B, sizes.T, heads) if heads else None
        given = (u_XYC, before_BLC, w_LC, bias[0] if bias else None)
        arguments = Forward._make([*given, *_three(parts, None), scales_BTN, *sizes])
        run_rows(forward_rows, arguments, B, u_XYC.numel())
        starts = accumulate(form.widths, initial=0)
        scaled = [part if start < sizes.unit_channels else None for part, start in zip(parts, starts, strict=False)]
        ctx.reference, ctx.form = reference, form
        ctx.save_for_backward(*inputs, *_three(scaled, None), scales_BTN)
        return parts

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, n_0, n_1, n_2, scales_BTN = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, None, *reference_gradients(ctx.reference, inputs, gradients)
        u_XYC, before_BLC, w_LC, *bias = inputs
        B, C = len(before_BLC), u_XYC.shape[2]
        d_u_XYC, d_before_BLC = torch.empty_like(u_XYC), torch.empty_like(before_BLC)
        given = (u_XYC, before_BLC, w_LC, bias[0] if bias else None, n_0, n_1, n_2, scales_BTN)
        written, sizes = (d_u_XYC, d_before_BLC, None), _sizes(ctx.form, u_XYC)
        arguments = Backward._make([*given, *_three(gradients, None), *written, *sizes])
        sums = sum_rows(backward_rows, arguments, B, 2 * u_XYC.numel(), (CONV_STEPS + 1, C))
        return None, None, d_u_XYC, d_before_BLC, sums[:CONV_STEPS], *([sums[CONV_STEPS]] if bias else [])


def convolve(reference: Reference, form: Form, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return the parts of the results in the layout of u, by `Convolution`.

    Args:
        reference: Function of `inputs` that computes the same results in plain torch. Second derivatives use it.
        form: What the convolution is.
        inputs: u (B, T, C) or (T, B, C), the inputs before (B, 3, C), w (4, C), and b (C,) if there is a bias.
    """
    contiguous = [tensor.contiguous() for tensor in inputs]
    parts: tuple[Tensor, ...] = Convolution.apply(reference, form, *contiguous)  # type: ignore[no-untyped-call]
    return parts
