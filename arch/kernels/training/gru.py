"""GRU over a whole sequence: equations (1) to (4) of `arch/gru.py`, and their derivatives.

d· is the derivative of the loss with respect to ·, and s is U_n h + b_u of equation (3a). dh collects the contributions
of later steps and of the output. (7a) to (9a) belong to (3a), and (7b) to (9b) belong to (3b) with a = r * h:

    dn  = dh (1 - z) (1 - n²)              (5)  pre-activation of tanh
    dz  = dh (h - n) z (1 - z)             (6)  pre-activation of σ
    dr  = dn s r (1 - r),  ds = dn r       (7a) pre-activation of σ
    dh  ← dh z + U^T (dr, dz, ds)          (8a)
    dU  = Σ_t (dr, dz, ds)_t h_t^T,  dW = Σ_t (dr, dz, dn)_t x_t^T         (9a)
    db  = Σ_t (dr, dz, dn)_t,  db_u = Σ_t ds_t
    dx  = W^T (dr, dz, dn)                 (10)
    da  = U_n^T dn                         (7b)
    dr  = da h r (1 - r)                   (7b)
    dh  ← dh z + da r + U_rz^T (dr, dz)    (8b)
    dU  = Σ_t (dr, dz)_t h_t^T, dn_t a_t^T (9b)

With (3a), W x and dn, dr, dz, ds are stored for one chunk of steps at a time. Those of a whole sequence may not fit
into the cache. Moving these numbers through memory takes as long as computing them. The derivatives are stored in the
order dn, dr, dz, ds. Thus those for W (dn, dr, dz) are contiguous, and so are those for U (dr, dz, ds).
"""

# Shape suffixes: T time, B batch, D input width, H hidden width, G = 3H gate rows

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numba import boolean, float32, int64, void
from torch import Tensor

from arch.kernels.cells.gated import gru_after, gru_before, gru_reset
from arch.kernels.runtime.jit import kernel
from arch.kernels.runtime.launch import (
    CONTIGUOUS,
    Reference,
    flat,
    needs_gradients,
    needs_reference,
    of_blocks,
    reference_gradients,
    run_rows,
    sum_rows,
    weight_gradient,
    without_autocast,
)
from arch.kernels.runtime.threads import TILED, split_rows
from arch.kernels.simd.matmul import ROWS, multiply, pack, pack_transposed, panels_of
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.vector import LANES, fma, load, load_first, splat, store, store_first
from arch.kernels.training.chunked import (
    add_biases,
    add_recurrent,
    add_weights,
    bypasses_cache,
    project,
    project_back,
    save,
    steps_at_once,
    stride_of,
)

SAVED_VECTORS = 4
"""Vectors saved per LANES units for the backward pass of `reset=before`: r, z, n, h."""


@kernel(void(*[int64] * 16))
def forward_rows(x, W, bias, U, u, h_0, outputs, gates, sums, saves, T, B, D, H, first, last):  # type: ignore[no-untyped-def]
    """Write the outputs of rows `first` to `last` of the batch, for `reset=after`.

    Args:
        x, W, bias: Addresses of float32 numbers: inputs (T, B, D), W (G, D) and b (G,).
        U, u: Addresses of float32 numbers: U (G, H) and b_u (H,).
        h_0: Address of the initial state, float32 numbers, (B, H).
        outputs: Address of float32 numbers, (T, B, H), written.
        gates: Address of float32 numbers, (T, B, G). Receives r, z and n if `saves` is true.
        sums: Address of float32 numbers, (T, B, H). Receives s if `saves` is true.
        saves: Whether to write `gates` and `sums`.
        T, B, D, H: Steps, batch size, input width, hidden width.
        first, last: First row of the batch, and the row after the last one.
    """
    bypass = bypasses_cache(gates, T, B, 4 * H, H) and bypasses_cache(sums, T, B, 4 * H, H)
    x, W, bias, U, u, h_0 = floats(x), floats(W), floats(bias), floats(U), floats(u), floats(h_0)
    outputs, gates, sums = floats(outputs), floats(gates), floats(sums)
    rows, panels = last - first, panels_of(H)
    padded, steps = panels * LANES, steps_at_once(rows, T)
    packed_W, packed_U = pack_transposed(W, 0, 3 * H, H, D), pack_transposed(U, 0, 3 * H, H, H)
    projected = np.empty(steps * rows * 3 * padded, np.float32)
    recurrent = np.empty(rows * 3 * padded, np.float32)
    for t in range(T):
        if t % steps == 0:
            project(projected, x, packed_W, t, min(T, t + steps), B, D, first, last, 3 * panels)
        before, before_at = (h_0, 0) if t == 0 else (outputs, (t - 1) * B * H)
        multiply(recurrent, 0, 3 * padded, before, before_at + first * H, H, packed_U, H, rows, 3 * panels)
        for b in range(first, last):
            for unit in range(0, padded, LANES):
                count = H - unit
                here = (t * B + b) * H + unit
                at = (t * B + b) * 3 * H + unit
                of_h = (b - first) * 3 * padded + unit
                of_x = t % steps * rows * 3 * padded + of_h
                r = load(recurrent, of_h) + load(projected, of_x)
                z = load(recurrent, of_h + padded) + load(projected, of_x + padded)
                n = load(projected, of_x + 2 * padded) + load_first(bias, 2 * H + unit, count)
                s = load(recurrent, of_h + 2 * padded) + load_first(u, unit, count)
                r += load_first(bias, unit, count)
                z += load_first(bias, H + unit, count)
                r, z, n, h = gru_after(r, z, n, s, load_first(before, before_at + b * H + unit, count))
                store_first(outputs, here, count, h)
                if saves:
                    save(gates, at, count, r, bypass)
                    save(gates, at + H, count, z, bypass)
                    save(gates, at + 2 * H, count, n, bypass)
                    save(sums, here, count, s, bypass)


