"""LRU over a whole sequence: equations (1) to (4) of `arch/lru.py`, and their derivatives.

d· is the derivative of the loss with respect to ·. dh collects the contributions of the readout and of the next step.
¯ marks conjugated numbers. With E = γ ⊙ B, p = W u + b and g = σ(p_2):

    dp_1 = dy ⊙ g,  dp_2 = dy ⊙ p_1 ⊙ g ⊙ (1 - g)                          (7)   p_1 and p_2 are the halves of p
    dv  = W^T dp ⊙ gelu'(v)                                                (8)   without a gate: dv = dy
    dh  ← C^T dv + ā dh,  da = Σ_t dh_t h̄_(t-1)                            (9)
    dx  = D ⊙ dv + E^T dh                                                  (10)
    dW  = Σ dp u^T,  db = Σ dp,  dC = Σ dv h^T,  dD = Σ dv ⊙ x,  dE = Σ dh x^T   (11)  over steps and sequences
    dν  = -e^ν ⊙ Re(ā da),  dθ = e^θ ⊙ Im(ā da),  dc = Σ dE ⊙ E,  dB = γ ⊙ dE    (12)

A few steps pass through all equations while they are in the cache. Only h and v are kept for the backward pass, which
computes p again: for long sequences, this takes less time than moving p through memory.
`torch` computes a, E and (12), which are small.
"""

