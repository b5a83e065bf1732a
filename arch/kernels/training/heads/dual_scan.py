"""The memory of `mamba2` over a whole sequence: equations (3) to (5) of `arch/mamba2.py`, and their derivatives.

u, B and C are parts of one array c. A head has V channels, and all heads share B and C:

    Δ = softplus(d + b),  a = exp(-Δ e^A),  x = Δ u            (1)  Δ and a: one per head
    S_t = a S_(t-1) + B xᵀ                                     (2)
    y_t = S_tᵀ C + D ⊙ u                                       (3)  D: one per head

d· is the derivative of the loss with respect to ·. dS collects the contributions of later steps. At step t:

    dS ← dS + C dyᵀ,  dC = S_t dy                              (4)
    dB = dS x,  dx = dSᵀ B,  da = Σ dS ⊙ S_(t-1)               (5)  the last sum is over a head
    du = Δ ⊙ dx + D ⊙ dy,  dD = Σ dy u                         (6)
    dΔ = Σ dx u - e^A a da,  dA = -Σ Δ e^A a da                (7)
    dd = σ(d + b) dΔ,  db = Σ dd,  dS ← a dS                   (8)

A vector holds one row of the memory for LANES channels, of one head or of several, so that no lane is empty between
heads, and only dB, dC and the sums over heads cross lanes. The forward pass stores the memory once per segment of about
√T steps. From there, the backward pass computes it again. It follows four rows through a segment at a time, so that
these stay in registers.
"""

# Shape suffixes: B batch, T time, N heads, K states, V head width, E = N V channels, C = E + 2 K, S checkpoints,
# P: E rounded up to whole vectors

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from numba import njit
from torch import Tensor

from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.runtime.launch import (
    Reference,
    needs_gradients,
    needs_reference,
    reference_gradients,
    run_rows,
    sum_rows,
    without_autocast,
)
from arch.kernels.simd.activation import sigmoid
from arch.kernels.simd.matvec import floats, keep, memory_of, row_sums
from arch.kernels.simd.prefetch import prefetch
from arch.kernels.simd.reduction import lane_sum
from arch.kernels.simd.scratch import empty, ones, zeros
from arch.kernels.simd.vector import LANES, fma, load, load_first, splat, store, store_first
from arch.kernels.training.heads.dual_parts import (
    advance,
    advance_four,
    advance_rows,
    copy_back,
    copy_memory,
    go_back,
    load_rows,
    load_rows_below,
    rate_of,
    spread_heads,
    store_rows,
    write_gates,
)
from arch.kernels.training.heads.memory_step import whole_vectors
from arch.kernels.training.layer_norm import add_first
from arch.kernels.training.state_space.states import clear, copy_maps, load_four, rounded, store_four

MIN_SEGMENT = 16
"""Minimum number of steps from one checkpoint to the next."""
OF_RATE, OF_BIAS, OF_SKIP = range(3)
"""Rows of the sums: dA, db and dD."""


class Sizes(NamedTuple):
    """The sizes that both passes read.

    Args:
        T, N, K, V: Steps, heads, states, head width.
        segment: Number of steps from one checkpoint to the next.
    """

    T: int
    N: int
    K: int
    V: int
    segment: int


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        c: u, B and C, (B, T, E + 2K).
        d: d, (B, T, N).
        rate, bias, skip: A, b and D, (N,).
        S_0: Memory before the first step, (B, N, K, V).
        y: Results (B, T, E), written.
        S_T: Memory after the last step, (B, N, K, V), written.
        checkpoints: Memory before every `segment`-th step, (B, S, K, P), written, or None if no gradient is needed.
        T, N, K, V, segment: See `Sizes`.
    """

    c: Tensor
    d: Tensor
    rate: Tensor
    bias: Tensor
    skip: Tensor
    S_0: Tensor
    y: Tensor
    S_T: Tensor
    checkpoints: Tensor | None
    T: int
    N: int
    K: int
    V: int
    segment: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        c, d, rate, bias, skip, checkpoints: As for `Forward`.
        d_y, d_S: Gradients of the results and of the last memory.
        d_c, d_d, d_S_0: Gradients of `c`, `d` and `S_0`, written.
        sums: dA, db and dD, (3, N), added to. `sum_rows` sets it for each share.
        T, N, K, V, segment: See `Sizes`.
    """

    c: Tensor
    d: Tensor
    rate: Tensor
    bias: Tensor
    skip: Tensor
    checkpoints: Tensor
    d_y: Tensor
    d_S: Tensor
    d_c: Tensor
    d_d: Tensor
    d_S_0: Tensor
    sums: Tensor | None
    T: int
    N: int
    K: int
    V: int
    segment: int