@kernel(void(*[int64] * 17))
def backward_rows(x, W_nrz, U, h_0, outputs, gates, s_saved, d_outputs, d_h, d_x, sums, T, B, D, H, first, last):  # type: ignore[no-untyped-def]
    """Write `d_h` and `d_x`, and add the weight gradients to `sums`, for rows `first` to `last` (`reset=after`).

    Args:
        x, W_nrz, U: Addresses of float32 numbers: inputs (T, B, D), W (G, D) with its blocks in the order n, r, z, and
            U (G, H).
        h_0: Address of the initial state, float32 numbers, (B, H).
        outputs, gates: Addresses of the outputs (T, B, H) and of r, z and n (T, B, G), which `forward_rows` wrote.
        s_saved: Address of s (T, B, H), which `forward_rows` wrote to its parameter `sums`.
        d_outputs: Address of the gradient of `outputs`, float32 numbers, (T, B, H).
        d_h: Address of the gradient of the last state, float32 numbers, (B, H). Receives that of the initial state.
        d_x: Address of the gradient of `x`, float32 numbers, (T, B, D), written, or 0 if it is not needed.
        sums: Address of float32 numbers: transposed dW (D, 3 · padded), db (3 · padded,), transposed dU
            (H, 3 · padded) and db_u (padded,). The blocks of dW and db are in the order n, r, z. Those of dU are in the
            order r, z, n. `padded` is H rounded up to whole vectors.
        T, B, D, H: Steps, batch size, input width, hidden width.
        first, last: First row of the batch, and the row after the last one.
    """
    wants_d_x = d_x != 0
    x, W_nrz, U, h_0, outputs = floats(x), floats(W_nrz), floats(U), floats(h_0), floats(outputs)
    gates, s_saved, d_outputs, d_h = floats(gates), floats(s_saved), floats(d_outputs), floats(d_h)
    d_x, sums = floats(d_x), floats(sums)
    rows, panels = last - first, panels_of(H)
    padded, steps = panels * LANES, steps_at_once(rows, T)
    stride = stride_of(4 * panels)
    packed_W, packed_U = pack(W_nrz, 0, 3 * H, D, H, padded), pack(U, 0, 3 * H, H, H, padded)
    one = splat(1.0)
    d_sums = np.empty(steps * rows * stride, np.float32)
    carried = np.zeros(rows * padded, np.float32)
    of_U = (D + 1) * 3 * padded
    for end in range(T, 0, -steps):
        begin = max(0, end - steps)
        for t in range(end - 1, begin - 1, -1):
            before, before_at = (h_0, 0) if t == 0 else (outputs, (t - 1) * B * H)
            now = (t - begin) * rows * stride
            for b in range(first, last):
                for unit in range(0, padded, LANES):
                    count = H - unit
                    at, later = (t * B + b) * H + unit, (b - first) * padded + unit
                    gate, here = (t * B + b) * 3 * H + unit, now + (b - first) * stride + unit
                    r, z = load_first(gates, gate, count), load_first(gates, gate + H, count)
                    n, s = load_first(gates, gate + 2 * H, count), load_first(s_saved, at, count)
                    h = load_first(before, before_at + b * H + unit, count)
                    dh = load_first(d_h, b * H + unit, count) + load(carried, later)
                    dh += load_first(d_outputs, at, count)
                    dn = dh * (one - z) * (one - n * n)  # (5)
                    store(d_sums, here, dn)
                    store(d_sums, here + padded, dn * s * (r * (one - r)))  # (7a)
                    store(d_sums, here + 2 * padded, dh * (h - n) * (z * (one - z)))  # (6)
                    store(d_sums, here + 3 * padded, dn * r)
                    store_first(d_h, b * H + unit, count, dh * z)
            multiply(carried, 0, padded, d_sums, now + padded, stride, packed_U, 3 * padded, rows, panels)  # (8a)
        add_weights(sums, 0, x, begin, end, B, D, d_sums, 0, stride, first, last, 3 * panels)  # (9a)
        add_recurrent(sums, of_U, h_0, outputs, begin, end, B, H, d_sums, padded, stride, first, last, 3 * panels)
        add_biases(sums, D * 3 * padded, d_sums, 0, stride, (end - begin) * rows, 3 * panels)
        add_biases(sums, of_U + H * 3 * padded, d_sums, 3 * padded, stride, (end - begin) * rows, panels)
        if wants_d_x:
            project_back(d_x, d_sums, stride, packed_W, 3 * padded, begin, end, B, D, first, last)  # (10)
    for b in range(first, last):
        for unit in range(0, padded, LANES):
            at, count = b * H + unit, H - unit
            dh = load_first(d_h, at, count) + load(carried, (b - first) * padded + unit)
            store_first(d_h, at, count, dh)


