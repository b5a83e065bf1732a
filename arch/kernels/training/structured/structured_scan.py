"""The scan of a state-space model that does not depend on time: equations (2) to (4) of `arch/s4d.py` up to GELU.

h, a and C are complex. C is 2 C b of `arch/s4d.py`. The real and the imaginary part of h follow

    h'   = a h - a_i h_i + x,  h_i' = a h_i + a_i h          (1)
    s    = Σ (C h' - C_i h_i') + D x,  y = gelu(s)           (2)  over the states of a channel

d· is the derivative of the loss with respect to ·. dh collects the contributions of later steps and of the output:

    ds   = dy gelu'(s),  dD = Σ ds x                         (3)  over steps and batch, as all of (5) and (6)
    dh   ← dh + ds C,    dh_i ← dh_i - ds C_i                (4)
    dC   = Σ ds h',      dC_i = -Σ ds h_i'                   (5)
    da   = Σ (dh h + dh_i h_i),  da_i = Σ (dh_i h - dh h_i)  (6)
    dx   = Σ dh + ds D                                       (7)  over the states of a channel
    dh   ← a dh + a_i dh_i,  dh_i ← a dh_i - a_i dh          (8)

The states of a sequence are not stored. The forward pass stores them at the end of each chunk of `CHUNK` steps, from
where the backward pass computes them again. A vector holds the same state of LANES channels. The backward pass then
follows one state at a time through a chunk, so that its sums stay in registers.
"""

