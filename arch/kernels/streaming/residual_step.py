"""The parts of a block before and after its layer, for one step of a small batch.

Equation numbers refer to `arch/core/block.py`. All arrays are float32.
"""

from __future__ import annotations

from numba import njit

from arch.kernels.simd.activation import gelu
from arch.kernels.simd.matvec import apply, floats
from arch.kernels.simd.vector import LANES, load_first, store_first
from arch.kernels.streaming.block_step import normalise
from arch.kernels.streaming.recurrent_step import copy
from arch.kernels.streaming.short_convolution_step import convolve


@njit
def enter_step(D, connects, convolves, weights, inputs, x, u, stream, B):  # type: ignore[no-untyped-def]
    """Write the inputs of the layer to `u`: the norm of (3), then the convolution (1).

    Args:
        D: Input width.
        connects: Whether the block is residual: whether to keep `x` for `leave_step`, and to normalise it.
        convolves: Whether the block has a convolution.
        weights: Addresses of gain and offset of the norm, (D,), and of w (4, D) and b (D,) of the convolution.
        inputs: Address of the last three inputs of the convolution (B, 3, D), which are updated in place.
        x: Array of the inputs of the block, (B, D).
        u: Array that receives the inputs of the layer, (B, D).
        stream: Array that receives a copy of `x` if the block is residual, (B, D).
        B: Batch size.
    """
    if connects:
        copy(x, B * D, stream)
        normalise(x, weights[0], weights[1], D, B, u)
    else:
        copy(x, B * D, u)
    if convolves:
        convolve(u, D, D, weights[2], weights[3], inputs, B, False)  # (1)


@njit
def leave_step(H, E, weights, h, z, stream, wide, B):  # type: ignore[no-untyped-def]
    """Write the outputs of a residual block to `z`: (3), (4), and the final norm if there is one.

    Args:
        H: Width of the block.
        E: Width of the hidden layer of the MLP, or 0 if there is no MLP.
        weights: Addresses of gain and offset of the norm of (4), W_1, b_1, W_2, b_2, and gain and offset of the final
            norm. Those of a missing part are 0.
        h: Array of the outputs of the layer, (B, H).
        z: Array that receives the outputs of the block, (B, H).
        stream: Array of the inputs of the block, (B, H). It is changed.
        wide: Array that serves as workspace for B · E numbers.
        B: Batch size.
    """
    for at in range(0, B * H, LANES):
        count = B * H - at
        store_first(stream, at, count, load_first(stream, at, count) + load_first(h, at, count))  # (3)
    if E != 0:
        normalise(stream, weights[0], weights[1], H, B, z)
        apply(floats(weights[2]), 0, weights[3], E, H, z, 0, H, B, wide, 0, E, False)
        for at in range(0, B * E, LANES):
            store_first(wide, at, B * E - at, gelu(load_first(wide, at, B * E - at)))
        apply(floats(weights[4]), 0, weights[5], H, E, wide, 0, E, B, stream, 0, H, True)  # (4)
    if weights[6] != 0:
        normalise(stream, weights[6], weights[7], H, B, z)
    else:
        copy(stream, B * H, z)
