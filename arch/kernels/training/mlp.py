"""The second half of a `transformer` block: the projection of the attention output, the residual sum and the MLP.

    y = x + W_o a + b_o                             (1)
    z = y + W_2 gelu(W_1 norm(y) + b_1) + b_2       (2)  followed by a final norm in the last block

torch computes the matrix products. All operations between two products run in one pass (`layer_norm.py`, `gelu.py`).
"""

# Shape suffixes: B batch, T time, Y rows of all sequences, D model width, E MLP width, M two moments

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from arch.kernels.runtime.launch import Reference, needs_reference, reference_gradients, without_autocast
from arch.kernels.training import gelu
from arch.kernels.training.layer_norm import add, denormalise, normalise


class ResidualMLP(torch.autograd.Function):
    """The map from x and a (B, T, D) and the weights to the output of the block (B, T, D).

    The output is z, or norm(z) if the block has a final norm.
    The weights are W_o (D, D), b_o (D,), gain and offset of the norm (D,), W_1 (E, D), b_1 (E,), W_2 (D, E), b_2 (D,).
    If the block has a final norm, its gain and offset (D,) follow.
    """

    @staticmethod
    def forward(ctx: Any, reference: Reference, *inputs: Tensor) -> Tensor:
        x_BTD, a_BTD, W_o, b_o, gain_D, offset_D, W_1, b_1, W_2, b_2, *final = inputs
        x_YD, a_YD = x_BTD.reshape(-1, x_BTD.shape[2]), a_BTD.reshape(-1, x_BTD.shape[2])
        y_YD, normal_YD, moments_YM = normalise(x_YD, gain_D, offset_D, a_YD @ W_o.T, b_o)  # (1)
        slope_YE = normal_YD @ W_1.T
        wide_YE = gelu.apply(slope_YE, b_1)
        product_YD = wide_YE @ W_2.T
        saved = [a_YD, y_YD, normal_YD, moments_YM, slope_YE, wide_YE]
        if final:
            sum_YD, z_YD, final_YM = normalise(y_YD, final[0], final[1], product_YD, b_2)  # (2)
            saved += [sum_YD, final_YM]
        else:
            z_YD = add(y_YD, product_YD, b_2)
        ctx.reference = reference
        ctx.save_for_backward(*inputs, *saved)
        ctx.inputs = len(inputs)
        # not marked as a view, so that torch allows changes in place
        return torch.ops.aten._unsafe_view(z_YD, x_BTD.shape)  # type: ignore[no-any-return]

    @staticmethod
    @without_autocast
    def backward(ctx: Any, d_z_BTD: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors  # torch allows one access: each one unpacks a checkpoint
        inputs, saved = tensors[: ctx.inputs], tensors[ctx.inputs :]
        if needs_reference(d_z_BTD):
            return None, *reference_gradients(ctx.reference, inputs, [d_z_BTD])
        x_BTD, _, W_o, _, gain_D, _, W_1, _, W_2, _, *final = inputs
        a_YD, y_YD, normal_YD, moments_YM, slope_YE, wide_YE, *of_final = saved
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
    """Return the output of the block (B, T, D), by `ResidualMLP`.

    Args:
        reference: Function of `inputs` that computes the same result in plain torch. Second derivatives use it.
        inputs: x and a (B, T, D), and the weights in the order of `ResidualMLP`.
    """
    z_BTD: Tensor = ResidualMLP.apply(reference, *inputs)  # type: ignore[no-untyped-call]
    return z_BTD
