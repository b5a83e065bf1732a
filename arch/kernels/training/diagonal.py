"""Diagonal recurrences over a whole sequence: h_t = a_t ⊙ h_(t-1) + b_t, and its derivatives.

A cell computes a_t and b_t from the sums of the matrix products (`arch.kernels.cells.diagonal`). They are computed
again in the backward pass, so that only h is stored. d· is the derivative of the loss with respect to ·. dh collects
the contributions of the output and of the next step:

    da_t = dh_t ⊙ h_(t-1),  db_t = dh_t,  dh ← a_t ⊙ dh_t                                       (1)
    dp_t = dh_t φ'(p_t + u ⊙ h_(t-1)),  dh ← u ⊙ dp_t,  du = Σ_t dp_t ⊙ h_(t-1)                 (2)  `ind_rnn`

Sequences are in time order, (T, B, ·). torch computes the matrix products before and after the recurrence.
"""

# Shape suffixes: T time, B batch, H hidden width, G sums per row (a multiple of H), W weights per unit

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from numba import njit
from torch import Tensor

from arch.kernels.cells import diagonal as cells
from arch.kernels.cells.gated import rnn_relu, rnn_tanh
from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.runtime.launch import (
    CONTIGUOUS,
    Reference,
    needs_reference,
    reference_gradients,
    run_rows,
    sum_rows,
    without_autocast,
)
from arch.kernels.simd.matmul import ROWS, panels_of
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.prefetch import prefetch_all
from arch.kernels.simd.vector import LANES, fma, load, load_first, positive, splat, store, store_first

PLAIN, MIN_GRU, MIN_GRU_SIGNED, MIN_LSTM, IND_RNN_TANH, IND_RNN_RELU = range(6)
"""Cells, those with weights last. They differ in their `Inputs`:

    cell               blocks of `projected`                   `values`   `weights`
    PLAIN              a                                       b
    MIN_GRU            z, n
    MIN_GRU_SIGNED     z, n, s
    MIN_LSTM           f, i, n
    IND_RNN_...        W x + b                                            u
"""


class Inputs(NamedTuple):
    """Inputs of a recurrence: sums of the matrix products (T, B, G), values (T, B, H), weights (W, H) and h_0 (B, H).

    A cell without values or weights has None there.
    """

    projected: Tensor
    h_0: Tensor
    values: Tensor | None = None
    weights: Tensor | None = None


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        projected, values, weights, h_0: The `Inputs`. An absent tensor has no elements.
        outputs: States h, (T, B, H), written.
        cell: The cell.
        T, B, H: Steps, batch size, units.
    """

    projected: Tensor
    values: Tensor
    weights: Tensor
    h_0: Tensor
    outputs: Tensor
    cell: int
    T: int
    B: int
    H: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        projected, values, weights, h_0: The `Inputs`. An absent tensor has no elements.
        outputs, d_outputs: States and their gradient, (T, B, H).
        d_h: Gradient of the last state, (B, H). Receives that of the initial state.
        d_projected, d_values: Gradients of the sums and of the values, written.
        sums: Gradients of the weights (W, padded), added to. `padded` is H rounded up to whole vectors. `sum_rows`
            sets it for each share.
        cell: The cell.
        T, B, H: Steps, batch size, units.
    """

    projected: Tensor
    values: Tensor
    weights: Tensor
    h_0: Tensor
    outputs: Tensor
    d_outputs: Tensor
    d_h: Tensor
    d_projected: Tensor
    d_values: Tensor
    sums: Tensor | None
    cell: int
    T: int
    B: int
    H: int


@njit(forceinline=True)
def _coefficients(cell, projected, values, place, unit, H):  # type: ignore[no-untyped-def]
    """Return a and b of LANES units.

    Args:
        cell: A real linear cell.
        projected, values: Arrays of the inputs.
        place: Row of `projected` and `values`.
        unit: First unit.
        H: Units per row.
    """
    count = H - unit
    if cell == MIN_GRU:
        at = place * 2 * H + unit
        return cells.min_gru(load_first(projected, at, count), load_first(projected, at + H, count))
    if cell == MIN_GRU_SIGNED:
        at = place * 3 * H + unit
        z, n, s = (
            load_first(projected, at, count),
            load_first(projected, at + H, count),
            load_first(projected, at + 2 * H, count),
        )
        return cells.min_gru_signed(z, n, s)
    if cell == MIN_LSTM:
        at = place * 3 * H + unit
        f, i, n = (
            load_first(projected, at, count),
            load_first(projected, at + H, count),
            load_first(projected, at + 2 * H, count),
        )
        return cells.min_lstm(f, i, n)
    u = load_first(values, place * H + unit, count)
    return load_first(projected, place * H + unit, count), u