# Shape suffixes: B batch, T time, S stored chunks, H channels, N states, P real and imaginary part

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from arch.kernels.cells.state_space import rotated
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
from arch.kernels.simd.activation import gelu, gelu_and_slope
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.vector import LANES, fma, load, load_first, splat, store, store_first
from arch.kernels.training.layer_norm import add_first
from arch.kernels.training.selective_scan import CHUNK, copy_states


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        x: x, (B, T, H).
        a, C: a and C, (2, N, H), real part first.
        D: D, (H,).
        real, imag: Initial state (B, N, H). Receive the last state.
        y: y, (B, T, H), written.
        stored: Receives the state after each chunk but the last one, (B, S, 2, N, H), if `saves` is true.
        saves: Whether to write `stored`.
        T, H, N: Steps, channels, states per channel.
    """

    x: Tensor
    a: Tensor
    C: Tensor
    D: Tensor
    real: Tensor
    imag: Tensor
    y: Tensor
    stored: Tensor
    saves: bool
    T: int
    H: int
    N: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        x, a, C, D: As for `Forward`.
        real, imag: Initial state, (B, N, H).
        stored: What `forward_rows` wrote, (B, S, 2, N, H).
        d_y: Gradient of y, (B, T, H).
        d_real, d_imag: Gradient of the last state (B, N, H). Receive that of the initial state.
        d_x: Gradient of x, (B, T, H), written.
        sums: Gradients of a (2N), of C (2N) and of D (1), (4N + 1, H), added to. `sum_rows` sets it for each share.
        T, H, N: Steps, channels, states per channel.
    """

    x: Tensor
    a: Tensor
    C: Tensor
    D: Tensor
    real: Tensor
    imag: Tensor
    stored: Tensor
    d_y: Tensor
    d_real: Tensor
    d_imag: Tensor
    d_x: Tensor
    sums: Tensor | None
    T: int
    H: int
    N: int


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the results of rows `first` to `last` of the batch, for the `Forward` at the address `record`."""
    args = arguments_at(record, Forward)
    T, H, N, saves = args.T, args.H, args.N, args.saves
    x, a, C, D, y = floats(args.x), floats(args.a), floats(args.C), floats(args.D), floats(args.y)
    reals, imags, stored = floats(args.real), floats(args.imag), floats(args.stored)
    chunks, of_imag = (T - 1) // CHUNK, N * LANES
    a_here, C_here = np.zeros(2 * of_imag, np.float32), np.zeros(2 * of_imag, np.float32)
    h = np.zeros(2 * of_imag, np.float32)
    for unit in range(0, H, LANES):
        count, skip = H - unit, load_first(D, unit, H - unit)
        copy_states(a, unit, H, count, 2 * N, a_here, 0, LANES)
        copy_states(C, unit, H, count, 2 * N, C_here, 0, LANES)
        for b in range(first, last):
            copy_states(reals, b * N * H + unit, H, count, N, h, 0, LANES)
            copy_states(imags, b * N * H + unit, H, count, N, h, of_imag, LANES)
            for t in range(T):
                value = load_first(x, (b * T + t) * H + unit, count)
                s, s_i = skip * value, splat(0.0)
                for place in range(0, of_imag, LANES):
                    there = place + of_imag
                    real, imag = rotated(
                        load(a_here, place), load(a_here, there), load(h, place), load(h, there), value
                    )  # (1)
                    store(h, place, real)
                    store(h, there, imag)
                    s, s_i = fma(load(C_here, place), real, s), fma(load(C_here, there), imag, s_i)  # (2)
                store_first(y, (b * T + t) * H + unit, count, gelu(s - s_i))
                if saves and (t + 1) % CHUNK == 0 and t + 1 < T:
                    chunk = b * chunks + t // CHUNK
                    copy_states(h, 0, LANES, count, 2 * N, stored, chunk * 2 * N * H + unit, H)
            copy_states(h, 0, LANES, count, N, reals, b * N * H + unit, H)
            copy_states(h, of_imag, LANES, count, N, imags, b * N * H + unit, H)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the gradients of x and of the initial state, and add to `sums`, for rows `first` to `last` of the batch.

    The `Backward` is at the address `record`.
    """
    args = arguments_at(record, Backward)
    T, H, N = args.T, args.H, args.N
    x, a, C, D, stored = floats(args.x), floats(args.a), floats(args.C), floats(args.D), floats(args.stored)
    reals, imags, sums = floats(args.real), floats(args.imag), floats(args.sums)
    d_y, d_real, d_imag, d_x = floats(args.d_y), floats(args.d_real), floats(args.d_imag), floats(args.d_x)
    chunks, of_imag = (T - 1) // CHUNK, N * LANES
    width = 2 * of_imag
    h = np.zeros((CHUNK + 1) * width, np.float32)  # the state before each step of a chunk, and after the last one
    d_s, dx = np.zeros(CHUNK * LANES, np.float32), np.zeros(CHUNK * LANES, np.float32)
    a_here, C_here = np.zeros(width, np.float32), np.zeros(width, np.float32)
    d_state, d_a, d_C = np.zeros(width, np.float32), np.zeros(width, np.float32), np.zeros(width, np.float32)
    for unit in range(0, H, LANES):
        count, skip = H - unit, load_first(D, unit, H - unit)
        copy_states(a, unit, H, count, 2 * N, a_here, 0, LANES)
        copy_states(C, unit, H, count, 2 * N, C_here, 0, LANES)
        d_a[:] = 0
        d_C[:] = 0
        d_skip = splat(0.0)
        for b in range(first, last):
            copy_states(d_real, b * N * H + unit, H, count, N, d_state, 0, LANES)
            copy_states(d_imag, b * N * H + unit, H, count, N, d_state, of_imag, LANES)
            for chunk in range(chunks, -1, -1):
                begin = chunk * CHUNK
                steps = min(T - begin, CHUNK)
                if chunk == 0:
                    copy_states(reals, b * N * H + unit, H, count, N, h, 0, LANES)
                    copy_states(imags, b * N * H + unit, H, count, N, h, of_imag, LANES)
                else:
                    copy_states(stored, (b * chunks + chunk - 1) * 2 * N * H + unit, H, count, 2 * N, h, 0, LANES)
                for k in range(steps):
                    value = load_first(x, (b * T + begin + k) * H + unit, count)
                    total, total_i = skip * value, splat(0.0)
                    for place in range(0, of_imag, LANES):
                        there, here = place + of_imag, k * width + place
                        real, imag = rotated(
                            load(a_here, place), load(a_here, there), load(h, here), load(h, here + of_imag), value
                        )
                        store(h, here + width, real)
                        store(h, here + width + of_imag, imag)
                        total = fma(load(C_here, place), real, total)
                        total_i = fma(load(C_here, there), imag, total_i)
                    total = total - total_i
                    ds = load_first(d_y, (b * T + begin + k) * H + unit, count)
                    ds = ds * gelu_and_slope(total)[1]  # (3)
                    store(d_s, k * LANES, ds)
                    store(dx, k * LANES, ds * skip)
                    d_skip = fma(ds, value, d_skip)
                for place in range(0, of_imag, LANES):
                    there, end = place + of_imag, steps * width + place
                    a_n, a_i = load(a_here, place), load(a_here, there)
                    C_n, C_i = load(C_here, place), load(C_here, there)
                    later, later_i = load(d_state, place), load(d_state, there)
                    da, da_i, dC, dC_i = load(d_a, place), load(d_a, there), load(d_C, place), load(d_C, there)
                    after, after_i = load(h, end), load(h, end + of_imag)
                    for k in range(steps - 1, -1, -1):
                        here, ds = k * width + place, load(d_s, k * LANES)
                        before, before_i = load(h, here), load(h, here + of_imag)
                        dh, dh_i = fma(ds, C_n, later), fma(-ds, C_i, later_i)  # (4)
                        dC, dC_i = fma(ds, after, dC), fma(-ds, after_i, dC_i)  # (5)
                        da = fma(dh, before, fma(dh_i, before_i, da))  # (6)
                        da_i = fma(dh_i, before, fma(-dh, before_i, da_i))
                        store(dx, k * LANES, load(dx, k * LANES) + dh)  # (7)
                        later, later_i = fma(a_n, dh, a_i * dh_i), fma(a_n, dh_i, -a_i * dh)  # (8)
                        after, after_i = before, before_i
                    store(d_state, place, later)
                    store(d_state, there, later_i)
                    store(d_a, place, da)
                    store(d_a, there, da_i)
                    store(d_C, place, dC)
                    store(d_C, there, dC_i)
                for k in range(steps):
                    store_first(d_x, (b * T + begin + k) * H + unit, count, load(dx, k * LANES))
            copy_states(d_state, 0, LANES, count, N, d_real, b * N * H + unit, H)
            copy_states(d_state, of_imag, LANES, count, N, d_imag, b * N * H + unit, H)
        for n in range(2 * N):
            add_first(sums, n * H + unit, count, load(d_a, n * LANES))
            add_first(sums, (2 * N + n) * H + unit, count, load(d_C, n * LANES))
        add_first(sums, 4 * N * H + unit, count, d_skip)


