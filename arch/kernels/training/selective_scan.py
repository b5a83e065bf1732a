"""The selective scan: equations (4) to (6) of `arch/mamba.py` over a whole sequence, and their derivatives.

    Δ  = softplus(p),  w = Δ c                                           (1)
    h' = a h + w B,    a = e^(Δ A)                                       (2)  for each state of each channel
    s  = Σ C h' + D c                                                    (3)  over the states of a channel
    y  = s silu(z)                                                       (4)

d· is the derivative of the loss with respect to ·. dh collects the contributions of later steps and of the output:

    ds = dy silu(z),  dz = dy s silu'(z),  dD = Σ ds c                   (5)  over steps and batch
    dh ← dh + ds C,   dC = Σ ds h'                                       (6)  over channels
    dw = Σ dh B,      dB = Σ dh w                                        (7)  over states; over channels
    de = dh h a,      dA = Σ de Δ                                        (8)  e is the exponent Δ A
    dΔ = Σ de A + dw c,  dc = dw Δ + ds D,  dp = dΔ σ(p)                 (9)  over states
    dh ← dh a                                                            (10)

The states of a sequence are not stored. The forward pass stores them at the end of each chunk of `CHUNK` steps, from
where the backward pass computes them again. A vector holds the same state of LANES channels, so that the sum of (3)
stays within a lane. Sums over channels stay vectors until the end of a chunk.
"""

