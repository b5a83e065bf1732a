"""The selective scan: equations (4) to (6) of `arch/mamba.py` over a whole sequence, and their derivatives.

    Δ  = softplus(p),  p = W r + b,  w = Δ c                             (1)
    h' = a h + w B,    a = e^(Δ A), or 2 e^(Δ A) - 1                      (2)  for each state of each channel
    s  = Σ C h' + D c                                                    (3)  over the states of a channel
    y  = s silu(z)                                                       (4)

d· is the derivative of the loss with respect to ·. dh collects the contributions of later steps and of the output:

    ds = dy silu(z),  dz = dy s silu'(z),  dD = Σ ds c                   (5)  over steps and batch
    dh ← dh + ds C,   dC = Σ ds h'                                       (6)  over channels
    dw = Σ dh B,      dB = Σ dh w                                        (7)  over states; over channels
    de = dh h a, or dh h (a + 1);  dA = Σ de Δ                           (8)  e is the exponent Δ A
    dΔ = Σ de A + dw c,  dc = dw Δ + ds D,  dp = dΔ σ(p)                 (9)  over states
    dh ← dh a                                                            (10)
    db = Σ dp,  dW = Σ dp r,  dr = Σ W dp                                (11)  over steps and batch; over channels

The states of a sequence are not stored. The forward pass stores them at the end of each chunk of `CHUNK` steps, from
where the backward pass computes them again. A vector holds the same state of LANES channels, so that the sum of (3)
stays within a lane. Sums over channels stay vectors until the end of a chunk.
"""

# Shape suffixes: B batch, T time, S stored chunks, E channels, N states, M = 2N, R rank, Q vectors of channels,
# P states rounded up to `AT_ONCE`, L lanes

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.runtime.launch import (
    CONTIGUOUS,
    Reference,
    needs_gradients,
    needs_reference,
    reference_gradients,
    run_rows,
    sum_rows,
    without_autocast,
)
from arch.kernels.simd.activation import LN_2, sigmoid, silu, silu_slope, softplus
from arch.kernels.simd.matmul import panels_of
from arch.kernels.simd.matvec import floats, keep, memory_of
from arch.kernels.simd.prefetch import prefetch
from arch.kernels.simd.scratch import empty, ones, zeros
from arch.kernels.simd.vector import LANES, fma, load, load_first, splat, store, store_first
from arch.kernels.training.state_space.selective_parts import (
    AT_ONCE,
    add_sums,
    advance,
    go_back,
    pack_panels,
    read,
    sum_channels,
    summand,
)
from arch.kernels.training.state_space.states import (
    clear,
    copy_maps,
    copy_states,
    copy_vectors,
    load_four,
    rounded,
    store_four,
)

CHUNK = 16
"""Number of steps between two stored states. dB and dC of one chunk and LANES channels fit into the L1 cache."""

