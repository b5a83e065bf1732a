"""Echo state network over a whole sequence: equations (1) and (2) of `arch/esn.py`, and the gradient of the inputs.

d· is the derivative of the loss with respect to ·. g is tanh(s). The weights are fixed, so nothing else has a gradient:

    ds  = α dh (1 - g²)                                                (3)
    dh ← (1 - α) dh + U^T ds,  dx = W^T ds                             (4)

The matrices are sparse, so a vector holds the same unit in LANES rows of the batch: each connection is then a product
of one weight with a whole vector. Inputs and states are transposed to this order step by step, and results back.
"""

# Shape suffixes: T time, B batch, D input width, H hidden width, J connections to inputs, K connections to units

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from arch.kernels.cells.reservoir import leaky_tanh
from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.runtime.launch import (
    CONTIGUOUS,
    Reference,
    needs_gradients,
    needs_reference,
    reference_gradients,
    run_rows,
    without_autocast,
)
from arch.kernels.runtime.threads import TILED
from arch.kernels.simd.matmul import panels_of
from arch.kernels.simd.matvec import bits, floats
from arch.kernels.simd.scratch import empty, zeros
from arch.kernels.simd.vector import LANES, fma, load, splat, store


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        x: Inputs, (T, B, D).
        W, W_sources: Weights of the connections to inputs, and the inputs that they read, (H, J).
        bias: b, (H,).
        U, U_sources: Weights of the connections to units, and the units that they read, (H, K).
        leak: α, (1,).
        h_0: Initial state, (B, H).
        outputs: Outputs, (T, B, H), written.
        activations: Receives g, (T, H, rows), or None without gradients. `rows` is B rounded up to whole vectors.
        T, B, D, H, J, K: Steps, batch size, input width, hidden width, connections to inputs and to units.
    """

    x: Tensor
    W: Tensor
    W_sources: Tensor
    bias: Tensor
    U: Tensor
    U_sources: Tensor
    leak: Tensor
    h_0: Tensor
    outputs: Tensor
    activations: Tensor | None
    T: int
    B: int
    D: int
    H: int
    J: int
    K: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        W, W_sources, U, U_sources, leak: As for `forward_rows`.
        activations: What `forward_rows` wrote, (T, H, rows).
        d_outputs: Gradient of the outputs, (T, B, H).
        d_h: Gradient of the last state, (B, H). Receives that of the initial state.
        d_x: Gradient of the inputs, (T, B, D), written.
        T, B, D, H, J, K: As for `forward_rows`.
    """

    W: Tensor
    W_sources: Tensor
    U: Tensor
    U_sources: Tensor
    leak: Tensor
    activations: Tensor
    d_outputs: Tensor
    d_h: Tensor
    d_x: Tensor
    T: int
    B: int
    D: int
    H: int
    J: int
    K: int


@njit
def _transpose(source, at, rows, width, result, to, stride):  # type: ignore[no-untyped-def]
    """Transpose a matrix (rows, width) to rows that are `stride` numbers apart, a few columns at a time.

    Args:
        source, at: Array of the matrix, and its offset.
        rows, width: Shape of the matrix.
        result, to, stride: Array of the result, its offset, and the distance between its rows.
    """
    for first in range(0, width, LANES):
        for row in range(rows):
            for column in range(first, min(width, first + LANES)):
                result[to + column * stride + row] = source[at + row * width + column]


@njit
def _transpose_back(source, at, stride, result, to, rows, width):  # type: ignore[no-untyped-def]
    """Write the matrix that `_transpose` read. The arguments are those of `_transpose` in the other direction."""
    for first in range(0, width, LANES):
        for row in range(rows):
            for column in range(first, min(width, first + LANES)):
                result[to + row * width + column] = source[at + column * stride + row]


