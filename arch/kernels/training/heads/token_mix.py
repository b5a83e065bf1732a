"""What `rwkv7` makes of its inputs: equations (1) to (6) of `arch/rwkv7.py`, and their derivatives.

x₋ is the input before x, and c one of r, w, k, v, a and g. L are the narrow products, and s and a are sigmoids:

    x_c = x + μ_c ⊙ (x₋ - x),  p_c = W_c x_c                                  (1)  c = w, a, g: W_c is W_c↓
    L_w = tanh(p_w),  L_a = p_a,  L_g = σ(p_g)
    s = σ(w_0 + W_w↑ L_w),  a = σ(a_0 + W_a↑ L_a),  g = W_g↑ L_g              (2)
    r = p_r,  v = p_v,  w = e^(-s/√e),  κ = ϱ ξ ⊙ p_k,  q = -a ⊙ κ,  k̃ = p_k ⊙ (1 + α ⊙ (a - 1))    (3)

ϱ scales a head to norm 1. d· is the derivative of the loss with respect to ·:

    e   = dκ - a ⊙ dq,  dz = ϱ (e - κ Σ κ e)                                  (4)  the sum is over a head
    dp_k = ξ ⊙ dz + (1 + α ⊙ (a - 1)) ⊙ dk̃,  dξ = Σ p_k dz,  dα = Σ p_k (a - 1) dk̃
    da  = α ⊙ p_k ⊙ dk̃ - κ ⊙ dq,  ds = -w ⊙ dw / √e                           (5)
    dx_c = W_cᵀ dp_c,  dx = Σ_c (1 - μ_c) ⊙ dx_c,  dx₋ = Σ_c μ_c ⊙ dx_c,  dμ_c = Σ (x₋ - x) ⊙ dx_c    (6)

A block of steps of one sequence passes through all of it in the cache. The backward pass computes (1) to (3) again.
"""

# Shape suffixes: B batch, T time, D input width, H width, R and G narrow widths, M sums, P padded columns

from __future__ import annotations

from typing import Any, NamedTuple

import torch
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
from arch.kernels.runtime.threads import TILED
from arch.kernels.simd.matmul import multiply, pack, panels_of
from arch.kernels.simd.matvec import floats, keep, memory_of
from arch.kernels.simd.scratch import empty, zeros
from arch.kernels.simd.vector import LANES, fma, load, load_first, store, store_first
from arch.kernels.training.chunked import stride_of
from arch.kernels.training.heads.token_mix_parts import (
    MIXES,
    OF_A,
    OF_G,
    OF_K,
    OF_W,
    STEPS_AT_ONCE,
    add_columns,
    apply_slopes,
    back_through_heads,
    copy_gradients,
    layout,
    mix_steps,
    multiply_all,
    packed_weights,
    write_results,
)
from arch.kernels.training.layer_norm import add_first
from arch.kernels.training.residual_mlp import whole_tiles

EXTRA_SUMS = MIXES + 4
"""Rows of the sums besides the weights: dμ, dξ, dα, dw_0 and da_0."""