@njit(forceinline=True)
def _store_result(y, to, c, at, count, skip, read):  # type: ignore[no-untyped-def]
    """Write y of (3) for up to LANES channels, whose u is at the offset `at` of c."""
    store_first(y, to, count, fma(skip, load_first(c, at, count), read))  # (3)


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write results, last memory and checkpoints of rows `first` to `last` of the batch."""
    args = arguments_at(record, Forward)
    T, N, K, V, segment = args.T, args.N, args.K, args.V, args.segment
    c, y, S_0, S_T, kept = floats(args.c), floats(args.y), floats(args.S_0), floats(args.S_T), floats(args.checkpoints)
    E, width, saved = N * V, whole_vectors(N * V), (T + segment - 1) // segment
    channels = E + 2 * K
    held = (
        zeros(K * width),
        zeros(2 * segment * whole_vectors(N)),
        zeros(segment * width + LANES),
        zeros(segment * width + LANES),
        zeros(segment * width + LANES),
        zeros(width + LANES),
    )
    S, gates, decays = memory_of(held[0]), memory_of(held[1]), memory_of(held[2])
    strengths, written, skips = memory_of(held[3]), memory_of(held[4]), memory_of(held[5])
    spread_heads(floats(args.skip), N, V, skips)
    for row in range(first, last):
        clear(S, K * width)
        copy_memory(S_0, row * N * K * V, N, K, V, width, S)
        for begin in range(0, T, segment):
            steps = min(segment, T - begin)
            write_gates(args, row, begin, steps, width, gates, decays, strengths, written)
            for e in range(0, width, LANES):
                count, skip = E - e, load(skips, e)
                if args.checkpoints != 0:
                    to = (row * saved + begin // segment) * K * width + e
                    for k in range(K):
                        store(kept, to + k * width, load(S, e + k * width))
                whole = steps & -4
                for step in range(0, whole, 4):
                    at, now = (row * T + begin + step) * channels, step * width + e
                    one, two, three = now + width, now + 2 * width, now + 3 * width
                    a = (load(decays, now), load(decays, one), load(decays, two), load(decays, three))
                    x = (load(written, now), load(written, one), load(written, two), load(written, three))
                    reads = advance_four(S, e, width, K, a, x, c, at + E, at + E + K, channels)  # (2)
                    to = (row * T + begin + step) * E + e
                    prefetch(c, at + segment * channels + e)
                    prefetch(c, at + (segment + 1) * channels + e)
                    prefetch(c, at + (segment + 2) * channels + e)
                    prefetch(c, at + (segment + 3) * channels + e)
                    prefetch(y, to + segment * E)
                    prefetch(y, to + (segment + 1) * E)
                    prefetch(y, to + (segment + 2) * E)
                    prefetch(y, to + (segment + 3) * E)
                    _store_result(y, to, c, at + e, count, skip, reads[0])
                    _store_result(y, to + E, c, at + channels + e, count, skip, reads[1])
                    _store_result(y, to + 2 * E, c, at + 2 * channels + e, count, skip, reads[2])
                    _store_result(y, to + 3 * E, c, at + 3 * channels + e, count, skip, reads[3])
                for step in range(whole, steps):
                    at, now, read = (row * T + begin + step) * channels, step * width + e, splat(0.0)
                    advance(S, e, width, K, load(decays, now), load(written, now), c, at + E)  # (2)
                    for k in range(K):
                        read = fma(load(S, e + k * width), splat(c[at + E + K + k]), read)
                    _store_result(y, (row * T + begin + step) * E + e, c, at + e, count, skip, read)
        copy_back(S, N, K, V, width, S_T, row * N * K * V)
    keep(held)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the gradients of inputs and first memory, and add to `sums`, for rows `first` to `last` of the batch."""
    args = arguments_at(record, Backward)
    T, N, K, V, segment = args.T, args.N, args.K, args.V, args.segment
    c, d, kept, d_y = floats(args.c), floats(args.d), floats(args.checkpoints), floats(args.d_y)
    d_S, d_c, d_d, sums = floats(args.d_S), floats(args.d_c), floats(args.d_d), floats(args.sums)
    rates, biases = floats(args.rate), floats(args.bias)
    E, width, of_heads, saved = N * V, whole_vectors(N * V), whole_vectors(N), (T + segment - 1) // segment
    channels, area, padded = E + 2 * K, K * width, rounded(K, 4)
    held = (
        empty((segment + 1) * 4 * LANES),
        zeros(padded * width),
        zeros(2 * segment * of_heads),
        zeros(segment * width + LANES),
        zeros(segment * width + LANES),
        zeros(segment * width + LANES),
        zeros(width + LANES),
        empty(segment * padded * LANES),
        empty(segment * padded * LANES),
        zeros(segment * width),
        zeros(segment * width),
        zeros(2 * segment * of_heads),
        zeros(width),
        ones(LANES),
        zeros(2 * segment * padded),
        empty(segment * LANES),
    )
    S, dS, gates = memory_of(held[0]), memory_of(held[1]), memory_of(held[2])  # S: four rows before and after each step
    decays, strengths, written = memory_of(held[3]), memory_of(held[4]), memory_of(held[5])
    skips, d_B, d_C = memory_of(held[6]), memory_of(held[7]), memory_of(held[8])
    by_step, by_decay, by_head = memory_of(held[9]), memory_of(held[10]), memory_of(held[11])
    d_skip, unit, maps, gradients = memory_of(held[12]), memory_of(held[13]), memory_of(held[14]), memory_of(held[15])
    spread_heads(floats(args.skip), N, V, skips)
    for row in range(first, last):
        clear(dS, padded * width)
        copy_memory(d_S, row * N * K * V, N, K, V, width, dS)
        for begin in range((saved - 1) * segment, -1, -segment):
            steps = min(segment, T - begin)
            ahead = -segment if begin > 0 else T + (saved - 1) * segment
            write_gates(args, row, begin, steps, width, gates, decays, strengths, written)
            copy_maps(c, (row * T + begin) * channels + E, channels, steps, K, maps, padded)
            clear(d_B, steps * padded * LANES)
            clear(d_C, steps * padded * LANES)
            for e in range(0, width, LANES):
                count, skip, of_skip = E - e, load(skips, e), load(d_skip, e)
                for step in range(steps):
                    t, now = row * T + begin + step, step * width + e
                    dy = load_first(d_y, t * E + e, count)
                    prefetch(c, (t + ahead) * channels + e)
                    prefetch(d_y, (t + ahead) * E + e)
                    prefetch(d_c, (t + ahead) * channels + e)
                    of_skip = fma(dy, load_first(c, t * channels + e, count), of_skip)
                    store(gradients, step * LANES, dy)
                    store(by_step, now, splat(0.0))
                    store(by_decay, now, splat(0.0))
                store(d_skip, e, of_skip)
                for k in range(0, padded, 4):
                    after = load_rows_below(kept, (row * saved + begin // segment) * area + e, k, K, width)
                    store_four(S, 0, after)
                    for step in range(steps):
                        now, of_B = step * width + e, 2 * step * padded + k
                        after = advance_rows(load(decays, now), load(written, now), after, maps, of_B)
                        store_four(S, (step + 1) * 4 * LANES, after)
                    later = load_rows(dS, k * width + e, width)
                    for step in range(steps - 1, -1, -1):
                        now, of_B, to = step * width + e, 2 * step * padded + k, (step * padded + k) * LANES
                        before = load_four(S, step * 4 * LANES)
                        dy, a, x = load(gradients, step * LANES), load(decays, now), load(written, now)
                        later, dx, da = go_back(dy, a, x, before, after, later, maps, of_B, padded, d_B, d_C, to)
                        store(by_step, now, load(by_step, now) + dx)
                        store(by_decay, now, load(by_decay, now) + da)
                        after = before
                    store_rows(dS, k * width + e, width, later)
                for step in range(steps):
                    t, now = row * T + begin + step, step * width + e
                    dx = load(by_step, now)
                    du = fma(load(strengths, now), dx, skip * load(gradients, step * LANES))  # (6)
                    store_first(d_c, t * channels + e, count, du)
                    store(by_step, now, dx * load_first(c, t * channels + e, count))
            for step in range(steps):
                to, place = (row * T + begin + step) * channels + E, step * padded * LANES
                for k in range(0, K, LANES):
                    here = place + k * LANES
                    store_first(d_c, to + k, K - k, row_sums(d_B, here, K - k, unit, 0, LANES))
                    store_first(d_c, to + K + k, K - k, row_sums(d_C, here, K - k, unit, 0, LANES))
            for step in range(steps):  # apart from the loop above: a read that spans recent writes waits for them
                for n in range(N):
                    of_step, of_decay, here = splat(0.0), splat(0.0), step * width + n * V
                    for v in range(0, V, LANES):
                        of_step += load_first(by_step, here + v, V - v)
                        of_decay += load_first(by_decay, here + v, V - v)
                    place = 2 * step * of_heads + n
                    by_head[place], by_head[place + of_heads] = lane_sum(of_step), lane_sum(of_decay)
            for n in range(0, N, LANES):
                count, rate, bias = N - n, rate_of(load_first(rates, n, N - n)), load_first(biases, n, N - n)
                of_rate, of_bias = splat(0.0), splat(0.0)
                for step in range(steps):
                    place, at = 2 * step * of_heads + n, (row * T + begin + step) * N + n
                    delta, through_a = load(gates, place), rate * load(gates, place + of_heads)
                    through_a = through_a * load(by_head, place + of_heads)
                    dd = sigmoid(load_first(d, at, count) + bias) * (load(by_head, place) - through_a)  # (7), (8)
                    store_first(d_d, at, count, dd)
                    of_rate, of_bias = fma(-delta, through_a, of_rate), of_bias + dd
                add_first(sums, OF_RATE * N + n, count, of_rate)
                add_first(sums, OF_BIAS * N + n, count, of_bias)
        copy_back(dS, N, K, V, width, floats(args.d_S_0), row * N * K * V)
    for n in range(N):
        total = splat(0.0)
        for v in range(0, V, LANES):
            total += load_first(d_skip, n * V + v, V - v)
        sums[OF_SKIP * N + n] += lane_sum(total)
    keep(held)


class DualScan(torch.autograd.Function):
    """The map from c (B, T, C), d (B, T, N), A, b and D (N,) and S (B, N, K, V) to y (B, T, E) and the last memory."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, sizes: Sizes, saves: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        c_BTC, _, _, _, _, S_BNKV = inputs
        (T, N, K, V, segment), B = sizes, len(c_BTC)
        y_BTE, last_BNKV = c_BTC.new_empty(B, T, N * V), torch.empty_like(S_BNKV)
        checkpoints_BSKP = c_BTC.new_empty(B, -(-T // segment), K, int(whole_vectors(N * V))) if saves else None
        arguments = Forward._make([*inputs, y_BTE, last_BNKV, checkpoints_BSKP, *sizes])
        run_rows(forward_rows, arguments, B, B * T * N * K * V // LANES)
        ctx.reference, ctx.sizes = reference, sizes
        ctx.save_for_backward(*inputs, checkpoints_BSKP)
        return y_BTE, last_BNKV

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, checkpoints_BSKP = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, None, None, *reference_gradients(ctx.reference, inputs, gradients)
        *given, S_BNKV = inputs
        (T, N, K, V, _), B = ctx.sizes, len(S_BNKV)
        d_c_BTC, d_d_BTN, d_S_BNKV = (torch.empty_like(inputs[place]) for place in (0, 1, 5))
        arguments = Backward._make([*given, checkpoints_BSKP, *gradients, d_c_BTC, d_d_BTN, d_S_BNKV, None, *ctx.sizes])
        sums_3N = sum_rows(backward_rows, arguments, B, 3 * B * T * N * K * V // LANES, (3, N))
        return None, None, None, d_c_BTC, d_d_BTN, *sums_3N.unbind(), d_S_BNKV


def scan(reference: Reference, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return y (B, T, E) and the last memory (B, N, K, V), by `DualScan`.

    Args:
        reference: Function of `inputs` that computes the same results in plain torch. Second derivatives use it.
        inputs: c (B, T, C), d (B, T, N), A, b and D (N,), and S (B, N, K, V).
    """
    contiguous = [tensor.contiguous() for tensor in inputs]
    T, (_, N, K, V) = inputs[0].shape[1], inputs[5].shape
    sizes = Sizes(T, N, K, V, max(MIN_SEGMENT, math.isqrt(T)))
    outputs: tuple[Tensor, ...] = DualScan.apply(reference, sizes, needs_gradients(*inputs), *contiguous)  # type: ignore[no-untyped-call]
    return outputs
