"""Analyses of the `gates` probe, as plain functions.

Retention: a unit multiplies its stored value by its hold gate f_t at every step. The share of the value that remains
after T steps, and the half-life in steps, are

    ∏ f_t                                                  (1)
    ln 2 / -mean(ln f_t)                                   (2)

Memory trace: the quality of a linear prediction of the first element x_1 from the state s_t on held-out sequences,

    R² = 1 - Σ (x_1 - A s_t - b)² / Σ (x_1 - mean x_1)²    (3)

A and b come from ridge regression. The ridge strength is selected on a second set of sequences. R² is computed on a
third set.

Gradient trace: the mean over sequences of the gradient norm at each step,

    ‖∂loss / ∂x_t‖                                         (4)
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
"""Ridge strengths to select from, relative to the mean variance of the features."""
MAX_HALF_LIFE = 1e6
"""Largest half-life, in steps. A gate that rounds to 1 never forgets, but records contain finite numbers only."""
MIN_VARIANCE = 1e-12
"""Smallest variance of a target that can be decoded. A target with a smaller variance counts as constant."""


def retention(hold_BTH: Tensor) -> Tensor:
    """Return the retention of each unit over all T steps, equation (1), averaged over sequences, (H,)."""
    return hold_BTH.double().prod(1).mean(0)


def half_life(hold_BTH: Tensor) -> Tensor:
    """Return the half-life of each unit in steps, equation (2), (H,).

    The half-life is at most `MAX_HALF_LIFE`, and 0 if the unit's gate is exactly 0 at any step.
    """
    decay_H = -hold_BTH.double().log().mean((0, 1))
    return (math.log(2) / decay_H.clamp_min(math.log(2) / MAX_HALF_LIFE)).clamp_max(MAX_HALF_LIFE)


def histogram(activation: Tensor, bins: int) -> Tensor:
    """Return the share of activations in each of `bins` equal parts of [0, 1], (bins,). The last part includes 1."""
    bin_index = (activation.flatten().double() * bins).long().clamp(0, bins - 1)
    return torch.bincount(bin_index, minlength=bins) / bin_index.numel()


def share_between(activation: Tensor, low: float, high: float) -> float:
    """Return the share of activations in [low, high]."""
    return ((activation >= low) & (activation <= high)).double().mean().item()


def contrast(level_T: Tensor, high: slice | int, low: slice | int) -> float | None:
    """Return the ratio of a gate's mean levels at the steps `high` and `low`; None if the mean level at `low` is 0."""
    base = level_T[low].mean().item()
    return level_T[high].mean().item() / base if base > 0 else None


def decodability(state_NF: Tensor, target_ND: Tensor, *, fit: int, select: int) -> float | None:
    """Return the R² of a linear prediction at one step, equation (3); None if the test targets are constant.

    Args:
        state_NF: features of the state after the step, (N, F).
        target_ND: the first element of each sequence, (N, D).
        fit: number of sequences for the regression, taken from the start.
        select: number of subsequent sequences for selecting the ridge strength; the remaining ones are for testing.
    """
    state_NF, target_ND = state_NF.double(), target_ND.double()
    parts_F, parts_D = (rows.split([fit, select, len(rows) - fit - select]) for rows in (state_NF, target_ND))
    if (parts_D[2] - parts_D[2].mean(0)).square().mean() < MIN_VARIANCE:
        return None
    centre_F, centre_D = parts_F[0].mean(0), parts_D[0].mean(0)
    centred_NF, centred_ND = parts_F[0] - centre_F, parts_D[0] - centre_D
    values_F, vectors_FF = torch.linalg.eigh(centred_NF.T @ centred_NF)
    values_F = values_F.clamp_min(0)
    projected_FD = vectors_FF.T @ (centred_NF.T @ centred_ND)
    scale = values_F.mean().clamp_min(torch.finfo(torch.float64).tiny)

    def score(strength: float, part: int) -> float:
        map_FD = vectors_FF @ (projected_FD / (values_F + strength * scale)[:, None])
        predicted_ND = (parts_F[part] - centre_F) @ map_FD + centre_D
        return r_squared(predicted_ND, parts_D[part])

    best = max(STRENGTHS, key=lambda strength: score(strength, 1))
    return score(best, 2)


def r_squared(predicted_ND: Tensor, target_ND: Tensor) -> float:
    """Return the R² of predictions: 1 if exact, 0 for the mean target, and negative if worse than the mean target."""
    error = (predicted_ND - target_ND).square().sum()
    spread = (target_ND - target_ND.mean(0)).square().sum()
    return (1 - error / spread).item()


def gradient_trace(model: arch.SequenceModel, task: tasks.Task, batch: tasks.Batch) -> Tensor:
    """Return the mean gradient norm at each step, equation (4), (T,).

    Gradients are taken with respect to real inputs, or to the embeddings of tokens. They are computed in float64,
    because small gradients may vanish in float32.
    """
    model = arch.to_float64(copy.deepcopy(model)).eval()
    tracked: list[Tensor] = []

    def record(_module: object, _inputs: object, output: Tensor) -> Tensor:
        if not output.requires_grad:  # an encoder that does not learn
            output = output.detach().requires_grad_()
        output.retain_grad()
        tracked.append(output)
        return output

    inputs = batch.inputs
    if inputs.is_floating_point():
        inputs = inputs.double().requires_grad_()
        tracked.append(inputs)
    else:
        model.encoder.register_forward_hook(record)
    targets = batch.targets.double() if batch.targets.is_floating_point() else batch.targets
    batch = tasks.Batch(inputs=inputs, targets=targets, mask=batch.mask)
    (task.loss(model(inputs), batch) * len(inputs)).backward()
    gradient_BTD = tracked[0].grad
    assert gradient_BTD is not None
    norm_BT: Tensor = torch.linalg.vector_norm(gradient_BTD, dim=2)
    return norm_BT.mean(0)
