"""The tensors that a kernel can read, plain float32 numbers with few exceptions, and constants of the equations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

NORM_EPSILON = 1e-5
"""The `eps` of every layer norm that the kernels compute."""

UNIT_EPSILON = 1e-6
"""Summand under the root of the norms that the kernels scale to 1. It keeps the scale of a zero vector finite."""

TOTAL_EPSILON = 1e-6
"""Summand of the totals that `linear_attention` divides by, as in the authors' implementation."""

MIN_STABILISER = -80.0
"""Smallest stabiliser m of `mlstm` in e^-m. Below it, e^-m could overflow in float32."""

CONV_STEPS = 4
"""Number of steps that the short convolution reads, including the current one."""

PLAIN_TENSORS = (Tensor, nn.Parameter)
"""Classes of tensors that contain numbers and nothing else. A subclass may redefine every operation."""


def tensor_obstacle(tensor: Any, shape: tuple[int | None, ...], dtype: torch.dtype = torch.float32) -> str | None:
    """Return why a kernel cannot read a tensor that must have this shape and type."""
    if type(tensor) not in PLAIN_TENSORS:
        return f"the kernel needs a plain tensor, not {type(tensor).__name__}"
    if tensor.dtype is not dtype or not tensor.is_cpu or tensor.layout is not torch.strided:
        name = str(dtype).removeprefix("torch.")
        return f"the kernel needs dense {name} tensors on the CPU, not {tensor.dtype} on {tensor.device}"
    if tensor.shape != shape:
        return f"the kernel needs a tensor of shape {shape}, not {tuple(tensor.shape)}"
    if tensor.is_neg() or not _address(tensor):
        return "the kernel needs a tensor with its own memory and at least one element"
    return None


def _address(tensor: Tensor) -> int:
    """Return the address of a tensor, or 0 if it has none, as within `vmap`."""
    try:
        return tensor.data_ptr()
    except RuntimeError:
        return 0