@njit
def _connections(args, stride):  # type: ignore[no-untyped-def]
    """Return the weights of all connections of each unit, (H, J + K), and the offsets of what they read.

    Inputs and states are rows of one array, `stride` numbers apart: first the D inputs, then the H units.
    """
    D, H, J, K = args.D, args.H, args.J, args.K
    W, U, of_x, of_h = floats(args.W), floats(args.U), bits(args.W_sources), bits(args.U_sources)
    weights, offsets = empty(H * (J + K)), np.empty(H * (J + K), np.int64)
    for unit in range(H):
        at = unit * (J + K)
        for j in range(J):
            weights[at + j], offsets[at + j] = W[unit * J + j], of_x[unit * J + j] * stride
        for k in range(K):
            weights[at + J + k], offsets[at + J + k] = U[unit * K + k], (D + of_h[unit * K + k]) * stride
    return weights, offsets


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the outputs of rows `first` to `last` of the batch, for the `Forward` at the address `record`."""
    args = arguments_at(record, Forward)
    T, B, D, H, count = args.T, args.B, args.D, args.H, args.J + args.K
    bias, leak, x, outputs = floats(args.bias), splat(floats(args.leak)[0]), floats(args.x), floats(args.outputs)
    activations, batch = floats(args.activations), panels_of(B) * LANES
    rows = last - first
    stride = panels_of(rows) * LANES
    units = D * stride  # offset of the states
    weights, offsets = _connections(args, stride)
    before, after = zeros((D + H) * stride), zeros((D + H) * stride)
    _transpose(floats(args.h_0), first * H, rows, H, before, units, stride)
    for t in range(T):
        _transpose(x, (t * B + first) * D, rows, D, before, 0, stride)
        for unit in range(H):
            for lane in range(0, stride, LANES):
                total = splat(bias[unit])
                for at in range(unit * count, (unit + 1) * count):
                    total = fma(splat(weights[at]), load(before, offsets[at] + lane), total)
                place = units + unit * stride + lane
                g, h = leaky_tanh(total, load(before, place), leak)
                store(after, place, h)
                if args.activations != 0:
                    store(activations, (t * H + unit) * batch + first + lane, g)
        _transpose_back(after, units, stride, outputs, (t * B + first) * H, rows, H)
        before, after = after, before


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write `d_x` and `d_h` of rows `first` to `last` of the batch, for the `Backward` at the address `record`."""
    args = arguments_at(record, Backward)
    T, B, D, H, count = args.T, args.B, args.D, args.H, args.J + args.K
    leak, activations = splat(floats(args.leak)[0]), floats(args.activations)
    d_x, d_h, d_outputs = floats(args.d_x), floats(args.d_h), floats(args.d_outputs)
    rows, batch, one = last - first, panels_of(B) * LANES, splat(1.0)
    stride = panels_of(rows) * LANES
    units = D * stride
    weights, offsets = _connections(args, stride)
    d_before, d_after = zeros((D + H) * stride), zeros(H * stride)
    d_sums = empty(H * stride)
    _transpose(d_h, first * H, rows, H, d_before, units, stride)
    for t in range(T - 1, -1, -1):
        _transpose(d_outputs, (t * B + first) * H, rows, H, d_after, 0, stride)
        d_before[:units] = 0
        for unit in range(H):
            for lane in range(0, stride, LANES):
                place = unit * stride + lane
                g = load(activations, (t * H + unit) * batch + first + lane)
                dh = load(d_before, units + place) + load(d_after, place)
                store(d_sums, place, leak * dh * (one - g * g))  # (3)
                store(d_before, units + place, (one - leak) * dh)
        for unit in range(H):
            for lane in range(0, stride, LANES):
                ds = load(d_sums, unit * stride + lane)
                for at in range(unit * count, (unit + 1) * count):
                    to = offsets[at] + lane
                    store(d_before, to, fma(splat(weights[at]), ds, load(d_before, to)))  # (4)
        _transpose_back(d_before, 0, stride, d_x, (t * B + first) * D, rows, D)
    _transpose_back(d_before, units, stride, d_h, first * H, rows, H)


class Tables(NamedTuple):
    """The fixed weights of a reservoir.

    Args:
        W, W_sources: Weights of the connections to inputs, and the inputs that they read, (H, J).
        bias: b, (H,).
        U, U_sources: Weights of the connections to units, and the units that they read, (H, K).
        leak: α, (1,).
    """

    W: Tensor
    W_sources: Tensor
    bias: Tensor
    U: Tensor
    U_sources: Tensor
    leak: Tensor


class Scan(torch.autograd.Function):
    """The map from x (T, B, D) and h_0 (B, H) to outputs (T, B, H) and h_T (B, H)."""

    @staticmethod
    def forward(
        ctx: Any, reference: Reference, tables: Tables, saves: bool, x_TBD: Tensor, h_BH: Tensor
    ) -> tuple[Tensor, Tensor]:
        (T, B, D), (H, J), K = x_TBD.shape, tables.W.shape, tables.U.shape[1]
        outputs_TBH = x_TBD.new_empty(T, B, H)
        activations = x_TBD.new_empty(T, H, panels_of(B) * LANES) if saves else None
        arguments = Forward(
            x=x_TBD,
            **tables._asdict(),
            h_0=h_BH,
            outputs=outputs_TBH,
            activations=activations,
            T=T,
            B=B,
            D=D,
            H=H,
            J=J,
            K=K,
        )
        run_rows(forward_rows, arguments, B, T * B * H * (J + K) // TILED, LANES)
        ctx.reference, ctx.tables = reference, tables
        ctx.save_for_backward(x_TBD, h_BH, activations)
        return outputs_TBH, outputs_TBH[-1].clone()

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x_TBD, h_BH, activations = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, None, None, *reference_gradients(ctx.reference, (x_TBD, h_BH), gradients)
        tables: Tables = ctx.tables
        (T, B, D), (H, J), K = x_TBD.shape, tables.W.shape, tables.U.shape[1]
        d_h_BH = gradients[1].clone(memory_format=CONTIGUOUS)
        d_x_TBD = torch.empty_like(x_TBD, memory_format=CONTIGUOUS)
        weights = {name: value for name, value in tables._asdict().items() if name != "bias"}
        arguments = Backward(
            **weights,
            activations=activations,
            d_outputs=gradients[0],
            d_h=d_h_BH,
            d_x=d_x_TBD,
            T=T,
            B=B,
            D=D,
            H=H,
            J=J,
            K=K,
        )
        run_rows(backward_rows, arguments, B, T * B * H * (J + K) // TILED, LANES)
        return None, None, None, d_x_TBD, d_h_BH


def scan(reference: Reference, tables: Tables, x_TBD: Tensor, h_BH: Tensor) -> tuple[Tensor, Tensor]:
    """Return the outputs (T, B, H) and the last state (B, H), by `Scan`.

    Args:
        reference: Function of the inputs and the initial state that computes the same results in plain torch. Second
            derivatives use it.
        tables: The fixed weights.
        x_TBD: Inputs.
        h_BH: Initial state.
    """
    outputs: tuple[Tensor, Tensor] = Scan.apply(  # type: ignore[no-untyped-call]
        reference, tables, needs_gradients(x_TBD, h_BH), x_TBD, h_BH
    )
    return outputs
