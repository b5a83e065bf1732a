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

# Shape suffixes: B batch, T time, S stored chunks, E channels, N states, M = 2N, R rank

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from arch.kernels.cells.state_space import decay
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
from arch.kernels.simd.activation import LN_2, LOG2_E, sigmoid, silu, silu_slope, softplus
from arch.kernels.simd.matvec import floats, row_sums
from arch.kernels.simd.vector import LANES, fma, load, load_first, splat, store, store_first
from arch.kernels.training.layer_norm import add_first

CHUNK = 16
"""Number of steps between two stored states. The states of one chunk and LANES channels fit into the L1 cache."""


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
        stored: Receives the state after each chunk but the last one, (B, S, N, E), if `saves` is true.
        saves: Whether to write `stored`.
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
    stored: Tensor
    saves: bool
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
        stored: What `forward_rows` wrote, (B, S, N, E).
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


@njit(forceinline=True)
def copy_states(source, source_at, source_stride, count, N, target, target_at, target_stride):  # type: ignore[no-untyped-def]
    """Copy the states of up to LANES channels.

    Args:
        source, source_at, source_stride: Array, offset of the first state, and distance between states.
        count: Number of channels. Values above LANES act as LANES.
        N: Number of states.
        target, target_at, target_stride: As for the source.
    """
    for n in range(N):
        store_first(
            target, target_at + n * target_stride, count, load_first(source, source_at + n * source_stride, count)
        )


@njit(forceinline=True)
def _load_rates(A, e, E, N, rates):  # type: ignore[no-untyped-def]
    """Write A log₂ e of up to LANES channels, from channel `e` on, to the array `rates` (N, LANES)."""
    for n in range(N):
        store(rates, n * LANES, load_first(A, n * E + e, E - e) * splat(LOG2_E))


