"""Norm and gate of the values that heads read: the norms of `arch/core/memory/heads.py`, and their derivatives.

x are the numbers of one head: y, or silu(g) ⊙ y if the gate comes first. d· is the derivative of the loss with respect
to ·. m are means over the head:

    z  = (x - μ) ρ,  n = γ ⊙ z + o               (1)  ρ = 1 / √(σ² + ε); μ = 0 and σ² = m(x²) for an RMS norm
    dγ = Σ dn ⊙ z,  do = Σ dn                    (2)  summed over all rows
    dz = dn ⊙ γ
    dx = ρ (dz - m(dz) - z m(dz ⊙ z))            (3)  without m(dz) for an RMS norm
    dg = d(result) ⊙ n ⊙ silu'(g)                (4)  or dx ⊙ y ⊙ silu'(g) if the gate comes first

The backward pass computes μ and ρ again. Without a gate, x is y, and the result is n. A gate that comes last may be σ
instead of silu.
"""

# Shape suffixes: R rows, C channels of all heads, V channels of a head, G gains: V or C

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
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
from arch.kernels.simd.activation import sigmoid, silu
from arch.kernels.simd.matvec import floats, keep, load_if, memory_of
from arch.kernels.simd.prefetch import AHEAD, prefetch_all
from arch.kernels.simd.reduction import lane_sum
from arch.kernels.simd.scratch import empty, zeros
from arch.kernels.simd.vector import LANES, first_or, fma, load, load_first, splat, store, store_first
from arch.kernels.training.layer_norm import EPSILON, add_first


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        y, g: Values (R, C), and inputs of the gate (R, C) or None.
        gain, offset: γ (G,), and o (C,) or None for an RMS norm.
        result: Gated values, (R, C), written.
        gates_first: Whether the gate comes before the norm.
        is_sigmoid: Whether a gate that comes last is σ(g) instead of silu(g).
        C, V, G: Channels of all heads and of one head, and number of gains.
        epsilons: ε in units of `EPSILON`.
    """

    y: Tensor
    g: Tensor | None
    gain: Tensor
    offset: Tensor | None
    result: Tensor
    gates_first: bool
    is_sigmoid: bool
    C: int
    V: int
    G: int
    epsilons: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        y, g, gain, offset, gates_first, is_sigmoid, C, V, G, epsilons: As for `Forward`.
        d_result: Gradient of the result, (R, C).
        d_y, d_g: Gradients of `y` and `g`, (R, C), written. None for a gate that is None.
        sums: Sums (2, C), added to: dγ and do per channel. `sum_rows` sets it for each share.
    """

    y: Tensor
    g: Tensor | None
    gain: Tensor
    offset: Tensor | None
    d_result: Tensor
    d_y: Tensor
    d_g: Tensor | None
    sums: Tensor | None
    gates_first: bool
    is_sigmoid: bool
    C: int
    V: int
    G: int
    epsilons: int


@njit(forceinline=True)
def _gate_head(y, g, at, V, numbers, shares):  # type: ignore[no-untyped-def]
    """Write silu(g) ⊙ y of one head to `numbers`, and σ(g) to `shares`. Zeros follow, up to a whole vector."""
    for v in range(0, V, LANES):
        gate = load_first(g, at + v, V - v)
        share = sigmoid(gate)
        store(shares, v, share)
        store(numbers, v, gate * share * load_first(y, at + v, V - v))


@njit(forceinline=True)
def _normed(y, at, numbers, v, V, gates_first):  # type: ignore[no-untyped-def]
    """Return LANES numbers that the norm reads, zeros after the last one: y, or what `_gate_head` wrote."""
    return load(numbers, v) if gates_first else load_first(y, at + v, V - v)