@njit(forceinline=True)
def _go_back(cell, projected, values, d_projected, d_values, place, unit, H, da, db):  # type: ignore[no-untyped-def]
    """Write the gradients of the sums and values of LANES units, and return a.

    Args:
        cell, projected, values, place, unit, H: As for `_coefficients`.
        d_projected, d_values: Arrays of the gradients.
        da, db: Gradients of a and b.
    """
    count = H - unit
    a, _ = _coefficients(cell, projected, values, place, unit, H)
    if cell == MIN_GRU:
        at = place * 2 * H + unit
        dz, dn = cells.min_gru_back(load_first(projected, at, count), load_first(projected, at + H, count), da, db)
        store_first(d_projected, at, count, dz)
        store_first(d_projected, at + H, count, dn)
        return a
    if cell in (MIN_GRU_SIGNED, MIN_LSTM):
        at = place * 3 * H + unit
        one, two = load_first(projected, at, count), load_first(projected, at + H, count)
        three = load_first(projected, at + 2 * H, count)
        if cell == MIN_LSTM:
            d_one, d_two, d_three = cells.min_lstm_back(one, two, three, da, db)
        else:
            d_one, d_two, d_three = cells.min_gru_signed_back(one, two, three, da, db)
        store_first(d_projected, at, count, d_one)
        store_first(d_projected, at + H, count, d_two)
        store_first(d_projected, at + 2 * H, count, d_three)
        return a
    value_at = place * H + unit
    store_first(d_projected, value_at, count, da)
    store_first(d_values, value_at, count, db)
    return a


@njit(forceinline=True)
def _sums_of(cell):  # type: ignore[no-untyped-def]
    """Return the number of sums of a cell per unit."""
    if cell in (MIN_GRU_SIGNED, MIN_LSTM):
        return 3
    return 2 if cell == MIN_GRU else 1


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the states of rows `first` to `last` of the batch."""
    args = arguments_at(record, Forward)
    T, B, H, cell = args.T, args.B, args.H, args.cell
    projected, values, weights = floats(args.projected), floats(args.values), floats(args.weights)
    h_0, outputs = floats(args.h_0), floats(args.outputs)
    for t in range(T):
        before, before_at = (h_0, 0) if t == 0 else (outputs, (t - 1) * B * H)
        for row in range(first, last):
            place = t * B + row
            for unit in range(0, H, LANES):
                at, here, count = before_at + row * H + unit, place * H + unit, H - unit
                h = load_first(before, at, count)
                if cell == IND_RNN_TANH:
                    h = rnn_tanh(fma(load_first(weights, unit, count), h, load_first(projected, here, count)))
                elif cell == IND_RNN_RELU:
                    h = rnn_relu(fma(load_first(weights, unit, count), h, load_first(projected, here, count)))
                else:
                    a, b = _coefficients(cell, projected, values, place, unit, H)
                    h = fma(a, h, b)
                store_first(outputs, here, count, h)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write `d_h`, `d_projected` and `d_values`, and add the weight gradients to `sums`, for rows `first` to `last`."""
    args = arguments_at(record, Backward)
    T, B, H, cell = args.T, args.B, args.H, args.cell
    projected, values, weights = floats(args.projected), floats(args.values), floats(args.weights)
    h_0, outputs, d_outputs, d_h = floats(args.h_0), floats(args.outputs), floats(args.d_outputs), floats(args.d_h)
    d_projected, d_values, totals = floats(args.d_projected), floats(args.d_values), floats(args.sums)
    G = H * _sums_of(cell)
    for t in range(T - 1, -1, -1):
        before, before_at = (h_0, 0) if t == 0 else (outputs, (t - 1) * B * H)
        before_row, rows = (t - 1) * B + first, last - first
        prefetch_all(projected, before_row * G, rows * G)
        prefetch_all(d_projected, before_row * G, rows * G)
        prefetch_all(d_outputs, before_row * H, rows * H)
        prefetch_all(outputs, (before_row - B) * H, rows * H)
        if cell == PLAIN:
            prefetch_all(values, before_row * H, rows * H)
            prefetch_all(d_values, before_row * H, rows * H)
        for unit in range(0, H, LANES):
            count, total = H - unit, splat(0.0)
            for row in range(first, last):
                place = t * B + row
                at, here, carried = before_at + row * H + unit, place * H + unit, row * H + unit
                h = load_first(before, at, count)
                dh = load_first(d_h, carried, count) + load_first(d_outputs, here, count)
                if cell in (IND_RNN_TANH, IND_RNN_RELU):  # (2)
                    after = load_first(outputs, here, count)
                    dp = positive(after, dh) if cell == IND_RNN_RELU else dh * (splat(1.0) - after * after)
                    total = fma(dp, h, total)
                    store_first(d_projected, here, count, dp)
                    store_first(d_h, carried, count, load_first(weights, unit, count) * dp)
                else:  # (1)
                    a = _go_back(cell, projected, values, d_projected, d_values, place, unit, H, dh * h, dh)
                    store_first(d_h, carried, count, a * dh)
            if cell >= IND_RNN_TANH:  # a cell with weights
                store(totals, unit, load(totals, unit) + total)


