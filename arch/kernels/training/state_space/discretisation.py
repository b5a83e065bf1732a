"""The transitions and outputs of a state-space model in discrete time: (1) and b of (3) of `arch/s4d.py`.

a, A, b and C are complex, and ā is the conjugate of a. d· is the derivative of the loss with respect to ·, as a complex
number of the derivatives with respect to the real and to the imaginary part:

    a = e^(Δ A),  b = (a - 1) / A,  c = 2 C b                    (1)
    dC = 2 b̄ dc,  db = 2 C̄ dc                                    (2)
    dv = ā (da + db / Ā)                                         (3)  v = Δ A
    dA = Δ dv - db b̄ / Ā                                         (4)
    dΔ_log = Δ Σ Re(Ā dv),  dA_log = Re(A) Re(dA),  dA_im = Im(dA)  (5)  the sum is over the states of a channel

A step is 1,500 numbers, which torch passes through fifty operations. The kernel computes in float64, because (4) is the
difference of nearly equal numbers if |Δ A| is small.
"""

# Shape suffixes: H channels, N states, P real and imaginary part

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from arch.kernels.cells.state_space import inverse_square, zero_order_hold
from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.runtime.launch import (
    CONTIGUOUS,
    Reference,
    needs_reference,
    reference_gradients,
    run_rows,
    without_autocast,
)
from arch.kernels.simd.matvec import floats


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        step_log: Δ_log, (H,).
        A_log, A_imag: A_log and A_im, (N, H).
        C: C, (2, N, H), real part first, as all complex numbers.
        a, c: a and c of (1), (2, N, H), written.
        H, N: Channels, and states per channel.
    """

    step_log: Tensor
    A_log: Tensor
    A_imag: Tensor
    C: Tensor
    a: Tensor
    c: Tensor
    H: int
    N: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        step_log, A_log, A_imag, C, H, N: As for `Forward`.
        d_a, d_c: Gradients of a and c, (2, N, H).
        d_step_log, d_A_log, d_A_imag, d_C: Gradients of the inputs, written.
    """

    step_log: Tensor
    A_log: Tensor
    A_imag: Tensor
    C: Tensor
    d_a: Tensor
    d_c: Tensor
    d_step_log: Tensor
    d_A_log: Tensor
    d_A_imag: Tensor
    d_C: Tensor
    H: int
    N: int


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write a and c of channels `first` to `last`, for the `Forward` at the address `record`."""
    args = arguments_at(record, Forward)
    H, NH = args.H, args.N * args.H
    step_log, A_log, A_imag, C = floats(args.step_log), floats(args.A_log), floats(args.A_imag), floats(args.C)
    a, c = floats(args.a), floats(args.c)
    for unit in range(first, last):
        step = math.exp(float(step_log[unit]))
        for at in range(unit, NH, H):
            real, imag, b, b_i = zero_order_hold(step, -math.exp(float(A_log[at])), float(A_imag[at]))
            a[at], a[NH + at] = real, imag
            c[at], c[NH + at] = 2 * (C[at] * b - C[NH + at] * b_i), 2 * (C[at] * b_i + C[NH + at] * b)  # (1)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the gradients of channels `first` to `last`, for the `Backward` at the address `record`."""
    args = arguments_at(record, Backward)
    H, NH = args.H, args.N * args.H
    step_log, A_log, A_imag, C = floats(args.step_log), floats(args.A_log), floats(args.A_imag), floats(args.C)
    d_a, d_c, d_step_log, d_A_log = floats(args.d_a), floats(args.d_c), floats(args.d_step_log), floats(args.d_A_log)
    d_A_imag, d_C = floats(args.d_A_imag), floats(args.d_C)
    for unit in range(first, last):
        step, of_step = math.exp(float(step_log[unit])), 0.0
        for at in range(unit, NH, H):
            A = complex(-math.exp(float(A_log[at])), float(A_imag[at]))
            real, imag, b, b_i = zero_order_hold(step, A.real, A.imag)
            back, dc = complex(b, -b_i), complex(d_c[at], d_c[NH + at])
            dC, db = 2 * back * dc, 2 * complex(C[at], -C[NH + at]) * dc  # (2)
            db_A = db * A * inverse_square(A.real, A.imag)
            dv = complex(real, -imag) * (complex(d_a[at], d_a[NH + at]) + db_A)  # (3)
            dA = step * dv - db_A * back  # (4)
            of_step += A.real * dv.real + A.imag * dv.imag
            d_A_log[at], d_A_imag[at] = A.real * dA.real, dA.imag  # (5)
            d_C[at], d_C[NH + at] = dC.real, dC.imag
        d_step_log[unit] = step * of_step  # (5)


class Discretisation(torch.autograd.Function):
    """The map from Δ_log (H,), A_log and A_im (N, H) and C (2, N, H) to a and c of (1), each (2, N, H)."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        (N, H), C_PNH = inputs[1].shape, inputs[3]
        a_PNH, c_PNH = (torch.empty_like(C_PNH, memory_format=CONTIGUOUS) for _ in range(2))
        run_rows(forward_rows, Forward._make([*inputs, a_PNH, c_PNH, H, N]), H, C_PNH.numel())
        ctx.reference = reference
        ctx.save_for_backward(*inputs)
        return a_PNH, c_PNH

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, *reference_gradients(ctx.reference, inputs, gradients)
        (N, H), found = inputs[1].shape, [torch.empty_like(tensor, memory_format=CONTIGUOUS) for tensor in inputs]
        run_rows(backward_rows, Backward._make([*inputs, *gradients, *found, H, N]), H, 2 * inputs[3].numel())
        return None, *found


def discretise(reference: Reference, *inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return a and c of (1), real parts first, by `Discretisation`.

    Args:
        reference: Function of `inputs` that computes the same results in plain torch. Second derivatives use it.
        inputs: Δ_log (H,), A_log and A_im (N, H), and C (2, N, H), real part first.
    """
    outputs: tuple[Tensor, Tensor] = Discretisation.apply(reference, *inputs)  # type: ignore[no-untyped-call]
    return outputs