@njit(forceinline=True)
def _moments(y, at, numbers, V, gates_first, is_centred, epsilons):  # type: ignore[no-untyped-def]
    """Return μ and ρ of (1) for the V numbers from offset `at` on."""
    total, squares, mean, per_number = splat(0.0), splat(0.0), np.float32(0), np.float32(1) / np.float32(V)
    if is_centred:
        for v in range(0, V, LANES):
            total += _normed(y, at, numbers, v, V, gates_first)
        mean = lane_sum(total) * per_number
    for v in range(0, V, LANES):
        apart = first_or(_normed(y, at, numbers, v, V, gates_first) - splat(mean), V - v, splat(0.0))
        squares = fma(apart, apart, squares)
    return mean, np.float32(1) / np.float32(math.sqrt(lane_sum(squares) * per_number + EPSILON * np.float32(epsilons)))


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the results of rows `first` to `last`."""
    args = arguments_at(record, Forward)
    C, V, gates_first, is_centred = args.C, args.V, args.gates_first != 0, args.offset != 0
    gates_last = args.g != 0 and not gates_first
    y, g, gain, offset = floats(args.y), floats(args.g), floats(args.gain), floats(args.offset)
    result, padded = floats(args.result), (V + LANES - 1) // LANES * LANES
    held = (empty(padded), empty(padded))
    numbers, shares = memory_of(held[0]), memory_of(held[1])
    for row in range(first, last):
        prefetch_all(y, row * C + AHEAD, C)
        prefetch_all(result, row * C + AHEAD, C)
        if args.g != 0:
            prefetch_all(g, row * C + AHEAD, C)
        for head in range(0, C, V):
            at, own = row * C + head, head if args.G == C else 0
            if gates_first:
                _gate_head(y, g, at, V, numbers, shares)
            mean, scale = _moments(y, at, numbers, V, gates_first, is_centred, args.epsilons)
            for v in range(0, V, LANES):
                count = V - v
                z = (_normed(y, at, numbers, v, V, gates_first) - splat(mean)) * splat(scale)
                n = fma(z, load_first(gain, own + v, count), load_if(is_centred, offset, head + v, count))
                if gates_last:
                    gate = load_first(g, at + v, count)
                    n = n * (sigmoid(gate) if args.is_sigmoid != 0 else silu(gate))
                store_first(result, at + v, count, n)  # (1)
    keep(held)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write `d_y` and `d_g`, and add the gradients of gain and offset to `sums`, for rows `first` to `last`."""
    args = arguments_at(record, Backward)
    C, V, gates_first, is_centred = args.C, args.V, args.gates_first != 0, args.offset != 0
    gates_last = args.g != 0 and not gates_first
    y, g, gain, offset = floats(args.y), floats(args.g), floats(args.gain), floats(args.offset)
    d_result, d_y, d_g, sums = floats(args.d_result), floats(args.d_y), floats(args.d_g), floats(args.sums)
    per_number, padded = np.float32(1) / np.float32(V), (V + LANES - 1) // LANES * LANES
    of_offset = C // V * padded
    held = (
        zeros(2 * of_offset),
        empty(padded),
        empty(padded),
        empty(padded),
        empty(padded),
    )
    totals = memory_of(held[0])  # `sums` in whole vectors, which can be read as soon as written
    numbers, shares, z_here, dz_here = memory_of(held[1]), memory_of(held[2]), memory_of(held[3]), memory_of(held[4])
    for row in range(first, last):
        prefetch_all(y, row * C + AHEAD, C)
        prefetch_all(d_result, row * C + AHEAD, C)
        prefetch_all(d_y, row * C + AHEAD, C)
        if args.g != 0:
            prefetch_all(g, row * C + AHEAD, C)
            prefetch_all(d_g, row * C + AHEAD, C)
        for head in range(0, C, V):
            at, own = row * C + head, head if args.G == C else 0
            if gates_first:
                _gate_head(y, g, at, V, numbers, shares)
            mean, scale = _moments(y, at, numbers, V, gates_first, is_centred, args.epsilons)
            total, product = splat(0.0), splat(0.0)
            for v in range(0, V, LANES):
                count, gains = V - v, load_first(gain, own + v, V - v)
                z = (_normed(y, at, numbers, v, V, gates_first) - splat(mean)) * splat(scale)
                dn = load_first(d_result, at + v, count)
                if gates_last:
                    gate = load_first(g, at + v, count)
                    share = sigmoid(gate)
                    n = fma(z, gains, load_if(is_centred, offset, head + v, count))
                    if args.is_sigmoid != 0:
                        store_first(d_g, at + v, count, dn * n * (share * (splat(1.0) - share)))  # (4)
                        dn = dn * share
                    else:
                        store_first(d_g, at + v, count, dn * n * fma(gate * share, splat(1.0) - share, share))  # (4)
                        dn = dn * gate * share
                place = head // V * padded + v
                store(totals, place, fma(dn, z, load(totals, place)))  # (2)
                store(totals, of_offset + place, load(totals, of_offset + place) + dn)
                dz = dn * gains
                store(z_here, v, z)
                store(dz_here, v, dz)
                total += dz
                product = fma(dz, z, product)
            of_mean = splat(lane_sum(total) * per_number if is_centred else np.float32(0))
            along = splat(lane_sum(product) * per_number)
            for v in range(0, V, LANES):
                count = V - v
                dx = splat(scale) * (load(dz_here, v) - of_mean - along * load(z_here, v))  # (3)
                if gates_first:
                    gate, share, value = load_first(g, at + v, count), load(shares, v), load_first(y, at + v, count)
                    slope = fma(gate * share, splat(1.0) - share, share)
                    store_first(d_g, at + v, count, dx * value * slope)  # (4)
                    dx = dx * gate * share
                store_first(d_y, at + v, count, dx)
    for head in range(0, C, V):
        for v in range(0, V, LANES):
            place = head // V * padded + v
            add_first(sums, head + v, V - v, load(totals, place))
            add_first(sums, C + head + v, V - v, load(totals, of_offset + place))
    keep(held)


