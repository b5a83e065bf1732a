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

The states of a sequence are not stored. The forward pass stores s, and the states at the end of each chunk of `CHUNK`
steps, from where the backward pass computes them again. A vector holds the same part of a state of LANES channels. Both
passes follow two states at a time through a chunk, so that these, their coefficients and sums stay in registers, and
neither waits for the other.
"""

# Shape suffixes: B batch, T time, S stored chunks, H channels, N states, P real and imaginary part,
# Q vectors of channels, E states rounded up to an even number, L lanes

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
from arch.kernels.simd.activation import gelu, gelu_and_slope
from arch.kernels.simd.matmul import panels_of
from arch.kernels.simd.matvec import floats, keep, memory_of
from arch.kernels.simd.prefetch import prefetch
from arch.kernels.simd.scratch import empty, zeros
from arch.kernels.simd.vector import LANES, fma, load, load_first, store, store_first
from arch.kernels.training.layer_norm import add_first
from arch.kernels.training.state_space.states import clear, copy_vectors, load_four, rounded, store_four
from arch.kernels.training.state_space.structured_parts import advance, go_back, pack, unpack

CHUNK = 32
"""Number of steps between two stored states. Two states of all these steps fit into a part of the L1 cache."""


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        x: x, (B, T, H).
        a, C: a and C, (2, N, H), real part first.
        D: D, (H,).
        real, imag: Initial state (B, N, H). Receive the last state.
        y: y, (B, T, H), written.
        s: s, (B, T, H), written. None if no gradient is needed.
        stored: Receives the state after each chunk but the last one, (B, S, Q, E, 2, L). None if no gradient is needed.
        T, H, N: Steps, channels, states per channel.
    """

    x: Tensor
    a: Tensor
    C: Tensor
    D: Tensor
    real: Tensor
    imag: Tensor
    y: Tensor
    s: Tensor | None
    stored: Tensor | None
    T: int
    H: int
    N: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        x, a, C, D: As for `Forward`.
        real, imag: Initial state, (B, N, H).
        s, stored: What `forward_rows` wrote.
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
    s: Tensor
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
    T, H, N, panels = args.T, args.H, args.N, panels_of(args.H)
    x, y, s, stored = floats(args.x), floats(args.y), floats(args.s), floats(args.stored)
    a, C, D, reals, imags = floats(args.a), floats(args.C), floats(args.D), floats(args.real), floats(args.imag)
    chunks, width = (T - 1) // CHUNK, 2 * LANES * rounded(N, 2)
    held = (
        zeros(panels * width),
        zeros(panels * width),
        zeros(panels * width),
        empty(CHUNK * LANES),
        empty(CHUNK * LANES),
    )
    a_all, C_all, h = memory_of(held[0]), memory_of(held[1]), memory_of(held[2])
    values, totals = memory_of(held[3]), memory_of(held[4])
    for panel in range(panels):
        unit = panel * LANES
        pack(a, unit, a, N * H + unit, H, H - unit, N, a_all, panel * width)
        pack(C, unit, C, N * H + unit, H, H - unit, N, C_all, panel * width)
    for b in range(first, last):
        clear(h, panels * width)
        for panel in range(panels):
            at, count = b * N * H + panel * LANES, H - panel * LANES
            pack(reals, at, imags, at, H, count, N, h, panel * width)
        for chunk in range(chunks + 1):
            begin = b * T + chunk * CHUNK
            steps = min(T - chunk * CHUNK, CHUNK)
            for panel in range(panels):
                unit, of_panel = panel * LANES, panel * width
                count, skip = H - unit, load_first(D, unit, H - unit)
                for k in range(steps):
                    at = (begin + k) * H + unit
                    value = load_first(x, at, count)
                    prefetch(x, at + CHUNK * H)
                    prefetch(y, at + CHUNK * H)
                    store(values, k * LANES, value)
                    store(totals, k * LANES, skip * value)
                for place in range(of_panel, of_panel + width, 4 * LANES):
                    of_a, of_C, of_h = load_four(a_all, place), load_four(C_all, place), load_four(h, place)
                    for k in range(steps):
                        of_h = advance(of_a, of_h, load(values, k * LANES))  # (1)
                        one = fma(-of_C[1], of_h[1], fma(of_C[0], of_h[0], load(totals, k * LANES)))
                        store(totals, k * LANES, fma(-of_C[3], of_h[3], fma(of_C[2], of_h[2], one)))  # (2)
                    store_four(h, place, of_h)
                for k in range(steps):
                    at, total = (begin + k) * H + unit, load(totals, k * LANES)
                    store_first(y, at, count, gelu(total))
                    if args.s != 0:
                        store_first(s, at, count, total)
                if args.stored != 0 and chunk < chunks:
                    to = ((b * chunks + chunk) * panels + panel) * width
                    copy_vectors(h, of_panel, width, stored, to)
        for panel in range(panels):
            unpack(h, panel * width, H - panel * LANES, N, reals, imags, b * N * H + panel * LANES, H)
    keep(held)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the gradients of x and of the initial state, and add to `sums`, for rows `first` to `last` of the batch.

    The `Backward` is at the address `record`.
    """
    args = arguments_at(record, Backward)
    T, H, N, panels = args.T, args.H, args.N, panels_of(args.H)
    x, s, a, C, D = floats(args.x), floats(args.s), floats(args.a), floats(args.C), floats(args.D)
    stored, reals, imags, sums = floats(args.stored), floats(args.real), floats(args.imag), floats(args.sums)
    d_y, d_real, d_imag, d_x = floats(args.d_y), floats(args.d_real), floats(args.d_imag), floats(args.d_x)
    chunks, width = (T - 1) // CHUNK, 2 * LANES * rounded(N, 2)
    held = (
        zeros(panels * width),
        zeros(panels * width),
        zeros(panels * width),
        zeros(panels * width),
        zeros(panels * width),
        zeros(panels * width),
        empty((CHUNK + 1) * 4 * LANES),
        empty(CHUNK * LANES),
        empty(CHUNK * LANES),
        empty(CHUNK * LANES),
        zeros(panels * LANES),
    )
    a_all, C_all, h_0, d_state = memory_of(held[0]), memory_of(held[1]), memory_of(held[2]), memory_of(held[3])
    d_a, d_C, states = memory_of(held[4]), memory_of(held[5]), memory_of(held[6])
    values, d_s, dx, d_skip = memory_of(held[7]), memory_of(held[8]), memory_of(held[9]), memory_of(held[10])
    for panel in range(panels):
        unit = panel * LANES
        pack(a, unit, a, N * H + unit, H, H - unit, N, a_all, panel * width)
        pack(C, unit, C, N * H + unit, H, H - unit, N, C_all, panel * width)
    for b in range(first, last):
        clear(d_state, panels * width)
        clear(h_0, panels * width)
        for panel in range(panels):
            at, count = b * N * H + panel * LANES, H - panel * LANES
            pack(d_real, at, d_imag, at, H, count, N, d_state, panel * width)
            pack(reals, at, imags, at, H, count, N, h_0, panel * width)
        for chunk in range(chunks, -1, -1):
            begin = b * T + chunk * CHUNK
            steps, ahead = min(T - chunk * CHUNK, CHUNK), (-CHUNK if chunk > 0 else T + chunks * CHUNK) * H
            for panel in range(panels):
                unit, of_panel = panel * LANES, panel * width
                count, skip, of_skip = H - unit, load_first(D, unit, H - unit), load(d_skip, unit)
                for k in range(steps):
                    at = (begin + k) * H + unit
                    value = load_first(x, at, count)
                    ds = load_first(d_y, at, count) * gelu_and_slope(load_first(s, at, count))[1]  # (3)
                    prefetch(x, at + ahead)
                    prefetch(s, at + ahead)
                    prefetch(d_y, at + ahead)
                    prefetch(d_x, at + ahead)
                    store(values, k * LANES, value)
                    store(d_s, k * LANES, ds)
                    store(dx, k * LANES, ds * skip)
                    of_skip = fma(ds, value, of_skip)
                store(d_skip, unit, of_skip)
                of_stored = ((b * chunks + chunk - 1) * panels + panel) * width
                for place in range(0, width, 4 * LANES):
                    here = of_panel + place
                    of_a, of_C = load_four(a_all, here), load_four(C_all, here)
                    before = load_four(h_0, here)
                    if chunk > 0:
                        before = load_four(stored, of_stored + place)
                    store_four(states, 0, before)
                    for k in range(steps):
                        before = advance(of_a, before, load(values, k * LANES))
                        store_four(states, (k + 1) * 4 * LANES, before)
                    after, later, sum_a, sum_C = (
                        before,
                        load_four(d_state, here),
                        load_four(d_a, here),
                        load_four(d_C, here),
                    )
                    for k in range(steps - 1, -1, -1):
                        before, ds = load_four(states, k * 4 * LANES), load(d_s, k * LANES)
                        dh, later_1, a_1, C_1 = go_back(
                            of_a[:2], of_C[:2], ds, later[:2], before[:2], after[:2], sum_a[:2], sum_C[:2]
                        )
                        other, later_2, a_2, C_2 = go_back(
                            of_a[2:], of_C[2:], ds, later[2:], before[2:], after[2:], sum_a[2:], sum_C[2:]
                        )
                        store(dx, k * LANES, load(dx, k * LANES) + (dh + other))  # (7)
                        after, later, sum_a, sum_C = before, later_1 + later_2, a_1 + a_2, C_1 + C_2
                    store_four(d_state, here, later)
                    store_four(d_a, here, sum_a)
                    store_four(d_C, here, sum_C)
                for k in range(steps):
                    store_first(d_x, (begin + k) * H + unit, count, load(dx, k * LANES))
        for panel in range(panels):
            unpack(d_state, panel * width, H - panel * LANES, N, d_real, d_imag, b * N * H + panel * LANES, H)
    for panel in range(panels):
        unit = panel * LANES
        count = H - unit
        for n in range(N):
            at, to = panel * width + n * 2 * LANES, n * H + unit
            add_first(sums, to, count, load(d_a, at))
            add_first(sums, to + N * H, count, load(d_a, at + LANES))
            add_first(sums, to + 2 * N * H, count, load(d_C, at))
            add_first(sums, to + 3 * N * H, count, load(d_C, at + LANES))
        add_first(sums, 4 * N * H + unit, count, load(d_skip, unit))
    keep(held)


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
        states = panels_of(H), rounded(N, 2), 2, LANES
        stored_BSQEPL = x_BTH.new_empty(B, (T - 1) // CHUNK, *states) if saves else None
        s_BTH = torch.empty_like(y_BTH) if saves else None
        arguments = Forward(
            x=x_BTH,
            a=a_PNH,
            C=C_PNH,
            D=D_H,
            real=real_BNH,
            imag=imag_BNH,
            y=y_BTH,
            s=s_BTH,
            stored=stored_BSQEPL,
            T=T,
            H=H,
            N=N,
        )
        run_rows(forward_rows, arguments, B, 2 * B * T * H * N)
        ctx.reference = reference
        ctx.save_for_backward(*inputs, s_BTH, stored_BSQEPL)
        return y_BTH, real_BNH, imag_BNH

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, s_BTH, stored_BSQEPL = ctx.saved_tensors
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
            s=s_BTH,
            stored=stored_BSQEPL,
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
