"""The analyses behind the `gates` probe: plain functions of tensors, each of which can be worked out by hand.

Retention: what a unit wrote is multiplied by its hold gate at every later step, so after T steps the share

    ∏ f_t                                              (1)

is left, and half of it after

    ln 2 / -mean(ln f_t)   steps                       (2)

Memory trace: how well a linear map of the state s_t gives the first element x_1, on sequences it was not fitted to,

    R² = 1 - Σ (x_1 - A s_t - b)² / Σ (x_1 - mean x_1)²    (3)

A, b by ridge regression, whose strength is chosen on sequences of a third kind.

Gradient trace: the mean over sequences of ‖∂loss / ∂x_t‖   (4)
"""

# Shape suffixes: B batch, T time, H units, N sequences, F features of a state, D channels, R ridge strengths

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

import arch
import tasks

STRENGTHS = (1e-8, 1e-6, 1e-4, 1e-2, 1.0, 100.0)
"""Of the ridge, relative to the features' mean variance."""
MAX_HALF_LIFE = 1e6
"""A gate that rounds to 1 never forgets; records hold finite numbers only."""
STANDING_STILL = 1e-12
"""A target whose variance is below this does not vary, and cannot be decoded."""


def retention(hold_BTH: Tensor) -> Tensor:
    """Equation (1) over all T steps given, (H,): the mean over sequences."""
    return hold_BTH.double().prod(1).mean(0)


def half_life(hold_BTH: Tensor) -> Tensor:
    """Equation (2), (H,): at most `LONGEST_HALF_LIFE` steps; 0 where a gate is shut."""
    decay_H = -hold_BTH.double().log().mean((0, 1))
    return (math.log(2) / decay_H.clamp_min(math.log(2) / MAX_HALF_LIFE)).clamp_max(MAX_HALF_LIFE)


def histogram(activation: Tensor, bins: int) -> Tensor:
    """Shares of activations in `bins` equal parts of [0, 1]; 1 itself belongs to the last."""
    place = (activation.flatten().double() * bins).long().clamp(0, bins - 1)
    return torch.bincount(place, minlength=bins) / place.numel()


def share_between(activation: Tensor, low: float, high: float) -> float:
    """The share of activations in [low, high]."""
    return ((activation >= low) & (activation <= high)).double().mean().item()


def contrast(level_T: Tensor, over: slice | int, under: slice | int) -> float | None:
    """How many times higher a gate stands at some steps than at others; None where it is shut at the others."""
    base = level_T[under].mean().item()
    return level_T[over].mean().item() / base if base > 0 else None


def decodability(state_NF: Tensor, target_ND: Tensor, *, fit: int, choose: int) -> float | None:
    """Equation (3) of one step: the first `fit` sequences fit, the next `choose` choose the ridge, the rest tell.

    None where the target does not vary.
    """
    state_NF, target_ND = state_NF.double(), target_ND.double()
    parts_F, parts_D = (whole.split([fit, choose, len(whole) - fit - choose]) for whole in (state_NF, target_ND))
    if (parts_D[2] - parts_D[2].mean(0)).square().mean() < STANDING_STILL:
        return None
    centre_F, centre_D = parts_F[0].mean(0), parts_D[0].mean(0)
    centred_NF, centred_ND = parts_F[0] - centre_F, parts_D[0] - centre_D
    values_F, vectors_FF = torch.linalg.eigh(centred_NF.T @ centred_NF)
    values_F = values_F.clamp_min(0)
    seen_FD = vectors_FF.T @ (centred_NF.T @ centred_ND)
    scale = values_F.mean().clamp_min(torch.finfo(torch.float64).tiny)

    def fitted(strength: float, part: int) -> float:
        map_FD = vectors_FF @ (seen_FD / (values_F + strength * scale)[:, None])
        told_ND = (parts_F[part] - centre_F) @ map_FD + centre_D
        return r_squared(told_ND, parts_D[part])

    best = max(STRENGTHS, key=lambda strength: fitted(strength, 1))
    return fitted(best, 2)


def r_squared(told_ND: Tensor, target_ND: Tensor) -> float:
    """1 for a perfect answer, 0 for the mean, below 0 for worse."""
    error = (told_ND - target_ND).square().sum()
    spread = (target_ND - target_ND.mean(0)).square().sum()
    return (1 - error / spread).item()


def gradient_trace(model: arch.SequenceModel, task: tasks.Task, batch: tasks.Batch) -> Tensor:
    """Equation (4), (T,): with respect to real inputs, or to the embeddings of tokens. In float64, as it may vanish."""
    model = copy.deepcopy(model).double().eval()
    read: list[Tensor] = []

    def keep(_module: object, _inputs: object, output: Tensor) -> None:
        output.retain_grad()
        read.append(output)

    inputs = batch.inputs
    if inputs.is_floating_point():
        inputs = inputs.double().requires_grad_()
        read.append(inputs)
    else:
        model.encoder.register_forward_hook(keep)
    targets = batch.targets.double() if batch.targets.is_floating_point() else batch.targets
    asked = tasks.Batch(inputs=inputs, targets=targets, mask=batch.mask)
    (task.loss(model(inputs), asked) * len(inputs)).backward()
    gradient_BTD = read[0].grad
    assert gradient_BTD is not None
    norm_BT: Tensor = torch.linalg.vector_norm(gradient_BTD, dim=2)
    return norm_BT.mean(0)
