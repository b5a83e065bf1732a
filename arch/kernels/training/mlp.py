"""The second half of a residual block: the residual sum and the MLP. The first half begins with a norm.

    n = norm(x)                                     (0)
    y = x + W_o a + b_o                             (1)  a `transformer` projects the attention output a; else y = x + a
    z = y + W_2 gelu(W_1 norm(y) + b_1) + b_2       (2)  followed by a final norm in the last block

torch computes the matrix products. All operations between two products run in one pass (`layer_norm.py`, `gelu.py`).
"""

# Shape suffixes: B batch, T time, Y rows of all sequences, D model width, E MLP width, M two moments

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from arch.kernels.runtime.launch import Reference, needs_reference, reference_gradients, without_autocast
from arch.kernels.training import gelu
from arch.kernels.training.layer_norm import add, denormalise, normalise


class NormalisedRows(torch.autograd.Function):
    """The map from x (B, T, D) and the gain and offset of a norm (D,) to n, equation (0)."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, x_BTD: Tensor, gain_D: Tensor, offset_D: Tensor) -> Tensor:
        _, normal_YD, moments_YM = normalise(x_BTD.reshape(-1, x_BTD.shape[2]), gain_D, offset_D)
        ctx.reference = reference
        ctx.save_for_backward(x_BTD, gain_D, offset_D, moments_YM)
        return torch.ops.aten._unsafe_view(normal_YD, x_BTD.shape)  # type: ignore[no-any-return]

    @staticmethod
    @without_autocast
    def backward(ctx: Any, d_n_BTD: Tensor) -> tuple[Tensor | None, ...]:
        x_BTD, gain_D, offset_D, moments_YM = ctx.saved_tensors
        if needs_reference(d_n_BTD):
            return None, *reference_gradients(ctx.reference, [x_BTD, gain_D, offset_D], [d_n_BTD])
        x_YD = x_BTD.reshape(-1, x_BTD.shape[2])
        d_x_YD, sums_4D = denormalise(d_n_BTD.reshape(x_YD.shape), x_YD, moments_YM, gain_D)
        return None, d_x_YD.view(x_BTD.shape), sums_4D[0], sums_4D[1]


class ResidualMLP(torch.autograd.Function):
    """The map from x and a (B, T, D) and the weights to the output of the block (B, T, D).

    The output is z, or norm(z) if the block has a final norm.
    The weights are W_o (D, D), b_o (D,), gain and offset of the norm (D,), W_1 (E, D), b_1 (E,), W_2 (D, E), b_2 (D,).
    Without a projection, W_o and b_o are left out. If the block has a final norm, its gain and offset (D,) follow.
    """

    @staticmethod
    def forward(ctx: Any, reference: Reference, projects: bool, *inputs: Tensor) -> Tensor:
        x_BTD, a_BTD, *weights = inputs
        projection, (gain_D, offset_D, W_1, b_1, W_2, b_2, *final) = _split(weights, projects)
        x_YD, a_YD = x_BTD.reshape(-1, x_BTD.shape[2]), a_BTD.reshape(-1, x_BTD.shape[2])
        product_YD, bias_D = (a_YD @ projection[0].T, projection[1]) if projects else (a_YD, torch.zeros_like(gain_D))
        y_YD, normal_YD, moments_YM = normalise(x_YD, gain_D, offset_D, product_YD, bias_D)  # (1)
        slope_YE = normal_YD @ W_1.T
        wide_YE = gelu.apply(slope_YE, b_1)
        product_YD = wide_YE @ W_2.T
        saved = [a_YD, y_YD, normal_YD, moments_YM, slope_YE, wide_YE]
        if final:
            sum_YD, z_YD, final_YM = normalise(y_YD, final[0], final[1], product_YD, b_2)  # (2)
            saved += [sum_YD, final_YM]
        else:
            z_YD = add(y_YD, product_YD, b_2)
        ctx.reference, ctx.projects = reference, projects
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
            return None, None, *reference_gradients(ctx.reference, inputs, [d_z_BTD])
        x_BTD, _, *weights = inputs
        projection, (gain_D, _, W_1, _, W_2, _, *final) = _split(weights, ctx.projects)
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
        of_projection = ((a_YD.T @ d_y_YD).T, d_b_o) if projection else ()
        d_a_YD = d_y_YD @ projection[0] if projection else d_y_YD
        d_x_BTD, d_a_BTD = d_y_YD.view(x_BTD.shape), d_a_YD.view(x_BTD.shape)
        return (
            *(None, None, d_x_BTD, d_a_BTD, *of_projection),
            *(d_gain_D, d_offset_D, d_W_1, d_b_1, d_W_2, d_b_2),
            *of_final_norm,
        )


def _split(weights: list[Tensor], projects: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Return the weights of the projection, which may be none, and the others."""
    return (weights[:2], weights[2:]) if projects else ([], weights)


def normalise_rows(reference: Reference, x_BTD: Tensor, gain_D: Tensor, offset_D: Tensor) -> Tensor:
    """Return n (B, T, D) by equation (0).

    Args:
        reference: Function of the other arguments that computes the same result in plain torch.
        x_BTD: x.
        gain_D, offset_D: Gain and offset of the norm.
    """
    n_BTD: Tensor = NormalisedRows.apply(reference, x_BTD, gain_D, offset_D)  # type: ignore[no-untyped-call]
    return n_BTD


def finish(reference: Reference, *inputs: Tensor, projects: bool = True) -> Tensor:
    """Return the output of the block (B, T, D), by `ResidualMLP`.

    Args:
        reference: Function of `inputs` that computes the same result in plain torch. Second derivatives use it.
        inputs: x and a (B, T, D), and the weights in the order of `ResidualMLP`.
        projects: Whether `inputs` has W_o and b_o.
    """
    z_BTD: Tensor = ResidualMLP.apply(reference, projects, *inputs)  # type: ignore[no-untyped-call]
    return z_BTD


def in_memory_order(function: Callable[..., Tensor], first_BTD: Tensor, *others: Tensor) -> Tensor:
    """Apply a function of rows to inputs (B, T, D) in the order in which the first input lies in memory.

    Recurrent kernels return the time first. The result (B, T, D) then lies so too, and nothing is copied.

    Args:
        function: Function of as many tensors (N, M, D), whose rows of D numbers do not depend on each other.
        first_BTD: The input that decides the order.
        others: Further inputs.
    """
    if first_BTD.is_contiguous() or not first_BTD.transpose(0, 1).is_contiguous():
        return function(first_BTD, *others)
    return function(first_BTD.transpose(0, 1), *(other.transpose(0, 1) for other in others)).transpose(0, 1)
