"""A sequence with NaN leaves the others of its batch alone: outputs, and gradients of inputs and initial state."""

# Shape suffixes: B batch, T time, D width

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import arch

LAYERS = [name for name in arch.names() if name != "hybrid"]
ODD = ["mamba:states=6", "mamba:states=7", "mamba:conv=0", "s4d:states=6", "mamba2:states=6", "mamba2:conv=0"]
"""Layers with states that the kernels round up."""
BAD_ROW, GOOD_ROWS = 1, [0, 2, 3]


def tensors(state: object) -> list[Tensor]:
    """Return the parts of a state that can have gradients."""
    return [part for part in pytree.tree_leaves(state) if isinstance(part, Tensor) and part.is_floating_point()]


@pytest.mark.parametrize("width", [12, 36])
@pytest.mark.parametrize("spec", [*LAYERS, *ODD])
def test_rows_with_nan_stay_apart(spec: str, width: int) -> None:
    torch.manual_seed(0)
    selected = arch.get(spec)
    layer = selected.layer(width, width, **selected.options)
    x_BTD, state = torch.randn(4, 40, width), layer.init_state(4)
    x_BTD[BAD_ROW, 20, 3] = float("nan")
    leaves = [part.requires_grad_() for part in (x_BTD, *tensors(state))]
    outputs_BTD, after = layer.scan(x_BTD, state)
    seen = torch.stack([part.sum() for part in (outputs_BTD, *tensors(after)) if part.requires_grad]).sum()
    gradients = torch.autograd.grad(seen, leaves, allow_unused=True)
    assert bool(outputs_BTD[BAD_ROW].isnan().any())
    for found in (outputs_BTD, *tensors(after), *gradients):
        assert found is None or bool(found[GOOD_ROWS].isfinite().all())
