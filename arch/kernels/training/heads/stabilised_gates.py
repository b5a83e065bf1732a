"""The stabilised gates of `arch/mlstm.py` over a whole sequence: equations (3) and (4), and their derivatives.

z is log σ(f̃) + m, and e the least divisor of (6). d· is the derivative of the loss with respect to ·. dm collects the
contributions of later steps, and [·] is 1 if a claim holds and 0 if not:

    z = log σ(f̃) + m,  m' = max(z, ĩ)                          (3)
    f = e^(z - m'),  i = e^(ĩ - m'),  e = e^(-max(m', least))  (4)
    dm' = dm - f df - i di - [m' > least] e de                 (a)
    dz  = f df + [z ≥ ĩ] dm',  dĩ = i di + [z < ĩ] dm'         (b)
    dm  ← dz,  df̃ = (1 - σ(f̃)) dz                              (c)

LANES heads, of one stream or of several, pass through the steps together. Only m is kept for the way back.
"""

# Shape suffixes: B batch, T time, N heads

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from numba import njit
from torch import Tensor

from arch.kernels.cells.exponential import SMALLEST_POWER, log_sigmoid, power
from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.runtime.launch import (
    CONTIGUOUS,
    Reference,
    needs_reference,
    reference_gradients,
    run_rows,
    without_autocast,
)
from arch.kernels.runtime.tensors import MIN_STABILISER
from arch.kernels.simd.activation import exp, sigmoid
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.scratch import zeros
from arch.kernels.simd.vector import LANES, larger, load, load_first, positive, splat, store, store_first


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        p: ĩ and f̃ of all heads, (B, T, 2N).
        m: Stabiliser before the first step, (B, N).
        i, f, e: Gates and least divisors, (B, T, N), written.
        m_T: Stabiliser after the last step, (B, N), written.
        T, N: Steps and heads.
    """

    p: Tensor
    m: Tensor
    i: Tensor
    f: Tensor
    e: Tensor
    m_T: Tensor
    T: int
    N: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        p, m, T, N: As for `Forward`.
        d_i, d_f, d_e, d_m_T: Gradients of the results.
        d_p, d_m: Gradients of `p` and `m`, written.
    """

    p: Tensor
    m: Tensor
    d_i: Tensor
    d_f: Tensor
    d_e: Tensor
    d_m_T: Tensor
    d_p: Tensor
    d_m: Tensor
    T: int
    N: int


@njit(forceinline=True)
def _least(m):  # type: ignore[no-untyped-def]
    """Return e of (4) for a vector m'."""
    return exp(larger(-larger(m, splat(MIN_STABILISER)), splat(SMALLEST_POWER)))


@njit
def _gather(numbers, at, step, first, count, T, N, lanes):  # type: ignore[no-untyped-def]
    """Copy `count` heads from `first` on to `lanes` (T, LANES), from an array with `step` numbers per step."""
    for lane in range(count):
        row, n = (first + lane) // N, (first + lane) % N
        for t in range(T):
            lanes[t * LANES + lane] = numbers[(row * T + t) * step + at + n]