@kernel(void(*[float32[::1]] * 6, boolean, *[int64] * 5))
def forward_rows_before(projected, U, h_0, outputs, reset, saved, saves, T, B, H, first, last):  # type: ignore[no-untyped-def]
    """Write the outputs of rows `first` to `last` of the batch, for `reset=before`. Arrays are float32.

    Args:
        projected: Flat array of W x + b, (T, B, G).
        U, h_0: Flat arrays of U (G, H) and the initial state (B, H).
        outputs, reset: Flat arrays, (T, B, H), written. `reset` receives a = r * h.
        saved: Flat array, (T, B, panels, SAVED_VECTORS, LANES), with `panels` = H / LANES, rounded up. Receives r, z, n
            and h if `saves` is true.
        saves: Whether to write `saved`.
        T, B, H: Steps, batch size, hidden width.
        first, last: First row of the batch, and the row after the last one.
    """
    panels = panels_of(H)
    padded = panels * LANES
    packed_rz, packed_n = pack_transposed(U, 0, 2 * H, H, H), pack_transposed(U, 2 * H, 3 * H, H, H)
    recurrent = np.empty((last - first) * 2 * padded, np.float32)
    candidate = np.empty((last - first) * padded, np.float32)
    for t in range(T):
        before, before_at = (h_0, 0) if t == 0 else (outputs, (t - 1) * B * H)
        multiply(recurrent, 0, 2 * padded, before, before_at + first * H, H, packed_rz, H, last - first, 2 * panels)
        for b in range(first, last):
            for unit in range(0, padded, LANES):
                count = H - unit
                sums = (b - first) * 2 * padded + unit
                at = (t * B + b) * 3 * H + unit
                h = load_first(before, before_at + b * H + unit, count)
                r, product = gru_reset(load(recurrent, sums) + load_first(projected, at, count), h)
                store_first(reset, (t * B + b) * H + unit, count, product)
                if saves:
                    place = ((t * B + b) * padded + unit) * SAVED_VECTORS
                    store(saved, place, r)
                    store(saved, place + 3 * LANES, h)
        multiply(candidate, 0, padded, reset, (t * B + first) * H, H, packed_n, H, last - first, panels)
        for b in range(first, last):
            for unit in range(0, padded, LANES):
                count = H - unit
                at = (t * B + b) * 3 * H + unit
                z = load(recurrent, (b - first) * 2 * padded + padded + unit) + load_first(projected, at + H, count)
                n = load(candidate, (b - first) * padded + unit) + load_first(projected, at + 2 * H, count)
                z, n, h = gru_before(z, n, load_first(before, before_at + b * H + unit, count))
                store_first(outputs, (t * B + b) * H + unit, count, h)
                if saves:
                    place = ((t * B + b) * padded + unit) * SAVED_VECTORS
                    store(saved, place + LANES, z)
                    store(saved, place + 2 * LANES, n)


