"""Choose between the compiled kernels and the reference equations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad

Backend = Literal["auto", "reference", "fused"]
"""How `scan` and a model's `step` run: the equations, a kernel made from them, or that kernel where it applies."""


def obstacle_to_kernels(tensors: Iterable[Any]) -> str | None:
    """Why a kernel cannot read these tensors, where it cannot."""
    if torch.compiler.is_compiling():
        return "torch.compile traces the equations themselves"
    if torch.is_autocast_enabled("cpu"):
        return "the kernel computes in float32, but autocast is on"
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            continue
        if tensor.dtype != torch.float32 or tensor.device.type != "cpu" or tensor.layout != torch.strided:
            return f"the kernel reads float32 on the CPU, not {tensor.dtype} on {tensor.device}"
        if not _has_memory(tensor):
            return "the kernel reads memory, which tensors inside a transform do not have"
    return None


def _has_memory(tensor: Tensor) -> bool:
    """Whether a tensor is plain memory, rather than batched, traced or a pair with its tangent."""
    if forward_ad.unpack_dual(tensor).tangent is not None:
        return False
    try:
        tensor.data_ptr()
    except RuntimeError:
        return False
    return not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