@njit
def _scatter(lanes, first, count, T, N, numbers, at, step):  # type: ignore[no-untyped-def]
    """Copy what `_gather` copies, in the other direction."""
    for lane in range(count):
        row, n = (first + lane) // N, (first + lane) % N
        for t in range(T):
            numbers[(row * T + t) * step + at + n] = lanes[t * LANES + lane]


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the gates of heads `first` to `last` of all streams, for the `Forward` at the address `record`."""
    args = arguments_at(record, Forward)
    T, N, p, m_0, m_T = args.T, args.N, floats(args.p), floats(args.m), floats(args.m_T)
    size = T * LANES
    i, f, e = zeros(size), zeros(size), zeros(size)
    for begin in range(first, last, LANES):
        count = min(LANES, last - begin)
        _gather(p, 0, 2 * N, begin, count, T, N, i)
        _gather(p, N, 2 * N, begin, count, T, N, f)
        m = load_first(m_0, begin, count)
        for at in range(0, size, LANES):
            z, of_i = m + log_sigmoid(load(f, at)), load(i, at)
            m = larger(z, of_i)  # (3)
            store(f, at, power(z - m))
            store(i, at, power(of_i - m))
            store(e, at, _least(m))  # (4)
        store_first(m_T, begin, count, m)
        _scatter(i, begin, count, T, N, floats(args.i), 0, N)
        _scatter(f, begin, count, T, N, floats(args.f), 0, N)
        _scatter(e, begin, count, T, N, floats(args.e), 0, N)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the gradients of heads `first` to `last` of all streams, for the `Backward` at the address `record`."""
    args = arguments_at(record, Backward)
    T, N, p, m_0, d_p = args.T, args.N, floats(args.p), floats(args.m), floats(args.d_p)
    size = T * LANES
    i, f, before = zeros(size), zeros(size), zeros(size)
    d_i, d_f, d_e = zeros(size), zeros(size), zeros(size)
    for begin in range(first, last, LANES):
        count = min(LANES, last - begin)
        _gather(p, 0, 2 * N, begin, count, T, N, i)
        _gather(p, N, 2 * N, begin, count, T, N, f)
        _gather(floats(args.d_i), 0, N, begin, count, T, N, d_i)
        _gather(floats(args.d_f), 0, N, begin, count, T, N, d_f)
        _gather(floats(args.d_e), 0, N, begin, count, T, N, d_e)
        m = load_first(m_0, begin, count)
        for at in range(0, size, LANES):
            store(before, at, m)
            m = larger(m + log_sigmoid(load(f, at)), load(i, at))  # (3)
        dm = load_first(floats(args.d_m_T), begin, count)
        for at in range(size - LANES, -1, -LANES):
            of_f, of_i = load(f, at), load(i, at)
            z = load(before, at) + log_sigmoid(of_f)
            m = larger(z, of_i)
            through_f, through_i = power(z - m) * load(d_f, at), power(of_i - m) * load(d_i, at)
            through_e = _least(m) * load(d_e, at)
            dm = dm - through_f - through_i - positive(m - splat(MIN_STABILISER), through_e)  # (a)
            of_input = positive(of_i - z, dm)
            dm, d_input = through_f + (dm - of_input), through_i + of_input  # (b)
            store(d_i, at, d_input)
            store(d_f, at, dm * sigmoid(-of_f))  # (c)
        store_first(floats(args.d_m), begin, count, dm)
        _scatter(d_i, begin, count, T, N, d_p, 0, 2 * N)
        _scatter(d_f, begin, count, T, N, d_p, N, 2 * N)


class StabilisedGates(torch.autograd.Function):
    """The map from ĩ and f̃ (B, T, 2N) and m (B, N) to i, f and e (B, T, N) and the last m' (B, N)."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, *inputs: Tensor) -> tuple[Tensor, ...]:
        p_BTG, m_BN = inputs
        (B, T, _), N = p_BTG.shape, m_BN.shape[1]
        i_BTN, f_BTN, e_BTN = (p_BTG.new_empty(B, T, N) for _ in range(3))
        last_BN = p_BTG.new_empty(B, N)
        arguments = Forward(p_BTG, m_BN, i_BTN, f_BTN, e_BTN, last_BN, T, N)
        run_rows(forward_rows, arguments, B * N, p_BTG.numel(), LANES)
        ctx.reference = reference
        ctx.save_for_backward(*inputs)
        return i_BTN, f_BTN, e_BTN, last_BN

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, *reference_gradients(ctx.reference, inputs, gradients)
        p_BTG, m_BN = inputs
        d_p_BTG, d_m_BN = (torch.empty_like(tensor, memory_format=CONTIGUOUS) for tensor in inputs)
        sizes = (p_BTG.shape[1], m_BN.shape[1])
        arguments = Backward._make([p_BTG, m_BN, *gradients, d_p_BTG, d_m_BN, *sizes])
        run_rows(backward_rows, arguments, m_BN.numel(), 2 * p_BTG.numel(), LANES)
        return None, d_p_BTG, d_m_BN


def stabilised_gates(reference: Reference, p_BTG: Tensor, m_BN: Tensor) -> tuple[Tensor, ...]:
    """Return i, f and e (B, T, N) and the last stabiliser (B, N), by `StabilisedGates`.

    Args:
        reference: Function of the inputs that computes the same results in plain torch, for second derivatives.
        p_BTG: ĩ and f̃ of all heads, (B, T, 2N).
        m_BN: Stabiliser before the first step.
    """
    results: tuple[Tensor, ...] = StabilisedGates.apply(reference, p_BTG, m_BN)  # type: ignore[no-untyped-call]
    return results