@kernel(void(*[float32[::1]] * 5, *[int64] * 5))
def backward_rows_before(saved, U, d_outputs, d_h, d_projected, T, B, H, first, last):  # type: ignore[no-untyped-def]
    """Write `d_h` and `d_projected` for rows `first` to `last` of the batch, for `reset=before`. Arrays are float32.

    Args:
        saved: Flat array that `forward_rows_before` wrote, (T, B, panels, SAVED_VECTORS, LANES).
        U: Flat array, (G, H).
        d_outputs: Flat array of the gradient of the outputs, (T, B, H).
        d_h: Flat array of the gradient of the last state, (B, H). Receives that of the initial state.
        d_projected: Flat array of the gradient of W x + b, (T, B, G), written.
        T, B, H: Steps, batch size, hidden width.
        first, last: First row of the batch, and the row after the last one.
    """
    panels = panels_of(H)
    padded = panels * LANES
    packed_rz, packed_n = pack(U, 0, 2 * H, H, H, H), pack(U, 2 * H, 3 * H, H, H, H)
    one = splat(1.0)
    carried = np.zeros((last - first) * padded, np.float32)
    d_reset = np.empty((last - first) * padded, np.float32)
    for t in range(T - 1, -1, -1):
        for b in range(first, last):
            for unit in range(0, padded, LANES):
                count = H - unit
                place = ((t * B + b) * padded + unit) * SAVED_VECTORS
                z = load(saved, place + LANES)
                n, h = load(saved, place + 2 * LANES), load(saved, place + 3 * LANES)
                dh = load_first(d_h, b * H + unit, count) + load(carried, (b - first) * padded + unit)
                dh += load_first(d_outputs, (t * B + b) * H + unit, count)
                at = (t * B + b) * 3 * H + unit
                store_first(d_projected, at + H, count, dh * (h - n) * (z * (one - z)))  # (6)
                store_first(d_projected, at + 2 * H, count, dh * (one - z) * (one - n * n))  # (5)
                store_first(d_h, b * H + unit, count, dh * z)
        start = (t * B + first) * 3 * H
        multiply(d_reset, 0, padded, d_projected, start + 2 * H, 3 * H, packed_n, H, last - first, panels)  # (7b)
        for b in range(first, last):
            for unit in range(0, padded, LANES):
                count = H - unit
                place = ((t * B + b) * padded + unit) * SAVED_VECTORS
                r, h = load(saved, place), load(saved, place + 3 * LANES)
                da = load(d_reset, (b - first) * padded + unit)
                store_first(d_projected, (t * B + b) * 3 * H + unit, count, da * h * (r * (one - r)))  # (7b)
                store_first(d_h, b * H + unit, count, fma(da, r, load_first(d_h, b * H + unit, count)))
        multiply(carried, 0, padded, d_projected, start, 3 * H, packed_rz, 2 * H, last - first, panels)  # (8b)
    for b in range(first, last):
        for unit in range(0, padded, LANES):
            at, count = b * H + unit, H - unit
            dh = load_first(d_h, at, count) + load(carried, (b - first) * padded + unit)
            store_first(d_h, at, count, dh)