@njit(forceinline=True)
def _summand(bias, W, low, low_at, R):  # type: ignore[no-untyped-def]
    """Return p of (1) of LANES channels.

    Args:
        bias: b of these channels, a vector.
        W: Array of their part of W, (R, LANES).
        low, low_at: Array of r, and the offset of the step.
        R: Rank.
    """
    for row in range(R):
        bias = fma(load(W, row * LANES), splat(low[low_at + row]), bias)
    return bias


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the results of rows `first` to `last` of the batch, for the `Forward` at the address `record`."""
    args = arguments_at(record, Forward)
    T, E, N, R, saves = args.T, args.E, args.N, args.R, args.saves
    low, c, z, y = floats(args.low), floats(args.c), floats(args.z), floats(args.y)
    W, biases = floats(args.W), floats(args.bias)
    A, BC, D, states, stored = floats(args.A), floats(args.BC), floats(args.D), floats(args.h), floats(args.stored)
    chunks = (T - 1) // CHUNK
    rates, h = np.zeros(N * LANES, np.float32), np.zeros(N * LANES, np.float32)
    W_here, least = np.zeros(R * LANES, np.float32), splat(-1.0 if args.negative else 0.0)
    for e in range(0, E, LANES):
        count, skip, bias = E - e, load_first(D, e, E - e), load_first(biases, e, E - e)
        copy_states(W, e, E, count, R, W_here, 0, LANES)
        _load_rates(A, e, E, N, rates)
        for b in range(first, last):
            copy_states(states, b * N * E + e, E, count, N, h, 0, LANES)
            for t in range(T):
                at, B_at = (b * T + t) * E + e, (b * T + t) * 2 * N
                step = softplus(_summand(bias, W_here, low, (b * T + t) * R, R))  # (1)
                value = load_first(c, at, count)
                write, s = step * value, skip * value
                for n in range(N):
                    place = n * LANES
                    kept = decay(step, load(rates, place), least)
                    h_n = fma(kept, load(h, place), write * splat(BC[B_at + n]))  # (2)
                    store(h, place, h_n)
                    s = fma(h_n, splat(BC[B_at + N + n]), s)  # (3)
                store_first(y, at, count, s * silu(load_first(z, at, count)))  # (4)
                if saves and (t + 1) % CHUNK == 0 and t + 1 < T:
                    chunk = b * chunks + t // CHUNK
                    copy_states(h, 0, LANES, count, N, stored, chunk * N * E + e, E)
            copy_states(h, 0, LANES, count, N, states, b * N * E + e, E)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the gradients of inputs and initial state, and add to `sums`, for rows `first` to `last` of the batch.

    The `Backward` is at the address `record`.
    """
    args = arguments_at(record, Backward)
    T, E, N, R = args.T, args.E, args.N, args.R
    low, c, z, W, biases = floats(args.low), floats(args.c), floats(args.z), floats(args.W), floats(args.bias)
    A, BC, D = floats(args.A), floats(args.BC), floats(args.D)
    h_0, stored, d_y, d_h = floats(args.h_0), floats(args.stored), floats(args.d_y), floats(args.d_h)
    d_low, d_c, d_z, d_BC, sums = (
        floats(args.d_low),
        floats(args.d_c),
        floats(args.d_z),
        floats(args.d_BC),
        floats(args.sums),
    )
    chunks, width, zero = (T - 1) // CHUNK, N * LANES, splat(0.0)
    h = np.zeros((CHUNK + 1) * width, np.float32)  # the state before each step of a chunk, and after the last one
    a = np.zeros(CHUNK * width, np.float32)
    p, delta, s = (
        np.zeros(CHUNK * LANES, np.float32),
        np.zeros(CHUNK * LANES, np.float32),
        np.zeros(CHUNK * LANES, np.float32),
    )
    rates, d_A, d_state = np.zeros(width, np.float32), np.zeros(width, np.float32), np.zeros(width, np.float32)
    d_B, d_C = np.zeros(CHUNK * width, np.float32), np.zeros(CHUNK * width, np.float32)
    W_here, d_W = np.zeros(R * LANES, np.float32), np.zeros(R * LANES, np.float32)
    d_r, ones = np.zeros(CHUNK * R * LANES, np.float32), np.ones(LANES, np.float32)
    least = splat(-1.0 if args.negative else 0.0)
    for b in range(first, last):
        for chunk in range(chunks, -1, -1):
            begin = chunk * CHUNK
            steps = min(T - begin, CHUNK)
            d_B[: steps * width] = 0
            d_C[: steps * width] = 0
            d_r[:] = 0
            for e in range(0, E, LANES):
                count, skip, bias = E - e, load_first(D, e, E - e), load_first(biases, e, E - e)
                copy_states(W, e, E, count, R, W_here, 0, LANES)
                _load_rates(A, e, E, N, rates)
                if chunk == 0:
                    copy_states(h_0, b * N * E + e, E, count, N, h, 0, LANES)
                else:
                    copy_states(stored, (b * chunks + chunk - 1) * N * E + e, E, count, N, h, 0, LANES)
                for k in range(steps):
                    at, B_at = (b * T + begin + k) * E + e, (b * T + begin + k) * 2 * N
                    summand, value = _summand(bias, W_here, low, (b * T + begin + k) * R, R), load_first(c, at, count)
                    step = softplus(summand)
                    store(p, k * LANES, summand)
                    store(delta, k * LANES, step)
                    write, total = step * value, skip * value
                    for n in range(N):
                        place = k * width + n * LANES
                        kept = decay(step, load(rates, n * LANES), least)
                        h_n = fma(kept, load(h, place), write * splat(BC[B_at + n]))
                        store(a, place, kept)
                        store(h, place + width, h_n)
                        total = fma(h_n, splat(BC[B_at + N + n]), total)
                    store(s, k * LANES, total)
                copy_states(d_h, b * N * E + e, E, count, N, d_state, 0, LANES)
                d_A[:] = 0
                d_W[:] = 0
                d_skip = d_bias = zero
                for k in range(steps - 1, -1, -1):
                    at, B_at = (b * T + begin + k) * E + e, (b * T + begin + k) * 2 * N
                    step, value, gate = load(delta, k * LANES), load_first(c, at, count), load_first(z, at, count)
                    dy = load_first(d_y, at, count)
                    write, ds = step * value, dy * silu(gate)  # (5)
                    store_first(d_z, at, count, dy * load(s, k * LANES) * silu_slope(gate))
                    d_skip = fma(ds, value, d_skip)
                    d_write = d_step = zero
                    for n in range(N):
                        place, of_n = k * width + n * LANES, n * LANES
                        kept = load(a, place)
                        dh = fma(ds, splat(BC[B_at + N + n]), load(d_state, of_n))  # (6)
                        store(d_C, place, fma(ds, load(h, place + width), load(d_C, place)))
                        d_write = fma(dh, splat(BC[B_at + n]), d_write)  # (7)
                        store(d_B, place, fma(dh, write, load(d_B, place)))
                        before = dh * kept  # (10)
                        store(d_state, of_n, before)
                        exponent = fma(-least, dh, before) * load(h, place)  # (8)
                        store(d_A, of_n, fma(exponent, step, load(d_A, of_n)))
                        d_step = fma(exponent, load(rates, of_n), d_step)
                    d_step = fma(d_write, value, d_step * splat(LN_2))  # (9)
                    store_first(d_c, at, count, fma(d_write, step, ds * skip))
                    dp = d_step * sigmoid(load(p, k * LANES))
                    d_bias += dp  # (11)
                    for row in range(R):
                        of_row, place, number = row * LANES, (k * R + row) * LANES, low[(b * T + begin + k) * R + row]
                        store(d_W, of_row, fma(dp, splat(number), load(d_W, of_row)))
                        store(d_r, place, fma(dp, load(W_here, of_row), load(d_r, place)))
                copy_states(d_state, 0, LANES, count, N, d_h, b * N * E + e, E)
                for n in range(N):
                    add_first(sums, n * E + e, count, load(d_A, n * LANES))
                add_first(sums, N * E + e, count, d_skip)
                for row in range(R):
                    add_first(sums, (N + 1 + row) * E + e, count, load(d_W, row * LANES))
                add_first(sums, (N + 1 + R) * E + e, count, d_bias)
            for k in range(steps):
                to = (b * T + begin + k) * 2 * N
                for n in range(0, N, LANES):
                    place, left = (k * N + n) * LANES, N - n
                    store_first(d_BC, to + n, left, row_sums(d_B, place, left, ones, 0, LANES))
                    store_first(d_BC, to + N + n, left, row_sums(d_C, place, left, ones, 0, LANES))
                for row in range(0, R, LANES):
                    place, left, to = (k * R + row) * LANES, R - row, (b * T + begin + k) * R + row
                    store_first(d_low, to, left, row_sums(d_r, place, left, ones, 0, LANES))