# Shape suffixes: B batch, T time, S stored chunks, E channels, N states, M = 2N

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
        p, c, z: Inputs (B, T, E).
        A: A, (N, E).
        BC: B of all states, then C of all states, (B, T, 2N).
        D: D, (E,).
        h: Initial state (B, N, E). Receives the last state.
        y: y, (B, T, E), written.
        stored: Receives the state after each chunk but the last one, (B, S, N, E), if `saves` is true.
        saves: Whether to write `stored`.
        T, E, N: Steps, channels, states per channel.
    """

    p: Tensor
    c: Tensor
    z: Tensor
    A: Tensor
    BC: Tensor
    D: Tensor
    h: Tensor
    y: Tensor
    stored: Tensor
    saves: bool
    T: int
    E: int
    N: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        p, c, z, A, BC, D: As for `Forward`.
        h_0: Initial state, (B, N, E).
        stored: What `forward_rows` wrote, (B, S, N, E).
        d_y: Gradient of y, (B, T, E).
        d_h: Gradient of the last state (B, N, E). Receives that of the initial state.
        d_p, d_c, d_z, d_BC: Gradients of `p`, `c`, `z` and `BC`, written.
        sums: Gradients of A, then of D, (N + 1, E), added to. `sum_rows` sets it for each share.
        T, E, N: Steps, channels, states per channel.
    """

    p: Tensor
    c: Tensor
    z: Tensor
    A: Tensor
    BC: Tensor
    D: Tensor
    h_0: Tensor
    stored: Tensor
    d_y: Tensor
    d_h: Tensor
    d_p: Tensor
    d_c: Tensor
    d_z: Tensor
    d_BC: Tensor
    sums: Tensor | None
    T: int
    E: int
    N: int


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


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the results of rows `first` to `last` of the batch, for the `Forward` at the address `record`."""
    args = arguments_at(record, Forward)
    T, E, N, saves = args.T, args.E, args.N, args.saves
    p, c, z, y = floats(args.p), floats(args.c), floats(args.z), floats(args.y)
    A, BC, D, states, stored = floats(args.A), floats(args.BC), floats(args.D), floats(args.h), floats(args.stored)
    chunks = (T - 1) // CHUNK
    rates, h = np.zeros(N * LANES, np.float32), np.zeros(N * LANES, np.float32)
    for e in range(0, E, LANES):
        count, skip = E - e, load_first(D, e, E - e)
        _load_rates(A, e, E, N, rates)
        for b in range(first, last):
            copy_states(states, b * N * E + e, E, count, N, h, 0, LANES)
            for t in range(T):
                at, B_at = (b * T + t) * E + e, (b * T + t) * 2 * N
                step, value = softplus(load_first(p, at, count)), load_first(c, at, count)  # (1)
                write, s = step * value, skip * value
                for n in range(N):
                    place = n * LANES
                    h_n = fma(decay(step, load(rates, place)), load(h, place), write * splat(BC[B_at + n]))  # (2)
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
    T, E, N = args.T, args.E, args.N
    p, c, z, A, BC, D = (
        floats(args.p),
        floats(args.c),
        floats(args.z),
        floats(args.A),
        floats(args.BC),
        floats(args.D),
    )
    h_0, stored, d_y, d_h = floats(args.h_0), floats(args.stored), floats(args.d_y), floats(args.d_h)
    d_p, d_c, d_z, d_BC, sums = (
        floats(args.d_p),
        floats(args.d_c),
        floats(args.d_z),
        floats(args.d_BC),
        floats(args.sums),
    )
    chunks, width, zero = (T - 1) // CHUNK, N * LANES, splat(0.0)
    h = np.zeros((CHUNK + 1) * width, np.float32)  # the state before each step of a chunk, and after the last one
    a = np.zeros(CHUNK * width, np.float32)
    s = np.zeros(CHUNK * LANES, np.float32)
    rates, d_A, d_state = np.zeros(width, np.float32), np.zeros(width, np.float32), np.zeros(width, np.float32)
    d_B, d_C = np.zeros(CHUNK * width, np.float32), np.zeros(CHUNK * width, np.float32)
    ones = np.ones(LANES, np.float32)
    for b in range(first, last):
        for chunk in range(chunks, -1, -1):
            begin = chunk * CHUNK
            steps = min(T - begin, CHUNK)
            d_B[: steps * width] = 0
            d_C[: steps * width] = 0
            for e in range(0, E, LANES):
                count, skip = E - e, load_first(D, e, E - e)
                _load_rates(A, e, E, N, rates)
                if chunk == 0:
                    copy_states(h_0, b * N * E + e, E, count, N, h, 0, LANES)
                else:
                    copy_states(stored, (b * chunks + chunk - 1) * N * E + e, E, count, N, h, 0, LANES)
                for k in range(steps):
                    at, B_at = (b * T + begin + k) * E + e, (b * T + begin + k) * 2 * N
                    step, value = softplus(load_first(p, at, count)), load_first(c, at, count)
                    write, total = step * value, skip * value
                    for n in range(N):
                        place = k * width + n * LANES
                        kept = decay(step, load(rates, n * LANES))
                        h_n = fma(kept, load(h, place), write * splat(BC[B_at + n]))
                        store(a, place, kept)
                        store(h, place + width, h_n)
                        total = fma(h_n, splat(BC[B_at + N + n]), total)
                    store(s, k * LANES, total)
                copy_states(d_h, b * N * E + e, E, count, N, d_state, 0, LANES)
                d_A[:] = 0
                d_skip = zero
                for k in range(steps - 1, -1, -1):
                    at, B_at = (b * T + begin + k) * E + e, (b * T + begin + k) * 2 * N
                    summand, value, gate = load_first(p, at, count), load_first(c, at, count), load_first(z, at, count)
                    step, dy = softplus(summand), load_first(d_y, at, count)
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
                        exponent = before * load(h, place)  # (8)
                        store(d_A, of_n, fma(exponent, step, load(d_A, of_n)))
                        d_step = fma(exponent, load(rates, of_n), d_step)
                    d_step = fma(d_write, value, d_step * splat(LN_2))  # (9)
                    store_first(d_c, at, count, fma(d_write, step, ds * skip))
                    store_first(d_p, at, count, d_step * sigmoid(summand))
                copy_states(d_state, 0, LANES, count, N, d_h, b * N * E + e, E)
                for n in range(N):
                    add_first(sums, n * E + e, count, load(d_A, n * LANES))
                add_first(sums, N * E + e, count, d_skip)
            for k in range(steps):
                to = (b * T + begin + k) * 2 * N
                for n in range(0, N, LANES):
                    place, left = (k * N + n) * LANES, N - n
                    store_first(d_BC, to + n, left, row_sums(d_B, place, left, ones, 0, LANES))
                    store_first(d_BC, to + N + n, left, row_sums(d_C, place, left, ones, 0, LANES))


class Scan(torch.autograd.Function):
    """The map from p, c and z (B, T, E), A (N, E), B and C (B, T, 2N), D (E,) and h_0 (B, N, E) to y and h_T."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, saves: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        p_BTE, c_BTE, z_BTE, A_NE, BC_BTM, D_E, h_BNE = inputs
        (B, T, E), N = p_BTE.shape, len(A_NE)
        y_BTE, last_BNE = p_BTE.new_empty(B, T, E), h_BNE.clone(memory_format=CONTIGUOUS)
        stored_BSNE = p_BTE.new_empty(B, (T - 1) // CHUNK if saves else 0, N, E)
        arguments = Forward(
            p=p_BTE,
            c=c_BTE,
            z=z_BTE,
            A=A_NE,
            BC=BC_BTM,
            D=D_E,
            h=last_BNE,
            y=y_BTE,
            stored=stored_BSNE,
            saves=saves,
            T=T,
            E=E,
            N=N,
        )
        run_rows(forward_rows, arguments, B, B * T * E * N)
        ctx.reference = reference
        ctx.save_for_backward(*inputs, stored_BSNE)
        return y_BTE, last_BNE

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, stored_BSNE = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, None, *reference_gradients(ctx.reference, inputs, gradients)
        p_BTE, c_BTE, z_BTE, A_NE, BC_BTM, D_E, h_BNE = inputs
        (B, T, E), N = p_BTE.shape, len(A_NE)
        d_h_BNE = gradients[1].clone(memory_format=CONTIGUOUS)
        d_p_BTE, d_c_BTE, d_z_BTE = (p_BTE.new_empty(B, T, E) for _ in range(3))
        d_BC_BTM = p_BTE.new_empty(B, T, 2 * N)
        arguments = Backward(
            p=p_BTE,
            c=c_BTE,
            z=z_BTE,
            A=A_NE,
            BC=BC_BTM,
            D=D_E,
            h_0=h_BNE,
            stored=stored_BSNE,
            d_y=gradients[0],
            d_h=d_h_BNE,
            d_p=d_p_BTE,
            d_c=d_c_BTE,
            d_z=d_z_BTE,
            d_BC=d_BC_BTM,
            sums=None,
            T=T,
            E=E,
            N=N,
        )
        sums = sum_rows(backward_rows, arguments, B, 3 * B * T * E * N, (N + 1, E))
        return None, None, d_p_BTE, d_c_BTE, d_z_BTE, sums[:N], d_BC_BTM, sums[N], d_h_BNE


def scan(reference: Reference, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return y (B, T, E) and the last state (B, N, E), by `Scan`.

    Args:
        reference: Function of `inputs` that computes the same results in plain torch. Second derivatives use it.
        inputs: p, c and z (B, T, E), A (N, E), B then C (B, T, 2N), D (E,) and h_0 (B, N, E).
    """
    outputs: tuple[Tensor, ...] = Scan.apply(reference, needs_gradients(*inputs), *inputs)  # type: ignore[no-untyped-call]
    return outputs