class Weights(NamedTuple):
    """The weights, in the order of the kernels' arguments.

    Args:
        mu: μ of r, w, k, v, a and g, (6, D).
        W_r, W_w, W_k, W_v, W_a, W_g: W_c of (1): (H, D), but (R, D) for w and a, and (G, D) for g.
        up_w, up_a, up_g: W_w↑ and W_a↑ (H, R), and W_g↑ (H, G).
        w_0, a_0, xi, alpha: w_0, a_0, ξ and α, (H,).
    """

    mu: Tensor
    W_r: Tensor
    W_w: Tensor
    W_k: Tensor
    W_v: Tensor
    W_a: Tensor
    W_g: Tensor
    up_w: Tensor
    up_a: Tensor
    up_g: Tensor
    w_0: Tensor
    a_0: Tensor
    xi: Tensor
    alpha: Tensor


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        x, before: Inputs (B, T, D), and the input before the first step, (B, D).
        mu, W_r, W_w, W_k, W_v, W_a, W_g, up_w, up_a, up_g, w_0, a_0, xi, alpha: See `Weights`.
        r, w, kappa, q, k, v, g: Results of (3), (B, T, H), written.
        T, D, H, N, R, G: Steps, input width, width, heads, narrow widths.
    """

    x: Tensor
    before: Tensor
    mu: Tensor
    W_r: Tensor
    W_w: Tensor
    W_k: Tensor
    W_v: Tensor
    W_a: Tensor
    W_g: Tensor
    up_w: Tensor
    up_a: Tensor
    up_g: Tensor
    w_0: Tensor
    a_0: Tensor
    xi: Tensor
    alpha: Tensor
    r: Tensor
    w: Tensor
    kappa: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    g: Tensor
    T: int
    D: int
    H: int
    N: int
    R: int
    G: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        x, before: As for `Forward`.
        mu, W_r, W_w, W_k, W_v, W_a, W_g, up_w, up_a, up_g, w_0, a_0, xi, alpha: See `Weights`.
        d_r, d_w, d_kappa, d_q, d_k, d_v, d_g: Gradients of the results.
        d_x, d_before: Gradients of the inputs, written.
        sums: Sums of the weights (M, P), added to: transposed dW_c, in the order of `Weights`, then transposed dW↑,
            each rounded up to whole tiles of rows, then `EXTRA_SUMS`. `sum_rows` sets it for each share.
        T, D, H, N, R, G: As for `Forward`.
    """

    x: Tensor
    before: Tensor
    mu: Tensor
    W_r: Tensor
    W_w: Tensor
    W_k: Tensor
    W_v: Tensor
    W_a: Tensor
    W_g: Tensor
    up_w: Tensor
    up_a: Tensor
    up_g: Tensor
    w_0: Tensor
    a_0: Tensor
    xi: Tensor
    alpha: Tensor
    d_r: Tensor
    d_w: Tensor
    d_kappa: Tensor
    d_q: Tensor
    d_k: Tensor
    d_v: Tensor
    d_g: Tensor
    d_x: Tensor
    d_before: Tensor
    sums: Tensor | None
    T: int
    D: int
    H: int
    N: int
    R: int
    G: int


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the results of rows `first` to `last` of the batch."""
    args = arguments_at(record, Forward)
    T, D, H = args.T, args.D, args.H
    _, _, width = layout(H, args.R, args.G)
    h, tall, narrow, packed = panels_of(H) * LANES, whole_tiles(D), panels_of(D) * LANES, packed_weights(args)
    stride, apart = stride_of(width // LANES), stride_of(3 * h // LANES)
    mixed, changes = (
        zeros(MIXES * STEPS_AT_ONCE * tall),
        empty(STEPS_AT_ONCE * narrow),
    )
    p, gates = empty(STEPS_AT_ONCE * stride), empty(STEPS_AT_ONCE * apart)
    products, shares = memory_of(p), memory_of(gates)
    for row in range(first, last):
        for begin in range(0, T, STEPS_AT_ONCE):
            steps = min(STEPS_AT_ONCE, T - begin)
            mix_steps(args, row, begin, steps, mixed, changes, tall, narrow)
            multiply_all(args, mixed, tall, steps, packed, p, stride, gates, apart)
            for step in range(steps):
                write_results(args, row, begin + step, products, step * stride, shares, step * apart, h)
    keep((p, gates))


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write `d_x` and `d_before`, and add to `sums`, for rows `first` to `last` of the batch."""
    args = arguments_at(record, Backward)
    T, D, H, R, G, K = args.T, args.D, args.H, args.R, args.G, args.H // args.N
    mu, d_x, d_before, sums = floats(args.mu), floats(args.d_x), floats(args.d_before), floats(args.sums)
    widths, columns, all_columns = layout(H, R, G)
    panels, h, tall, narrow, packed = (
        panels_of(H),
        panels_of(H) * LANES,
        whole_tiles(D),
        panels_of(D) * LANES,
        packed_weights(args),
    )
    stride, apart = stride_of(all_columns // LANES), stride_of(3 * panels)
    width = max(h, panels_of(R) * LANES, panels_of(G) * LANES, narrow)
    back = (
        pack(floats(args.W_r), 0, H, D, H, H),
        pack(floats(args.W_w), 0, R, D, R, R),
        pack(floats(args.W_k), 0, H, D, H, H),
        pack(floats(args.W_v), 0, H, D, H, H),
        pack(floats(args.W_a), 0, R, D, R, R),
        pack(floats(args.W_g), 0, G, D, G, G),
    )
    back_up = (
        pack(floats(args.up_w), 0, H, R, H, H),
        pack(floats(args.up_a), 0, H, R, H, H),
        pack(floats(args.up_g), 0, H, G, H, H),
    )
    narrows, mixes_of = (R, R, G), (OF_W, OF_A, OF_G)
    mixed, changes = (
        zeros(MIXES * STEPS_AT_ONCE * tall),
        empty(STEPS_AT_ONCE * narrow),
    )
    p, gates = empty(STEPS_AT_ONCE * stride), empty(STEPS_AT_ONCE * apart)
    dp, d_gates = zeros(STEPS_AT_ONCE * stride), zeros(STEPS_AT_ONCE * apart)
    product, d_now, d_last = (
        empty(STEPS_AT_ONCE * narrow),
        empty(STEPS_AT_ONCE * narrow),
        empty(STEPS_AT_ONCE * narrow),
    )
    padded = panels_of(K) * LANES
    by_head = zeros(2 * args.N * padded)  # gradients of xi and alpha, in whole vectors per head
    products, shares, d_products = memory_of(p), memory_of(gates), memory_of(dp)
    d_shares, totals = memory_of(d_gates), memory_of(by_head)
    of_up = MIXES * tall
    extra = of_up + 2 * whole_tiles(R) + whole_tiles(G)
    for row in range(first, last):
        for begin in range(0, T, STEPS_AT_ONCE):
            steps = min(STEPS_AT_ONCE, T - begin)
            mix_steps(args, row, begin, steps, mixed, changes, tall, narrow)
            multiply_all(args, mixed, tall, steps, packed, p, stride, gates, apart)
            for step in range(steps):
                of_p, of_gates, at = step * stride, step * apart, (row * T + begin + step) * H
                copy_gradients(args, at, d_products, of_p, d_shares, of_gates + 2 * h)
                at, given = of_p + columns[OF_K], (products, of_p + columns[OF_K], shares, of_gates, h)
                back_through_heads(args, row, begin + step, *given, d_products, at, d_shares, totals, padded)
            for unit in range(0, h, LANES):
                place = (extra + MIXES + 2) * width + unit
                of_w, of_a = load(sums, place), load(sums, place + width)
                for step in range(steps):
                    of_w += load(d_gates, step * apart + unit)
                    of_a += load(d_gates, step * apart + h + unit)
                store(sums, place, of_w)
                store(sums, place + width, of_a)
            at = of_up
            for gate in range(3):
                left, rows = columns[mixes_of[gate]], narrows[gate]
                add_columns(
                    sums, at * width, width, p, left, stride, whole_tiles(rows), d_gates, gate * h, apart, steps, panels
                )
                multiply(dp, left, stride, d_gates, gate * h, apart, back_up[gate], H, steps, panels_of(rows))
                at += whole_tiles(rows)
            apply_slopes(args, steps, p, dp, stride)
            d_now[:] = 0
            d_last[:] = 0
            for c in range(MIXES):
                left, at, depth = c * STEPS_AT_ONCE * tall, columns[c], widths[c]
                of_c, several = c * tall * width, panels_of(depth)
                add_columns(sums, of_c, width, mixed, left, tall, tall, dp, at, stride, steps, several)
                multiply(product, 0, narrow, dp, columns[c], stride, back[c], depth, steps, narrow // LANES)
                for d in range(0, D, LANES):
                    place, of_mu = (extra + c) * width + d, load_first(mu, c * D + d, D - d)
                    total = load(sums, place)
                    for step in range(steps):
                        at = step * narrow + d
                        dx = load(product, at)
                        through_last = of_mu * dx
                        store(d_now, at, load(d_now, at) + (dx - through_last))  # (6)
                        store(d_last, at, load(d_last, at) + through_last)
                        total = fma(load(changes, at), dx, total)
                    store(sums, place, total)
            for step in range(steps):
                to = (row * T + begin + step) * D
                for d in range(0, D, LANES):
                    count, at = D - d, step * narrow + d
                    store_first(d_x, to + d, count, load(d_now, at))
                    if begin + step > 0:
                        add_first(d_x, to - D + d, count, load(d_last, at))
                    else:
                        store_first(d_before, row * D + d, count, load(d_last, at))
    for head in range(args.N):
        for unit in range(0, K, LANES):
            place, at = head * padded + unit, head * K + unit
            add_first(sums, (extra + MIXES) * width + at, K - unit, load(totals, place))
            add_first(sums, (extra + MIXES + 1) * width + at, K - unit, load(totals, args.N * padded + place))
    keep((p, gates, dp, d_gates, by_head))


class TokenMix(torch.autograd.Function):
    """The map from x (B, T, D), the input before them (B, D) and the `Weights` to r, w, κ, q, k̃, v and g.

    g is (B, T, H). The others are split into heads.
    """

    @staticmethod
    def forward(ctx: Any, reference: Reference, heads: int, *inputs: Tensor) -> tuple[Tensor, ...]:
        (B, T, D), weights = inputs[0].shape, Weights._make(inputs[2:])
        sizes = (T, D, len(weights.W_r), heads, len(weights.W_w), len(weights.W_g))
        H = sizes[2]
        *by_head, g_BTH = [
            *(inputs[0].new_empty(B, T, heads, H // heads) for _ in range(6)),
            inputs[0].new_empty(B, T, H),
        ]
        run_rows(forward_rows, Forward._make([*inputs, *by_head, g_BTH, *sizes]), B, _work(inputs))
        ctx.reference, ctx.sizes = reference, sizes
        ctx.save_for_backward(*inputs)
        return *by_head, g_BTH

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, (_, D, H, _, R, G) = ctx.saved_tensors, ctx.sizes
        if needs_reference(*gradients):
            return None, None, *reference_gradients(ctx.reference, inputs, gradients)
        x_BTD, before_BD = inputs[0], inputs[1]
        d_x_BTD, d_before_BD = x_BTD.new_empty(x_BTD.shape), x_BTD.new_empty(before_BD.shape)
        arguments = Backward._make([*inputs, *gradients, d_x_BTD, d_before_BD, None, *ctx.sizes])
        tall = rows_of_sums(D, R, G)
        width = max(panels_of(count) for count in (D, H, R, G)) * LANES
        sums_MP = sum_rows(backward_rows, arguments, len(x_BTD), 3 * _work(inputs), (sum(tall), width))
        *of_weights, of_others = sums_MP.split(tall)
        d_mu_6P, others_4P = of_others.split([MIXES, EXTRA_SUMS - MIXES])
        d_xi_P, d_alpha_P, d_w_0_P, d_a_0_P = others_4P[:, :H].unbind()
        d_weights = (
            part[: weight.shape[1], : len(weight)].T for part, weight in zip(of_weights, inputs[3:12], strict=True)
        )
        return None, None, d_x_BTD, d_before_BD, d_mu_6P[:, :D], *d_weights, d_w_0_P, d_a_0_P, d_xi_P, d_alpha_P


def rows_of_sums(D: int, R: int, G: int) -> list[int]:
    """Return the number of rows of each part of the sums: the nine matrices, then the others."""
    return [*(int(whole_tiles(width)) for width in (*[D] * MIXES, R, R, G)), EXTRA_SUMS]


def _work(inputs: tuple[Tensor, ...]) -> int:
    """Return the work of the forward pass, see `run_rows`."""
    x_BTD, numbers = inputs[0], sum(weight.numel() for weight in inputs[3:12])
    return x_BTD.shape[0] * x_BTD.shape[1] * numbers // TILED


def mix(reference: Reference, heads: int, x_BTD: Tensor, before_BD: Tensor, weights: Weights) -> tuple[Tensor, ...]:
    """Return r, w, κ, q, k̃ and v (B, T, N, K), and g (B, T, H), by `TokenMix`.

    Args:
        reference: Function of inputs and weights that computes the same results in plain torch.
        heads: Number of heads N.
        x_BTD: Inputs.
        before_BD: The input before the first step.
        weights: The weights.
    """
    given = [tensor.contiguous() for tensor in (x_BTD, before_BD, *weights)]
    results: tuple[Tensor, ...] = TokenMix.apply(reference, heads, *given)  # type: ignore[no-untyped-call]
    return results