OF_STEP, OF_WRITE, OF_SUM, OF_DS, OF_D_WRITE, OF_D_STEP, OF_P, FIELDS = range(0, 8 * LANES, LANES)
"""Offsets of the vectors of one step in scratch memory: Δ, w, s, ds, dw, dΔ, p, and the distance between steps."""


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        low: r, (B, T, R).
        c, z: Inputs (B, T, E).
        W, bias: Transposed W (R, E) and b (E,).
        A: A, (N, E).
        BC: B of all states, then C of all states, (B, T, 2N).
        D: D, (E,).
        h: Initial state (B, N, E). Receives the last state.
        y: y, (B, T, E), written.
        stored: Receives the state after each chunk but the last one, (B, S, Q, P, L). None if no gradient is needed.
        negative: Whether a lies in (-1, 1), by the second form of (2).
        T, E, N, R: Steps, channels, states per channel, rank.
    """

    low: Tensor
    c: Tensor
    z: Tensor
    W: Tensor
    bias: Tensor
    A: Tensor
    BC: Tensor
    D: Tensor
    h: Tensor
    y: Tensor
    stored: Tensor | None
    negative: bool
    T: int
    E: int
    N: int
    R: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        low, c, z, W, bias, A, BC, D: As for `Forward`.
        h_0: Initial state, (B, N, E).
        stored: What `forward_rows` wrote, (B, S, Q, P, L).
        d_y: Gradient of y, (B, T, E).
        d_h: Gradient of the last state (B, N, E). Receives that of the initial state.
        d_low, d_c, d_z, d_BC: Gradients of `low`, `c`, `z` and `BC`, written.
        sums: Gradients of A (N), D (1), W (R) and b (1), (N + R + 2, E), added to. `sum_rows` sets it for each share.
        negative: As for `Forward`.
        T, E, N, R: Steps, channels, states per channel, rank.
    """

    low: Tensor
    c: Tensor
    z: Tensor
    W: Tensor
    bias: Tensor
    A: Tensor
    BC: Tensor
    D: Tensor
    h_0: Tensor
    stored: Tensor
    d_y: Tensor
    d_h: Tensor
    d_low: Tensor
    d_c: Tensor
    d_z: Tensor
    d_BC: Tensor
    sums: Tensor | None
    negative: bool
    T: int
    E: int
    N: int
    R: int


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the results of rows `first` to `last` of the batch, for the `Forward` at the address `record`."""
    args = arguments_at(record, Forward)
    T, E, N, R, panels = args.T, args.E, args.N, args.R, panels_of(args.E)
    low, c, z, y, BC = floats(args.low), floats(args.c), floats(args.z), floats(args.y), floats(args.BC)
    biases, D, states, stored = floats(args.bias), floats(args.D), floats(args.h), floats(args.stored)
    chunks, padded, least = (T - 1) // CHUNK, rounded(N, AT_ONCE), splat(-1.0 if args.negative else 0.0)
    width = padded * LANES
    held = (
        zeros(panels * width),
        zeros(panels * width),
        zeros(panels * R * LANES),
        zeros(2 * CHUNK * padded),
        empty(FIELDS * CHUNK),
    )
    rates, h, weights, maps = memory_of(held[0]), memory_of(held[1]), memory_of(held[2]), memory_of(held[3])
    steps_of = memory_of(held[4])  # Δ, w and s of each step
    pack_panels(floats(args.A), floats(args.W), E, N, R, rates, weights)
    for b in range(first, last):
        clear(h, panels * width)  # NaN of another sequence in a missing state
        for panel in range(panels):
            copy_states(states, b * N * E + panel * LANES, E, E - panel * LANES, N, h, panel * width, LANES)
        for chunk in range(chunks + 1):
            begin, steps = b * T + chunk * CHUNK, min(T - chunk * CHUNK, CHUNK)
            copy_maps(BC, begin * 2 * N, 2 * N, steps, N, maps, padded)
            for panel in range(panels):
                e, of_panel = panel * LANES, panel * width
                count, skip, bias = E - e, load_first(D, e, E - e), load_first(biases, e, E - e)
                for k in range(steps):
                    at, place = (begin + k) * E + e, FIELDS * k
                    prefetch(c, at + CHUNK * E)
                    prefetch(z, at + CHUNK * E)
                    prefetch(y, at + CHUNK * E)
                    step = softplus(summand(bias, weights, panel * R * LANES, low, (begin + k) * R, R))  # (1)
                    value = load_first(c, at, count)
                    store(steps_of, place + OF_STEP, step)
                    store(steps_of, place + OF_WRITE, step * value)
                    store(steps_of, place + OF_SUM, skip * value)
                for n in range(0, padded, AT_ONCE):
                    here = of_panel + n * LANES
                    of_rates, of_h = load_four(rates, here), load_four(h, here)
                    for k in range(steps):
                        place, of_B = FIELDS * k, 2 * k * padded + n
                        step, write = load(steps_of, place + OF_STEP), load(steps_of, place + OF_WRITE)
                        _, of_h = advance(step, write, of_rates, least, of_h, maps, of_B)  # (2)
                        total = load(steps_of, place + OF_SUM)
                        store(steps_of, place + OF_SUM, read(total, of_h, maps, of_B + padded))  # (3)
                    store_four(h, here, of_h)
                for k in range(steps):
                    at = (begin + k) * E + e
                    gated = load(steps_of, FIELDS * k + OF_SUM) * silu(load_first(z, at, count))
                    store_first(y, at, count, gated)  # (4)
                if args.stored != 0 and chunk < chunks:
                    copy_vectors(h, of_panel, width, stored, ((b * chunks + chunk) * panels + panel) * width)
        for panel in range(panels):
            copy_states(h, panel * width, LANES, E - panel * LANES, N, states, b * N * E + panel * LANES, E)
    keep(held)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the gradients of inputs and initial state, and add to `sums`, for rows `first` to `last` of the batch.

    The `Backward` is at the address `record`.
    """
    args = arguments_at(record, Backward)
    T, E, N, R, panels = args.T, args.E, args.N, args.R, panels_of(args.E)
    low, c, z, BC, d_y = floats(args.low), floats(args.c), floats(args.z), floats(args.BC), floats(args.d_y)
    biases, D, h_0, d_h = floats(args.bias), floats(args.D), floats(args.h_0), floats(args.d_h)
    stored, d_c, d_z = floats(args.stored), floats(args.d_c), floats(args.d_z)
    chunks, padded, least = (T - 1) // CHUNK, rounded(N, AT_ONCE), splat(-1.0 if args.negative else 0.0)
    width, four = padded * LANES, AT_ONCE * LANES
    held = (
        zeros(panels * width),
        zeros(panels * R * LANES),
        zeros(2 * CHUNK * padded),
        zeros(panels * width),
        zeros(panels * width),
        zeros(panels * width),
        empty((2 * CHUNK + 1) * four),
        empty(FIELDS * CHUNK),
        empty(CHUNK * width),
        empty(CHUNK * width),
        empty(CHUNK * R * LANES),
        zeros(panels * R * LANES),
        zeros(2 * panels * LANES),
        ones(LANES),
    )
    rates, weights, maps, begins = memory_of(held[0]), memory_of(held[1]), memory_of(held[2]), memory_of(held[3])
    d_state, d_A, kept, steps_of = memory_of(held[4]), memory_of(held[5]), memory_of(held[6]), memory_of(held[7])
    d_B, d_C, d_r, d_W = memory_of(held[8]), memory_of(held[9]), memory_of(held[10]), memory_of(held[11])
    d_others, unit = memory_of(held[12]), memory_of(held[13])  # dD and db
    pack_panels(floats(args.A), floats(args.W), E, N, R, rates, weights)
    for b in range(first, last):
        clear(d_state, panels * width)
        clear(begins, panels * width)
        for panel in range(panels):
            at, count = b * N * E + panel * LANES, E - panel * LANES
            copy_states(d_h, at, E, count, N, d_state, panel * width, LANES)
            copy_states(h_0, at, E, count, N, begins, panel * width, LANES)
        for chunk in range(chunks, -1, -1):
            begin, steps = b * T + chunk * CHUNK, min(T - chunk * CHUNK, CHUNK)
            ahead = (-CHUNK if chunk > 0 else T + chunks * CHUNK) * E
            copy_maps(BC, begin * 2 * N, 2 * N, steps, N, maps, padded)
            clear(d_B, steps * width)
            clear(d_C, steps * width)
            clear(d_r, steps * R * LANES)
            for panel in range(panels):
                e, of_panel, of_W = panel * LANES, panel * width, panel * R * LANES
                count, skip, bias = E - e, load_first(D, e, E - e), load_first(biases, e, E - e)
                d_skip, d_bias = load(d_others, 2 * e), load(d_others, 2 * e + LANES)
                for k in range(steps):
                    at, place = (begin + k) * E + e, FIELDS * k
                    prefetch(c, at + ahead)
                    prefetch(z, at + ahead)
                    prefetch(d_y, at + ahead)
                    prefetch(d_c, at + ahead)
                    prefetch(d_z, at + ahead)
                    p, value = summand(bias, weights, of_W, low, (begin + k) * R, R), load_first(c, at, count)
                    step, ds = softplus(p), load_first(d_y, at, count) * silu(load_first(z, at, count))  # (5)
                    d_skip = fma(ds, value, d_skip)
                    store_four(steps_of, place, (step, step * value, skip * value, ds))
                    store(steps_of, place + OF_D_WRITE, splat(0.0))
                    store(steps_of, place + OF_D_STEP, splat(0.0))
                    store(steps_of, place + OF_P, p)
                for n in range(0, padded, AT_ONCE):
                    here, of_stored = of_panel + n * LANES, ((b * chunks + chunk - 1) * panels + panel) * width
                    of_rates, after = load_four(rates, here), load_four(begins, here)
                    if chunk > 0:
                        after = load_four(stored, of_stored + n * LANES)
                    store_four(kept, 0, after)
                    for k in range(steps):
                        place, of_B, to = FIELDS * k, 2 * k * padded + n, (2 * k + 1) * four
                        step, write = load(steps_of, place + OF_STEP), load(steps_of, place + OF_WRITE)
                        decays, after = advance(step, write, of_rates, least, after, maps, of_B)
                        store_four(kept, to, decays)
                        store_four(kept, to + four, after)
                        total = load(steps_of, place + OF_SUM)
                        store(steps_of, place + OF_SUM, read(total, after, maps, of_B + padded))
                    later, of_A = load_four(d_state, here), load_four(d_A, here)
                    for k in range(steps - 1, -1, -1):
                        place, of_B, to = FIELDS * k, 2 * k * padded + n, k * width + n * LANES
                        step, write, _, ds = load_four(steps_of, place)
                        d = ds, write, load(steps_of, place + OF_D_WRITE), load(steps_of, place + OF_D_STEP)
                        before, decays = load_four(kept, 2 * k * four), load_four(kept, (2 * k + 1) * four)
                        given = (before, after, later, decays, of_rates, of_A, d_B, d_C, to)
                        l_0, A_0, d = go_back(0, maps, of_B, padded, least, step, d, *given)
                        l_1, A_1, d = go_back(1, maps, of_B, padded, least, step, d, *given)
                        l_2, A_2, d = go_back(2, maps, of_B, padded, least, step, d, *given)
                        l_3, A_3, d = go_back(3, maps, of_B, padded, least, step, d, *given)
                        store(steps_of, place + OF_D_WRITE, d[2])
                        store(steps_of, place + OF_D_STEP, d[3])
                        later, of_A, after = (l_0, l_1, l_2, l_3), (A_0, A_1, A_2, A_3), before
                    store_four(d_state, here, later)
                    store_four(d_A, here, of_A)
                for k in range(steps):
                    at, place = (begin + k) * E + e, FIELDS * k
                    step, _, s, ds = load_four(steps_of, place)
                    d_write, d_step = load(steps_of, place + OF_D_WRITE), load(steps_of, place + OF_D_STEP)
                    value, gate, dy = load_first(c, at, count), load_first(z, at, count), load_first(d_y, at, count)
                    store_first(d_z, at, count, dy * s * silu_slope(gate))  # (5)
                    store_first(d_c, at, count, fma(d_write, step, ds * skip))  # (9)
                    dp = fma(d_write, value, d_step * splat(LN_2)) * sigmoid(load(steps_of, place + OF_P))
                    d_bias += dp  # (11)
                    for row in range(R):
                        of_row, to, number = of_W + row * LANES, (k * R + row) * LANES, low[(begin + k) * R + row]
                        store(d_W, of_row, fma(dp, splat(number), load(d_W, of_row)))
                        store(d_r, to, fma(dp, load(weights, of_row), load(d_r, to)))
                store(d_others, 2 * e, d_skip)
                store(d_others, 2 * e + LANES, d_bias)
            sum_channels(args, begin, steps, d_B, d_C, d_r, width, unit)
        for panel in range(panels):
            copy_states(d_state, panel * width, LANES, E - panel * LANES, N, d_h, b * N * E + panel * LANES, E)
    add_sums(args, d_A, width, d_W, d_others)
    keep(held)