class Scan(torch.autograd.Function):
    """The map from x (B, T, H), a and C (2, N, H), D (H,) and the initial state to y and the last state.

    A state is a real and an imaginary part, each (B, N, H).
    """

    @staticmethod
    def forward(ctx: Any, reference: Reference, saves: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        x_BTH, a_PNH, C_PNH, D_H, *state = inputs
        (B, T, H), N = x_BTH.shape, a_PNH.shape[1]
        real_BNH, imag_BNH = (part.clone(memory_format=CONTIGUOUS) for part in state)
        y_BTH = x_BTH.new_empty(B, T, H)
        stored_BSPNH = x_BTH.new_empty(B, (T - 1) // CHUNK if saves else 0, 2, N, H)
        arguments = Forward(
            x=x_BTH,
            a=a_PNH,
            C=C_PNH,
            D=D_H,
            real=real_BNH,
            imag=imag_BNH,
            y=y_BTH,
            stored=stored_BSPNH,
            saves=saves,
            T=T,
            H=H,
            N=N,
        )
        run_rows(forward_rows, arguments, B, 2 * B * T * H * N)
        ctx.reference = reference
        ctx.save_for_backward(*inputs, stored_BSPNH)
        return y_BTH, real_BNH, imag_BNH

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, stored_BSPNH = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, None, *reference_gradients(ctx.reference, inputs, gradients)
        x_BTH, a_PNH, C_PNH, D_H, real_BNH, imag_BNH = inputs
        (B, T, H), N = x_BTH.shape, a_PNH.shape[1]
        d_real_BNH, d_imag_BNH = (gradient.clone(memory_format=CONTIGUOUS) for gradient in gradients[1:])
        d_x_BTH = x_BTH.new_empty(B, T, H)
        arguments = Backward(
            x=x_BTH,
            a=a_PNH,
            C=C_PNH,
            D=D_H,
            real=real_BNH,
            imag=imag_BNH,
            stored=stored_BSPNH,
            d_y=gradients[0],
            d_real=d_real_BNH,
            d_imag=d_imag_BNH,
            d_x=d_x_BTH,
            sums=None,
            T=T,
            H=H,
            N=N,
        )
        sums = sum_rows(backward_rows, arguments, B, 6 * B * T * H * N, (4 * N + 1, H))
        d_a_MH, d_C_MH, d_D_1H = sums.split([2 * N, 2 * N, 1])
        shape = a_PNH.shape
        return None, None, d_x_BTH, d_a_MH.view(shape), d_C_MH.view(shape), d_D_1H[0], d_real_BNH, d_imag_BNH


def scan(reference: Reference, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return y (B, T, H) and the last state, real and imaginary part (B, N, H), by `Scan`.

    Args:
        reference: Function of `inputs` that computes the same results in plain torch. Second derivatives use it.
        inputs: x (B, T, H), a and C (2, N, H), D (H,), and the initial state, real and imaginary part (B, N, H).
    """
    outputs: tuple[Tensor, ...] = Scan.apply(reference, needs_gradients(*inputs), *inputs)  # type: ignore[no-untyped-call]
    return outputs
