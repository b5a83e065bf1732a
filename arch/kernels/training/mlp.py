"""The two halves of a residual block around its layer: a norm before it; the residual sum and the MLP after it.

    n = norm(x)                                     (0)
    y = x + W_o a + b_o                             (1)  a `transformer` projects the attention output a; else y = x + a
    z = y + W_2 gelu(W_1 norm(y) + b_1) + b_2       (2)  followed by a final norm in the last block

The kernels are in `layer_norm.py` and `residual_mlp.py`. torch computes the product with W_o.
"""

# Shape suffixes: B batch, T time, Y rows of all sequences, D model width, E MLP width, M two moments

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from arch.kernels.runtime.launch import Reference, needs_reference, reference_gradients, without_autocast
from arch.kernels.training import residual_mlp
from arch.kernels.training.layer_norm import denormalise, normalise


class NormalisedRows(torch.autograd.Function):
    """The map from x (B, T, D) and the gain and offset of a norm (D,) to n, equation (0)."""

    @staticmethod
    def forward(ctx: Any, reference: Reference, x_BTD: Tensor, gain_D: Tensor, offset_D: Tensor) -> Tensor:
        normal_YD, moments_YM = normalise(x_BTD.reshape(-1, x_BTD.shape[2]), gain_D, offset_D)
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
        d_x_YD, sums_2D = denormalise(d_n_BTD.reshape(x_YD.shape), x_YD, moments_YM, gain_D)
        return None, d_x_YD.view(x_BTD.shape), sums_2D[0], sums_2D[1]


class ResidualMLP(torch.autograd.Function):
    """The map from x and a (B, T, D) and the weights to the output of the block (B, T, D).

    The output is z, or norm(z) if the block has a final norm.
    The weights are W_o (D, D), b_o (D,), gain and offset of the norm (D,), W_1 (E, D), b_1 (E,), W_2 (D, E), b_2 (D,).
    Without a projection, W_o and b_o are left out. If the block has a final norm, its gain and offset (D,) follow.
    """

    @staticmethod
    def forward(ctx: Any, reference: Reference, projects: bool, *inputs: Tensor) -> Tensor:
        x_BTD, a_BTD, *weights = inputs
        projection, of_mlp = _split(weights, projects)
        x_YD, a_YD = x_BTD.reshape(-1, x_BTD.shape[2]), a_BTD.reshape(-1, x_BTD.shape[2])
        product_YD, bias_D = (a_YD @ projection[0].T, projection[1]) if projects else (a_YD, None)
        y_YD, total_YD, z_YD = residual_mlp.advance(x_YD, product_YD, bias_D, of_mlp)
        ctx.reference, ctx.projects = reference, projects
        # without a final norm, the sum is the output, which may be changed in place, and is not needed
        ctx.save_for_backward(*inputs, y_YD, None if of_mlp.final_gain is None else total_YD)
        # not marked as a view, so that torch allows changes in place
        return torch.ops.aten._unsafe_view(z_YD, x_BTD.shape)  # type: ignore[no-any-return]

    @staticmethod
    @without_autocast
    def backward(ctx: Any, d_z_BTD: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, y_YD, total_YD = ctx.saved_tensors  # torch allows one access: each one unpacks a checkpoint
        if needs_reference(d_z_BTD):
            return None, None, *reference_gradients(ctx.reference, inputs, [d_z_BTD])
        x_BTD, a_BTD, *weights = inputs
        projection, of_mlp = _split(weights, ctx.projects)
        d_y_YD, d_b_o, of_weights = residual_mlp.go_back(d_z_BTD.reshape(y_YD.shape), y_YD, total_YD, of_mlp)
        d_a_YD = d_y_YD @ projection[0] if projection else d_y_YD
        of_projection = ((a_BTD.reshape(y_YD.shape).T @ d_y_YD).T, d_b_o) if projection else ()
        d_x_BTD, d_a_BTD = d_y_YD.view(x_BTD.shape), d_a_YD.view(x_BTD.shape)
        return None, None, d_x_BTD, d_a_BTD, *of_projection, *of_weights


def _split(weights: list[Tensor], projects: bool) -> tuple[list[Tensor], residual_mlp.Weights]:
    """Return the weights of the projection, which may be none, and the others."""
    return (weights[:2] if projects else []), residual_mlp.Weights(*weights[2 if projects else 0 :])


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
