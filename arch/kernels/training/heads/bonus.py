"""The bonus and the output gate of `rwkv7`: (8) and (9) of `arch/rwkv7.py` after the norm, and their gradients.

n are the normed reads of a head. d· is the derivative of the loss with respect to ·:

    b = Σ ρ ⊙ r ⊙ k,  h = n + b v,  o = g ⊙ h                     (1)  the sum is over the head
    dn = g ⊙ do,  dg = h ⊙ do,  dv = b dn,  db = Σ v ⊙ dn         (2)
    dr = db ρ ⊙ k,  dk = db ρ ⊙ r,  dρ = Σ db r ⊙ k               (3)  the last sum is over all rows
"""

# Shape suffixes: R rows, H width

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
from arch.kernels.simd.matmul import panels_of
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.prefetch import AHEAD, prefetch_all
from arch.kernels.simd.reduction import lane_sum
from arch.kernels.simd.scratch import zeros
from arch.kernels.simd.vector import LANES, fma, load, load_first, splat, store, store_first
from arch.kernels.training.layer_norm import add_first


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        n, r, k, v, g: n, r, k, v and g, (R, H).
        rho: ρ, (H,).
        o: Results (R, H), written.
        H, K: Width, and width of a head.
    """

    n: Tensor
    r: Tensor
    k: Tensor
    v: Tensor
    g: Tensor
    rho: Tensor
    o: Tensor
    H: int
    K: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        n, r, k, v, g, rho, H, K: As for `Forward`.
        d_o: Gradient of the results, (R, H).
        d_n, d_r, d_k, d_v, d_g: Gradients of the inputs, (R, H), written.
        sums: Gradient of ρ (H,), added to. `sum_rows` sets it for each share.
    """

    n: Tensor
    r: Tensor
    k: Tensor
    v: Tensor
    g: Tensor
    rho: Tensor
    d_o: Tensor
    d_n: Tensor
    d_r: Tensor
    d_k: Tensor
    d_v: Tensor
    d_g: Tensor
    sums: Tensor | None
    H: int
    K: int


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the results of rows `first` to `last`."""
    args = arguments_at(record, Forward)
    H, K, n, r, k, v = args.H, args.K, floats(args.n), floats(args.r), floats(args.k), floats(args.v)
    g, rho, o = floats(args.g), floats(args.rho), floats(args.o)
    for row in range(first, last):
        soon = row * H + AHEAD
        prefetch_all(n, soon, H)
        prefetch_all(r, soon, H)
        prefetch_all(k, soon, H)
        prefetch_all(v, soon, H)
        prefetch_all(g, soon, H)
        prefetch_all(o, soon, H)
        for head in range(0, H, K):
            at, products = row * H + head, splat(0.0)
            for unit in range(0, K, LANES):
                count = K - unit
                weighted = load_first(rho, head + unit, count) * load_first(r, at + unit, count)
                products = fma(weighted, load_first(k, at + unit, count), products)
            b = splat(lane_sum(products))
            for unit in range(0, K, LANES):
                count = K - unit
                h = fma(b, load_first(v, at + unit, count), load_first(n, at + unit, count))
                store_first(o, at + unit, count, load_first(g, at + unit, count) * h)  # (1)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the gradients of the inputs of rows `first` to `last`, and add that of ρ to `sums`."""
    args = arguments_at(record, Backward)
    H, K, n, r, k, v = args.H, args.K, floats(args.n), floats(args.r), floats(args.k), floats(args.v)
    g, rho, d_o, d_n, d_g = floats(args.g), floats(args.rho), floats(args.d_o), floats(args.d_n), floats(args.d_g)
    d_r, d_k, d_v, sums = floats(args.d_r), floats(args.d_k), floats(args.d_v), floats(args.sums)
    padded = panels_of(K) * LANES
    totals = zeros(H // K * padded)  # the gradient of rho in whole vectors, head after head
    for row in range(first, last):
        soon = row * H + AHEAD
        prefetch_all(n, soon, H)
        prefetch_all(r, soon, H)
        prefetch_all(k, soon, H)
        prefetch_all(v, soon, H)
        prefetch_all(g, soon, H)
        prefetch_all(d_o, soon, H)
        prefetch_all(d_n, soon, H)
        prefetch_all(d_r, soon, H)
        prefetch_all(d_k, soon, H)
        prefetch_all(d_v, soon, H)
        prefetch_all(d_g, soon, H)
        for head in range(0, H, K):
            at, products, of_values = row * H + head, splat(0.0), splat(0.0)
            for unit in range(0, K, LANES):
                count = K - unit
                weighted = load_first(rho, head + unit, count) * load_first(r, at + unit, count)
                products = fma(weighted, load_first(k, at + unit, count), products)
                dn = load_first(g, at + unit, count) * load_first(d_o, at + unit, count)
                of_values = fma(load_first(v, at + unit, count), dn, of_values)
            b, db = splat(lane_sum(products)), splat(lane_sum(of_values))
            for unit in range(0, K, LANES):
                count, place = K - unit, head // K * padded + unit
                of_o, of_v = load_first(d_o, at + unit, count), load_first(v, at + unit, count)
                dn = load_first(g, at + unit, count) * of_o
                store_first(d_n, at + unit, count, dn)
                store_first(d_g, at + unit, count, fma(b, of_v, load_first(n, at + unit, count)) * of_o)
                store_first(d_v, at + unit, count, b * dn)  # (2)
                of_r, of_k = load_first(r, at + unit, count), load_first(k, at + unit, count)
                weight = db * load_first(rho, head + unit, count)
                store_first(d_r, at + unit, count, weight * of_k)
                store_first(d_k, at + unit, count, weight * of_r)
                store(totals, place, fma(db * of_r, of_k, load(totals, place)))  # (3)
    for head in range(0, H, K):
        for unit in range(0, K, LANES):
            add_first(sums, head + unit, K - unit, load(totals, head // K * padded + unit))


class Bonus(torch.autograd.Function):
    """The map from n, r, k, v and g (R, H) and ρ (H,) to o (R, H)."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, heads: int, *inputs: Tensor) -> Tensor:
        (R, H), o_RH = inputs[0].shape, torch.empty_like(inputs[0])
        run_rows(forward_rows, Forward._make([*inputs, o_RH, H, H // heads]), R, R * H)
        ctx.reference, ctx.heads = reference, heads
        ctx.save_for_backward(*inputs)
        return o_RH

    @staticmethod
    @without_autocast
    def backward(ctx: Any, d_o_RH: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        if needs_reference(d_o_RH):
            return None, None, *reference_gradients(ctx.reference, inputs, (d_o_RH,))
        R, H = inputs[0].shape
        found = [torch.empty_like(tensor) for tensor in inputs[:5]]
        arguments = Backward._make([*inputs, d_o_RH, *found, None, H, H // ctx.heads])
        return None, None, *found, sum_rows(backward_rows, arguments, R, 2 * R * H, (H,))


def add_bonus(reference: Reference, heads: int, *inputs: Tensor) -> Tensor:
    """Return o (R, H), by `Bonus`.

    Args:
        reference: Function of `inputs` that computes the same results in plain torch. Second derivatives use it.
        heads: Number of heads.
        inputs: n, r, k, v and g (R, H), and ρ (H,).
    """
    contiguous = [tensor.contiguous() for tensor in inputs]
    o_RH: Tensor = Bonus.apply(reference, heads, *contiguous)  # type: ignore[no-untyped-call]
    return o_RH