class Scan(torch.autograd.Function):
    """The map from r, c, z, W, b, A, B and C, D and h_0 to y (B, T, E) and h_T (B, N, E). `scan` lists their shapes."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, saves: bool, negative: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        _, c_BTE, _, W_RE, _, A_NE, _, _, h_BNE = inputs
        (B, T, E), N, R = c_BTE.shape, len(A_NE), len(W_RE)
        y_BTE, last_BNE = c_BTE.new_empty(B, T, E), h_BNE.clone(memory_format=CONTIGUOUS)
        padded = panels_of(E), rounded(N, AT_ONCE), LANES
        stored_BSQPL = c_BTE.new_empty(B, (T - 1) // CHUNK, *padded) if saves else None
        results = (last_BNE, y_BTE, stored_BSQPL)
        arguments = Forward._make([*inputs[:-1], *results, negative, T, E, N, R])
        run_rows(forward_rows, arguments, B, B * T * E * N)
        ctx.reference, ctx.negative = reference, negative
        ctx.save_for_backward(*inputs, stored_BSQPL)
        return y_BTE, last_BNE

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, stored_BSQPL = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, None, None, *reference_gradients(ctx.reference, inputs, gradients)
        _, c_BTE, _, W_RE, _, A_NE, *_ = inputs
        (B, T, E), N, R = c_BTE.shape, len(A_NE), len(W_RE)
        d_h_BNE = gradients[1].clone(memory_format=CONTIGUOUS)
        d_c_BTE, d_z_BTE = c_BTE.new_empty(B, T, E), c_BTE.new_empty(B, T, E)
        d_r_BTR, d_BC_BTM = c_BTE.new_empty(B, T, R), c_BTE.new_empty(B, T, 2 * N)
        given = (*inputs, stored_BSQPL, gradients[0])
        written = (d_h_BNE, d_r_BTR, d_c_BTE, d_z_BTE, d_BC_BTM, None)
        arguments = Backward._make([*given, *written, ctx.negative, T, E, N, R])
        sums = sum_rows(backward_rows, arguments, B, 3 * B * T * E * N, (N + R + 2, E))
        d_A_NE, d_D_1E, d_W_RE, d_bias_1E = sums.split([N, 1, R, 1])
        of_inputs = (d_r_BTR, d_c_BTE, d_z_BTE, d_W_RE, d_bias_1E[0], d_A_NE, d_BC_BTM, d_D_1E[0], d_h_BNE)
        return None, None, None, *of_inputs


def scan(reference: Reference, negative: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return y (B, T, E) and the last state (B, N, E), by `Scan`.

    Args:
        reference: Function of `inputs` that computes the same results in plain torch. Second derivatives use it.
        negative: Whether a lies in (-1, 1), by the second form of (2).
        inputs: r (B, T, R), c and z (B, T, E), transposed W (R, E), b (E,), A (N, E), B then C (B, T, 2N), D (E,) and
            h_0 (B, N, E).
    """
    saves = needs_gradients(*inputs)
    outputs: tuple[Tensor, ...] = Scan.apply(reference, saves, negative, *inputs)  # type: ignore[no-untyped-call]
    return outputs