class ScanAfter(torch.autograd.Function):
    """The map from x, the weights and h_0 to outputs (T, B, H) and h_T (B, H), by equation (3a).

    Its arguments are x (T, B, D), W (G, D), b (G,), U (G, H), b_u (H,) and h_0 (B, H).
    """

    @staticmethod
    def forward(ctx: Any, reference: Reference, saves: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        x_TBD, U_GH = inputs[0], inputs[3]
        (T, B, D), H = x_TBD.shape, U_GH.shape[1]
        outputs_TBH, s_TBH = x_TBD.new_empty(T, B, H), x_TBD.new_empty(T if saves else 0, B, H)
        gates_TBG = x_TBD.new_empty(T if saves else 0, B, 3 * H)
        tensors = (*inputs, outputs_TBH, gates_TBG, s_TBH)
        run_rows(forward_rows, tensors, (saves, T, B, D, H, B), 3 * T * B * H * (D + H) // TILED, ROWS)
        ctx.reference = reference
        ctx.save_for_backward(*inputs, outputs_TBH, gates_TBG, s_TBH)
        return outputs_TBH, outputs_TBH[-1].clone()

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, outputs_TBH, gates_TBG, s_TBH = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, None, *reference_gradients(ctx.reference, inputs, gradients)
        x_TBD, W_GD, _, U_GH, _, h_BH = inputs
        (T, B, D), H = x_TBD.shape, U_GH.shape[1]
        d_outputs_TBH, d_h_BH = gradients[0], gradients[1].clone(memory_format=CONTIGUOUS)
        d_x_TBD = torch.empty_like(x_TBD, memory_format=CONTIGUOUS) if ctx.needs_input_grad[2] else None
        padded = panels_of(H) * LANES
        of_W, of_U = (D + 1) * 3 * padded, H * 3 * padded
        read = (x_TBD, W_GD.roll(H, 0), U_GH, h_BH, outputs_TBH, gates_TBG, s_TBH, d_outputs_TBH)
        sums = sum_rows(
            backward_rows,
            (*read, d_h_BH, d_x_TBD),
            (T, B, D, H, B),
            3 * T * B * H * (D + H) // TILED,
            (of_W + of_U + padded,),
        )
        d_nrz, d_U, d_u = sums.split([of_W, of_U, padded])
        d_W_GD, d_b_G1 = (of_blocks(part, 3, H).roll(-H, 0) for part in d_nrz.view(D + 1, -1).split([D, 1]))
        d_U_GH = of_blocks(d_U.view(H, -1), 3, H)
        return None, None, d_x_TBD, d_W_GD, d_b_G1[:, 0], d_U_GH, d_u[:H].clone(), d_h_BH


class ScanBefore(torch.autograd.Function):
    """The map from W x + b, U and h_0 to outputs (T, B, H) and h_T (B, H), by equation (3b).

    Its arguments are W x + b (T, B, G), U (G, H) and h_0 (B, H).
    """

    @staticmethod
    def forward(ctx: Any, reference: Reference, saves: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        projected_TBG, U_GH, h_BH = inputs
        T, B, H = *projected_TBG.shape[:2], U_GH.shape[1]
        outputs_TBH, reset_TBH = projected_TBG.new_empty(T, B, H), projected_TBG.new_empty(T, B, H)
        saved = projected_TBG.new_empty(T * B * panels_of(H) * LANES * SAVED_VECTORS if saves else 0)
        arrays = (projected_TBG, U_GH, h_BH, outputs_TBH, reset_TBH, saved)
        split_rows(B, T * B * U_GH.numel(), partial(forward_rows_before, *map(flat, arrays), saves, T, B, H), ROWS)
        ctx.reference = reference
        ctx.save_for_backward(*inputs, outputs_TBH, reset_TBH, saved)
        return outputs_TBH, outputs_TBH[-1].clone()

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, outputs_TBH, reset_TBH, saved = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, None, *reference_gradients(ctx.reference, inputs, gradients)
        projected_TBG, U_GH, h_BH = inputs
        T, B, H = outputs_TBH.shape
        d_outputs_TBH, d_h_BH = gradients[0], gradients[1].clone(memory_format=CONTIGUOUS)
        d_projected_TBG = projected_TBG.new_empty(projected_TBG.shape)
        split_rows(
            B,
            T * B * U_GH.numel(),
            partial(backward_rows_before, *map(flat, (saved, U_GH, d_outputs_TBH, d_h_BH, d_projected_TBG)), T, B, H),
            ROWS,
        )
        d_rz, d_n = d_projected_TBG.split([2 * H, H], 2)
        d_U_n = d_n.flatten(0, 1).T @ reset_TBH.flatten(0, 1)
        d_U_GH = torch.cat([weight_gradient(d_rz, h_BH, outputs_TBH), d_U_n])  # (9b)
        return None, None, d_projected_TBG, d_U_GH, d_h_BH


def scan_after(reference: Reference, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return the outputs (T, B, H) and the last state h_T (B, H), by `ScanAfter`.

    Args:
        reference: Function of `inputs` that computes the same results in plain torch. Second derivatives use it.
        inputs: x (T, B, D), W (G, D), b (G,), U (G, H), b_u (H,) and h_0 (B, H).
    """
    outputs: tuple[Tensor, ...] = ScanAfter.apply(reference, needs_gradients(*inputs), *inputs)  # type: ignore[no-untyped-call]
    return outputs


def scan_before(reference: Reference, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return the outputs (T, B, H) and the last state h_T (B, H), by `ScanBefore`.

    Args:
        reference: Function of `inputs` that computes the same results in plain torch. Second derivatives use it.
        inputs: W x + b (T, B, G), U (G, H) and h_0 (B, H).
    """
    outputs: tuple[Tensor, ...] = ScanBefore.apply(reference, needs_gradients(*inputs), *inputs)  # type: ignore[no-untyped-call]
    return outputs