# Shape suffixes: T time, B batch, H width, N complex states, M = 2N real numbers, G = 2H rows

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
from arch.kernels.runtime.threads import TILED
from arch.kernels.simd.activation import gelu, gelu_and_slope, sigmoid
from arch.kernels.simd.matmul import ROWS, multiply, pack, pack_transposed, panels_of
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.scratch import empty, zeros
from arch.kernels.simd.vector import LANES, fma, load, load_first, splat, store, store_first
from arch.kernels.training.chunked import (
    Chunk,
    Columns,
    add_biases,
    add_weights,
    in_whole_vectors,
    place_of,
    project,
    rows_in,
    steps_at_once,
    stride_of,
)
from arch.kernels.training.linear_units.lru_parts import advance, both_parts, go_back, offsets, sizes_of


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        x, a, E, C, D: Inputs (T, B, H), a (2, N), γ ⊙ B (M, H), C (H, M) and D (H,). Real parts come first.
        W, b: Weights (G, H) and biases (G,) of the gated linear unit, or None if there is none.
        re_0, im_0: Real and imaginary parts of the initial state, (B, N).
        h: States, (T, B, M), written.
        v: v (T, B, H), written, or None if there is no gated linear unit or if no backward pass follows.
        y: Outputs (T, B, H), written.
        T, B, H, N: Steps, batch size, width and complex states.
    """

    x: Tensor
    a: Tensor
    E: Tensor
    C: Tensor
    D: Tensor
    W: Tensor | None
    b: Tensor | None
    re_0: Tensor
    im_0: Tensor
    h: Tensor
    v: Tensor | None
    y: Tensor
    T: int
    B: int
    H: int
    N: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        x, a, E, C, D, W, b, re_0, im_0, h, v, T, B, H, N: As for `Forward`.
        d_y: Gradient of the outputs, (T, B, H).
        d_re, d_im: Gradients of the last state (B, N). Receive those of the initial state.
        d_x: Gradient of `x`, (T, B, H), written.
        sums: Weight gradients in the order of `sizes_of`, added to. `sum_rows` sets it for each share.
    """

    x: Tensor
    a: Tensor
    E: Tensor
    C: Tensor
    D: Tensor
    W: Tensor | None
    b: Tensor | None
    re_0: Tensor
    im_0: Tensor
    h: Tensor
    v: Tensor | None
    d_y: Tensor
    d_re: Tensor
    d_im: Tensor
    d_x: Tensor
    sums: Tensor | None
    T: int
    B: int
    H: int
    N: int


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write states and outputs, and what is kept for the backward pass, of rows `first` to `last` of the batch."""
    args = arguments_at(record, Forward)
    T, B, H, N = args.T, args.B, args.H, args.N
    x, h, v, y, W = floats(args.x), floats(args.h), floats(args.v), floats(args.y), floats(args.W)
    rows, panels, of_gate = last - first, panels_of(H), panels_of(2 * H)
    steps, narrow, wide = steps_at_once(rows, T), panels * LANES, of_gate * LANES
    a_re, a_im, D = (
        in_whole_vectors(floats(args.a), 0, N),
        in_whole_vectors(floats(args.a), N, N),
        in_whole_vectors(floats(args.D), 0, H),
    )
    packed_E = pack_transposed(floats(args.E), 0, 2 * N, 2 * N, H)
    packed_C = pack_transposed(floats(args.C), 0, H, H, 2 * N)
    gated = args.W != 0
    packed_W = pack_transposed(W, 0, 2 * H, 2 * H, H) if gated else packed_C
    b_1 = in_whole_vectors(floats(args.b), 0, H) if gated else D
    b_2 = in_whole_vectors(floats(args.b), H, H) if gated else D
    state = both_parts(floats(args.re_0), floats(args.im_0), first, rows, N)
    written = empty(steps * rows * panels_of(2 * N) * LANES)
    product, u = empty(steps * rows * narrow), empty(steps * rows * narrow)
    p = empty(steps * rows * wide)
    for begin in range(0, T, steps):
        chunk = Chunk(begin, min(T, begin + steps), B, first, last)
        project(written, x, H, packed_E, panels_of(2 * N), chunk)
        advance(args, chunk, written, a_re, a_im, state)  # (2)
        project(product, h, 2 * N, packed_C, panels, chunk)
        for number in range(rows_in(chunk)):
            place = place_of(chunk, number)
            for unit in range(0, H, LANES):
                count = H - unit
                skipped = load(D, unit) * load_first(x, place * H + unit, count)
                of_v = load(product, number * narrow + unit) + skipped  # (3)
                if not gated:
                    store_first(y, place * H + unit, count, of_v)
                    continue
                store(u, number * narrow + unit, gelu(of_v))
                if args.v != 0:
                    store_first(v, place * H + unit, count, of_v)
        if not gated:
            continue
        multiply(p, 0, wide, u, 0, narrow, packed_W, H, rows_in(chunk), of_gate)
        for number in range(rows_in(chunk)):
            place = place_of(chunk, number)
            for unit in range(0, H, LANES):
                at, count = number * wide + unit, H - unit
                value = load_first(p, at, count) + load(b_1, unit)
                gate = sigmoid(load_first(p, at + H, count) + load(b_2, unit))
                store_first(y, place * H + unit, count, value * gate)  # (4a)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write `d_x`, `d_re` and `d_im`, and add the weight gradients to `sums`, for rows `first` to `last`."""
    args = arguments_at(record, Backward)
    T, B, H, N = args.T, args.B, args.H, args.N
    x, h, v, W, d_y = floats(args.x), floats(args.h), floats(args.v), floats(args.W), floats(args.d_y)
    d_re, d_im, d_x, sums = floats(args.d_re), floats(args.d_im), floats(args.d_x), floats(args.sums)
    rows, panels, of_gate, of_states = last - first, panels_of(H), panels_of(2 * H), panels_of(2 * N)
    steps, narrow, wide, padded = steps_at_once(rows, T), panels * LANES, of_gate * LANES, panels_of(N) * LANES
    a_re, a_im, D = (
        in_whole_vectors(floats(args.a), 0, N),
        in_whole_vectors(floats(args.a), N, N),
        in_whole_vectors(floats(args.D), 0, H),
    )
    gated = args.W != 0
    back_E, back_C = pack(floats(args.E), 0, 2 * N, H, 2 * N, 2 * N), pack(floats(args.C), 0, H, 2 * N, H, H)
    back_W = pack(W, 0, 2 * H, H, 2 * H, 2 * H) if gated else back_E
    packed_W = pack_transposed(W, 0, 2 * H, 2 * H, H) if gated else back_E
    b_1 = in_whole_vectors(floats(args.b), 0, H) if gated else D
    b_2 = in_whole_vectors(floats(args.b), H, H) if gated else D
    of_v, of_h, of_p = stride_of(panels), stride_of(of_states), stride_of(of_gate)
    d_v, d_h = empty(steps * rows * of_v), empty(steps * rows * of_h)
    p, d_p = empty(steps * rows * wide), zeros(steps * rows * of_p)
    u = empty(steps * rows * H)
    slopes, product = empty(steps * rows * narrow), empty(steps * rows * narrow)
    carried = both_parts(d_re, d_im, first, rows, N)
    at_E, at_C, at_a, at_D, at_W, at_b = offsets(H, N)
    for end in range(T, 0, -steps):
        chunk = Chunk(max(0, end - steps), end, B, first, last)
        count = rows_in(chunk)
        if gated:
            for number in range(count):
                place = place_of(chunk, number)
                for unit in range(0, H, LANES):
                    left = H - unit
                    value, slope = gelu_and_slope(load_first(v, place * H + unit, left))
                    store_first(u, number * H + unit, left, value)
                    store(slopes, number * narrow + unit, slope)
            multiply(p, 0, wide, u, 0, H, packed_W, H, count, of_gate)
            for number in range(count):
                place = place_of(chunk, number)
                for unit in range(0, H, LANES):
                    at, left = number * wide + unit, H - unit
                    gate = sigmoid(load_first(p, at + H, left) + load(b_2, unit))
                    through = load_first(d_y, place * H + unit, left) * gate
                    d_gate = through * (load_first(p, at, left) + load(b_1, unit)) * (splat(1.0) - gate)
                    store_first(d_p, number * of_p + unit, left, through)
                    store_first(d_p, number * of_p + H + unit, left, d_gate)  # (7)
            columns, whole = Columns(d_p, 0, of_p, of_gate), Chunk(0, 1, count, 0, count)
            add_weights(sums, at_W, u, H, columns, whole)
            add_biases(sums, at_b, columns, whole)  # (11)
            multiply(product, 0, narrow, d_p, 0, of_p, back_W, 2 * H, count, panels)
        for unit in range(0, H, LANES):
            total, left = load(sums, at_D + unit), H - unit
            for number in range(count):
                at, here = number * narrow + unit, place_of(chunk, number) * H + unit
                dv = load(product, at) * load(slopes, at) if gated else load_first(d_y, here, left)  # (8)
                total = fma(dv, load_first(x, here, left), total)
                store(d_v, number * of_v + unit, dv)
            store(sums, at_D + unit, total)  # (11)
        multiply(d_h, 0, of_h, d_v, 0, of_v, back_C, H, count, of_states)
        add_weights(sums, at_C, h, 2 * N, Columns(d_v, 0, of_v, panels), chunk)  # (11)
        go_back(args, chunk, d_h, of_h, a_re, a_im, carried, sums, at_a)  # (9)
        add_weights(sums, at_E, x, H, Columns(d_h, 0, of_h, of_states), chunk)  # (11)
        multiply(product, 0, narrow, d_h, 0, of_h, back_E, 2 * N, count, panels)
        for number in range(count):
            here = place_of(chunk, number) * H
            for unit in range(0, H, LANES):
                dx = fma(load(D, unit), load(d_v, number * of_v + unit), load(product, number * narrow + unit))
                store_first(d_x, here + unit, H - unit, dx)  # (10)
    for row in range(rows):
        for unit in range(0, N, LANES):
            at, here = (first + row) * N + unit, 2 * row * padded + unit
            store_first(d_re, at, N - unit, load(carried, here))
            store_first(d_im, at, N - unit, load(carried, here + padded))


