"""The second half of a `transformer` block: what was attended joins the residual stream, then the perceptron.

    y = x + W_o a + b_o                             (1)
    z = y + W_2 gelu(W_1 norm(y) + b_1) + b_2       (2)  after it, in the last block, another norm

The products are torch's; what stands between two of them is one pass (`layer_norm.py`, `gelu.py`).
"""

# Shape suffixes: B batch, T time, Y rows of all sequences, D model width, E width of the perceptron, M two moments

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from arch.kernels.runtime.launch import Reference, through_reference
from arch.kernels.training import gelu
from arch.kernels.training.layer_norm import add, denormalise, normalise


class Perceptron(torch.autograd.Function):
    """z (B, T, D) from x and a (B, T, D) and the weights in their order; a last norm's may follow."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, *inputs: Tensor) -> Tensor:
        x_BTD, a_BTD, W_o, b_o, gain_D, offset_D, W_1, b_1, W_2, b_2, *final = inputs
        x_YD, a_YD = x_BTD.reshape(-1, x_BTD.shape[2]), a_BTD.reshape(-1, x_BTD.shape[2])
        y_YD, normal_YD, moments_YM = normalise(x_YD, gain_D, offset_D, a_YD @ W_o.T, b_o)  # (1)
        slope_YE = normal_YD @ W_1.T
        wide_YE = gelu.apply(slope_YE, b_1)
        product_YD = wide_YE @ W_2.T
        kept = [a_YD, y_YD, normal_YD, moments_YM, slope_YE, wide_YE]
        if final:
            sum_YD, z_YD, final_YM = normalise(y_YD, final[0], final[1], product_YD, b_2)  # (2)
            kept += [sum_YD, final_YM]
        else:
            z_YD = add(y_YD, product_YD, b_2)
        ctx.reference = reference
        ctx.save_for_backward(*inputs, *kept)
        ctx.inputs = len(inputs)
        return z_YD.view_as(x_BTD)

    @staticmethod
    def backward(ctx: Any, d_z_BTD: Tensor) -> tuple[Tensor | None, ...]:
        inputs, kept = ctx.saved_tensors[: ctx.inputs], ctx.saved_tensors[ctx.inputs :]
        if torch.is_grad_enabled():
            return None, *through_reference(ctx.reference, inputs, [d_z_BTD])
        x_BTD, _, W_o, _, gain_D, _, W_1, _, W_2, _, *final = inputs
        a_YD, y_YD, normal_YD, moments_YM, slope_YE, wide_YE, *of_final = kept
        d_z_YD, of_final_norm = d_z_BTD.reshape(y_YD.shape), d_z_BTD.new_empty(0, len(gain_D))
        if final:
            d_z_YD, sums_4D = denormalise(d_z_YD, of_final[0], of_final[1], final[0])
            of_final_norm = sums_4D[:2]
        d_W_2 = (wide_YE.T @ d_z_YD).T
        d_wide_YE = d_z_YD @ W_2
        d_b_1 = gelu.go_back(slope_YE, d_wide_YE)
        d_W_1 = (normal_YD.T @ d_wide_YE).T
        d_y_YD, sums_4D = denormalise(d_wide_YE @ W_1, y_YD, moments_YM, gain_D, d_z_YD)
        d_gain_D, d_offset_D, d_b_2, d_b_o = sums_4D
        d_W_o = (a_YD.T @ d_y_YD).T
        d_x_BTD, d_a_BTD = d_y_YD.view_as(x_BTD), (d_y_YD @ W_o).view_as(x_BTD)
        return (
            *(None, d_x_BTD, d_a_BTD, d_W_o, d_b_o, d_gain_D, d_offset_D, d_W_1, d_b_1, d_W_2, d_b_2),
            *of_final_norm,
        )


def finish(reference: Reference, *inputs: Tensor) -> Tensor:
    """See `Perceptron`. `reference` is the same function by torch, for derivatives of derivatives."""
    z_BTD: Tensor = Perceptron.apply(reference, *inputs)  # type: ignore[no-untyped-call]
    return z_BTD