class Form(NamedTuple):
    """What the norm is.

    Args:
        heads: Number of heads: each has C / heads channels.
        is_gated, gates_first: Whether there is a gate, and whether it comes before the norm.
        is_sigmoid: Whether a gate that comes last is σ(g) instead of silu(g).
        is_centred: Whether it is a group norm, with an offset.
        epsilons: ε in units of `EPSILON`.
    """

    heads: int
    is_gated: bool
    gates_first: bool
    is_sigmoid: bool
    is_centred: bool
    epsilons: int


class GatedNorm(torch.autograd.Function):
    """The map from y (R, C), γ (G,), g (R, C) if there is a gate, and o (C,) of a group norm to the results (R, C)."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, form: Form, *inputs: Tensor) -> Tensor:
        (y_RC, gain_G, g_RC, offset_C), o_RC = _all(form, inputs), torch.empty_like(inputs[0])
        R, C = y_RC.shape
        sizes = (form.gates_first, form.is_sigmoid, C, C // form.heads, len(gain_G), form.epsilons)
        run_rows(forward_rows, Forward(y_RC, g_RC, gain_G, offset_C, o_RC, *sizes), R, R * C)
        ctx.reference, ctx.form, ctx.sizes = reference, form, sizes
        ctx.save_for_backward(*inputs)
        return o_RC

    @staticmethod
    @without_autocast
    def backward(ctx: Any, d_o_RC: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        if needs_reference(d_o_RC):
            return None, None, *reference_gradients(ctx.reference, inputs, (d_o_RC,))
        y_RC, gain_G, g_RC, offset_C = _all(ctx.form, inputs)
        (R, C), d_y_RC = y_RC.shape, torch.empty_like(y_RC)
        d_g_RC = None if g_RC is None else torch.empty_like(g_RC)
        arguments = Backward(y_RC, g_RC, gain_G, offset_C, d_o_RC, d_y_RC, d_g_RC, None, *ctx.sizes)
        sums_2C = sum_rows(backward_rows, arguments, R, 2 * R * C, (2, C))
        d_gain_G, d_offset_C = sums_2C[0].view(-1, len(gain_G)).sum(0), None if offset_C is None else sums_2C[1]
        found = (d_y_RC, d_gain_G, d_g_RC, d_offset_C)
        return None, None, *(gradient for gradient in found if gradient is not None)


def _all(form: Form, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Return y, γ, g and o, with None for those that are absent."""
    y_RC, gain_G, *others = inputs
    g_RC = others.pop(0) if form.is_gated else None
    return y_RC, gain_G, g_RC, others.pop(0) if form.is_centred else None


def gated_norm(reference: Reference, form: Form, *inputs: Tensor) -> Tensor:
    """Return the normed and gated values (R, C), by `GatedNorm`.

    Args:
        reference: Function of `inputs` that computes the same results in plain torch. Second derivatives use it.
        form: What the norm is.
        inputs: y (R, C), γ (V,) or (C,), g (R, C) if there is a gate, and o (C,) for a group norm.
    """
    contiguous = [tensor.contiguous() for tensor in inputs]
    o_RC: Tensor = GatedNorm.apply(reference, form, *contiguous)  # type: ignore[no-untyped-call]
    return o_RC