class Scan(torch.autograd.Function):
    """The map from the inputs to the outputs (T, B, H) and both parts of h_T (B, N).

    Its arguments are x (T, B, H), both parts of h_0 (B, N), ν, θ and c (N,), B (M, H), C (H, M), D (H,), and W (G, H)
    and b (G,), if there is a gated linear unit.
    """

    @staticmethod
    def forward(ctx: Any, reference: Reference, saves: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        x_TBH, re_BN, im_BN, nu_N, theta_N, gamma_log_N, B_MH, C_HM, D_H, *gate = inputs
        (T, B, H), N = x_TBH.shape, len(nu_N)
        size_N, phase_N = torch.exp(-nu_N.exp()), theta_N.exp()
        a_2N = torch.stack([size_N * phase_N.cos(), size_N * phase_N.sin()])
        E_MH = (gamma_log_N.exp().unsqueeze(1) * B_MH.unflatten(0, (2, N))).flatten(0, 1)
        W_GH, b_G = gate or (None, None)
        h_TBM, y_TBH = x_TBH.new_empty(T, B, 2 * N), x_TBH.new_empty(T, B, H)
        v_TBH = x_TBH.new_empty(T, B, H) if saves and gate else None
        given = (x_TBH, a_2N, E_MH, C_HM, D_H, W_GH, b_G, re_BN, im_BN, h_TBM, v_TBH, y_TBH)
        run_rows(forward_rows, Forward(*given, T, B, H, N), B, _work(T * B, H, N), ROWS)
        ctx.reference, ctx.has_gate = reference, bool(gate)
        ctx.save_for_backward(*inputs, a_2N, E_MH, h_TBM, *([] if v_TBH is None else [v_TBH]))
        re_BN, im_BN = h_TBM[-1].split(N, 1)
        return y_TBH, re_BN.clone(memory_format=CONTIGUOUS), im_BN.clone(memory_format=CONTIGUOUS)

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        count = 11 if ctx.has_gate else 9
        inputs, (a_2N, E_MH, h_TBM, *v) = saved[:count], saved[count:]
        if needs_reference(*gradients):
            return None, None, *reference_gradients(ctx.reference, inputs, gradients)
        x_TBH, re_BN, im_BN, nu_N, theta_N, gamma_log_N, _, C_HM, D_H, *gate = inputs
        (T, B, H), N = x_TBH.shape, len(nu_N)
        d_re_BN, d_im_BN = (gradient.clone(memory_format=CONTIGUOUS) for gradient in gradients[1:])
        d_x_TBH = torch.empty_like(x_TBH, memory_format=CONTIGUOUS)
        W_GH, b_G = gate or (None, None)
        given = (x_TBH, a_2N, E_MH, C_HM, D_H, W_GH, b_G, re_BN, im_BN, h_TBM, v[0] if v else None)
        arguments = Backward(*given, gradients[0], d_re_BN, d_im_BN, d_x_TBH, None, T, B, H, N)
        shapes = sizes_of(H, N)
        counts = [rows * columns for rows, columns in shapes]
        sums = sum_rows(backward_rows, arguments, B, 2 * _work(T * B, H, N), (sum(counts),)).split(counts)
        d_E_HM, d_C_MH, d_a_2N, d_D_1H, d_W_HG, d_b_1G = (
            part.view(shape) for part, shape in zip(sums, shapes, strict=True)
        )
        d_E_MH, (d_re_N, d_im_N), (a_re_N, a_im_N) = d_E_HM[:, : 2 * N].T, d_a_2N[:, :N], a_2N
        d_nu_N = -nu_N.exp() * (a_re_N * d_re_N + a_im_N * d_im_N)  # (12)
        d_theta_N = theta_N.exp() * (a_re_N * d_im_N - a_im_N * d_re_N)
        d_gamma_log_N = (d_E_MH * E_MH).unflatten(0, (2, N)).sum((0, 2))
        d_B_MH = (gamma_log_N.exp().unsqueeze(1) * d_E_MH.unflatten(0, (2, N))).flatten(0, 1)
        of_states = (d_nu_N, d_theta_N, d_gamma_log_N, d_B_MH, d_C_MH[:, :H].T, d_D_1H[0, :H])
        of_gate = (d_W_HG[:, : 2 * H].T, d_b_1G[0, : 2 * H]) if gate else ()
        return None, None, d_x_TBH, d_re_BN, d_im_BN, *of_states, *of_gate


def _work(rows: int, H: int, N: int) -> int:
    """Return the work of a forward pass over `rows` rows, as `run_rows` counts it."""
    return rows * H * (4 * N + 2 * H) // TILED


def scan(reference: Reference, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return the outputs (T, B, H), and real and imaginary parts of the last state (B, N), by `Scan`.

    Args:
        reference: Function of `inputs` that computes the same results in plain torch. Second derivatives use it.
        inputs: The inputs of `Scan`.
    """
    results: tuple[Tensor, ...] = Scan.apply(reference, needs_gradients(*inputs), *inputs)  # type: ignore[no-untyped-call]
    return results
