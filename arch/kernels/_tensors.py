"""Between tensors and kernels: flat arrays of the same memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

CONTIGUOUS = torch.contiguous_format

CONTIGUOUS = torch.contiguous_format

Reference = Callable[..., tuple[Tensor, ...]]
"""The same scan by the readable equations."""

Floats = np.ndarray[tuple[int], np.dtype[np.float32]]


def flat(tensor: Tensor) -> Floats:
    """A tensor's numbers, row after row; its own memory where they lie so."""
    array: Floats = tensor.detach().contiguous().view(-1).numpy()
    return array


def gradients_wanted(*tensors: Tensor) -> bool:
    """Whether a backward pass may follow. A function's own forward pass cannot tell: it runs without gradients."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def through_reference(
    reference: Reference, inputs: Sequence[Tensor], gradients: Sequence[Tensor]
) -> list[Tensor | None]:
    """The inputs' gradients as differentiable tensors: what a kernel's own backward pass cannot give."""
    with torch.enable_grad():
        outputs = reference(*inputs)
        needed = [tensor for tensor in inputs if tensor.requires_grad]
        found: Any = iter(torch.autograd.grad(outputs, needed, gradients, create_graph=True))
    return [next(found) if tensor.requires_grad else None for tensor in inputs]


def weight_gradient(d_sums_TBG: Tensor, h_BH: Tensor, outputs_TBH: Tensor) -> Tensor:
    """Σ_t d_sums_t h_t^T, where h_0 is the state at the start and h_t the output before step t.

    Its transpose is computed, which is up to 1.4 times as fast at small widths.
    """
    d_U_HG = h_BH.T @ d_sums_TBG[0]
    if len(d_sums_TBG) > 1:
        d_U_HG.addmm_(outputs_TBH[:-1].flatten(0, 1).T, d_sums_TBG[1:].flatten(0, 1))
    return d_U_HG.T