class Scan(torch.autograd.Function):
    """The map from sums (T, B, G), values (T, B, H), weights (W, H) and h_0 (B, H) to h (T, B, H) and h_T (B, H)."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, cell: int, *inputs: Tensor) -> tuple[Tensor, ...]:
        projected_TBG, values_TBH, weights_WH, h_BH = inputs
        (T, B, _), H = projected_TBG.shape, h_BH.shape[1]
        outputs_TBH = projected_TBG.new_empty(T, B, H)
        arguments = Forward(
            projected=projected_TBG,
            values=values_TBH,
            weights=weights_WH,
            h_0=h_BH,
            outputs=outputs_TBH,
            cell=cell,
            T=T,
            B=B,
            H=H,
        )
        run_rows(forward_rows, arguments, B, T * B * H, ROWS)
        ctx.reference, ctx.cell = reference, cell
        ctx.save_for_backward(*inputs, outputs_TBH)
        return outputs_TBH, outputs_TBH[-1].clone()

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, outputs_TBH = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, None, *reference_gradients(ctx.reference, inputs, gradients)
        projected_TBG, values_TBH, weights_WH, h_BH = inputs
        (T, B, _), H = projected_TBG.shape, h_BH.shape[1]
        d_h_BH = gradients[1].clone(memory_format=CONTIGUOUS)
        d_projected_TBG = torch.empty_like(projected_TBG, memory_format=CONTIGUOUS)
        d_values_TBH = torch.empty_like(values_TBH, memory_format=CONTIGUOUS)
        arguments = Backward(
            projected=projected_TBG,
            values=values_TBH,
            weights=weights_WH,
            h_0=h_BH,
            outputs=outputs_TBH,
            d_outputs=gradients[0],
            d_h=d_h_BH,
            d_projected=d_projected_TBG,
            d_values=d_values_TBH,
            sums=None,
            cell=ctx.cell,
            T=T,
            B=B,
            H=H,
        )
        totals = sum_rows(backward_rows, arguments, B, T * B * H, (len(weights_WH), panels_of(H) * LANES))
        return None, None, d_projected_TBG, d_values_TBH, totals[:, :H], d_h_BH


def scan(reference: Reference, cell: int, inputs: Inputs) -> tuple[Tensor, ...]:
    """Return the states h (T, B, H) and the last state (B, H), by `Scan`.

    Args:
        reference: Function of projected, values, weights and h_0 that computes the same results in plain torch. It
            gets a tensor without elements in the place of an absent one. Second derivatives use it.
        cell: The cell.
        inputs: The inputs.
    """
    empty = inputs.h_0.new_empty(0, inputs.h_0.shape[1])
    values = empty if inputs.values is None else inputs.values
    weights = empty if inputs.weights is None else inputs.weights
    states: tuple[Tensor, ...] = Scan.apply(reference, cell, inputs.projected, values, weights, inputs.h_0)  # type: ignore[no-untyped-call]
    return states