class Scan(torch.autograd.Function):
    """The map from r, c, z, W, b, A, B and C, D and h_0 to y (B, T, E) and h_T (B, N, E). `scan` lists their shapes."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, saves: bool, negative: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        r_BTR, c_BTE, z_BTE, W_RE, bias_E, A_NE, BC_BTM, D_E, h_BNE = inputs
        (B, T, E), N, R = c_BTE.shape, len(A_NE), len(W_RE)
        y_BTE, last_BNE = c_BTE.new_empty(B, T, E), h_BNE.clone(memory_format=CONTIGUOUS)
        stored_BSNE = c_BTE.new_empty(B, (T - 1) // CHUNK if saves else 0, N, E)
        arguments = Forward(
            low=r_BTR,
            c=c_BTE,
            z=z_BTE,
            W=W_RE,
            bias=bias_E,
            A=A_NE,
            BC=BC_BTM,
            D=D_E,
            h=last_BNE,
            y=y_BTE,
            stored=stored_BSNE,
            saves=saves,
            negative=negative,
            T=T,
            E=E,
            N=N,
            R=R,
        )
        run_rows(forward_rows, arguments, B, B * T * E * N)
        ctx.reference, ctx.negative = reference, negative
        ctx.save_for_backward(*inputs, stored_BSNE)
        return y_BTE, last_BNE

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, stored_BSNE = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, None, None, *reference_gradients(ctx.reference, inputs, gradients)
        r_BTR, c_BTE, z_BTE, W_RE, bias_E, A_NE, BC_BTM, D_E, h_BNE = inputs
        (B, T, E), N, R = c_BTE.shape, len(A_NE), len(W_RE)
        d_h_BNE = gradients[1].clone(memory_format=CONTIGUOUS)
        d_c_BTE, d_z_BTE = c_BTE.new_empty(B, T, E), c_BTE.new_empty(B, T, E)
        d_r_BTR, d_BC_BTM = c_BTE.new_empty(B, T, R), c_BTE.new_empty(B, T, 2 * N)
        arguments = Backward(
            low=r_BTR,
            c=c_BTE,
            z=z_BTE,
            W=W_RE,
            bias=bias_E,
            A=A_NE,
            BC=BC_BTM,
            D=D_E,
            h_0=h_BNE,
            stored=stored_BSNE,
            d_y=gradients[0],
            d_h=d_h_BNE,
            d_low=d_r_BTR,
            d_c=d_c_BTE,
            d_z=d_z_BTE,
            d_BC=d_BC_BTM,
            sums=None,
            negative=ctx.negative,
            T=T,
            E=E,
            N=N,
            R=R,
        )
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
